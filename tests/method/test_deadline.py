"""Deadlines before the first step: while the texts are read, and in a queue."""

from __future__ import annotations

import time
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.errors import DeadlineError
from genartisan.method import style_numbers, text
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle

TINY = {"size": 32, "steps": 2, "patches": 1, "patch_size": 16, "mode": "clipstyler"}
WORDS = ("fire", "water", "earth", "air", "gold", "ash", "ice", "sand")
BLEND = " + ".join(f"0.{share} {word}" for share, word in enumerate(WORDS, start=1))


@pytest.fixture
def embedded_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts embedded so far; each takes a second, of a clock that stands still otherwise."""
    clock, texts, embed = [1000.0], list[str](), text.text_embedding
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def slow(clip: Any, words: str) -> Tensor:
        clock[0] += 1
        texts.append(words)
        return embed(clip, words)

    monkeypatch.setattr(text, "text_embedding", slow)
    return texts


@pytest.mark.parametrize("on_timeout", ["picture", "error"])
def test_a_deadline_ends_the_reading_of_many_texts(
    on_timeout: str, embedded_texts: list[str], tiny_bundle: Bundle
) -> None:
    stylizer = Stylizer(tiny_bundle, device="cpu", precision="fp32")
    config = StyleConfig(**TINY, timeout_s=2.5, on_timeout=on_timeout)
    with pytest.raises(DeadlineError, match=r"timeout_s of 2\.5 s .*blend fewer texts") as caught:
        stylizer(tiny.picture(), BLEND, config=config)
    assert caught.value.field == "timeout_s"
    assert len(embedded_texts) == 3
    patient = StyleConfig(**TINY, timeout_s=60)
    assert stylizer(tiny.picture(), BLEND, config=patient).report["steps"] == 2


@pytest.mark.parametrize("negative", [None, "0.5 stone + 0.5 wood"])
def test_what_is_between_two_texts_is_done_before_each(
    negative: str | None, embedded_texts: list[str], tiny_bundle: Bundle
) -> None:
    before: list[int] = []
    text.text_direction(tiny_bundle.clip, BLEND, "a Photo", negative, lambda: before.append(len(embedded_texts)))
    assert before == list(range(len(embedded_texts)))
    assert len(embedded_texts) == 1 + 8 + (2 if negative else 0)


def test_a_deadline_counts_the_time_before(tiny_bundle: Bundle) -> None:
    stylizer, ticks = Stylizer(tiny_bundle, device="cpu", precision="fp32"), list[None]()
    config = StyleConfig(**{**TINY, "steps": 5000}, timeout_s=1000.2)
    stylizer(tiny.picture(), "fire", config=StyleConfig(**TINY))
    began = time.perf_counter() - 1000
    steps = stylizer.steps(tiny.picture(), "fire", config=config, began=began, between=lambda: ticks.append(None))
    for _ in steps:
        pass
    report = steps.result().report
    assert 1 <= report["steps"] < 5000
    assert 1000 <= report["seconds"]["queue"] < report["seconds"]["total"]
    assert report["seconds"]["optimise"] < 500
    assert ticks == []  # the text was known
    with pytest.raises(DeadlineError):
        stylizer.steps(tiny.picture(), "water", config=config, began=began - 1).result()


def test_a_search_of_style_numbers_goes_on_step_by_step(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    short = style_numbers.SEARCH.updated({"size": 64, "steps": 3, "patches": 1, "patch_size": 16})
    monkeypatch.setattr(style_numbers, "SEARCH", short)
    ticks = list[None]()
    direction = torch.nn.functional.normalize(torch.ones(tiny_bundle.clip.embedding_dim), dim=0)
    place = torch.device("cpu"), torch.float32
    style_numbers.searched_numbers(tiny_bundle, direction, *place, between=lambda: ticks.append(None))
    assert len(ticks) == 3
