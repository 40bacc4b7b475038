"""What a load test asks for, and which answers it accepts."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from workload import Request, Workload, WrongAnswerError

WORKLOAD = Workload({"draft": 3, "fast": 1}, {"size": 64})


def answer(request: Request, size: tuple[int, int] | None = None, colour: str = "teal") -> bytes:
    """A picture of one colour, of the size that is wanted unless told otherwise."""
    photo = Image.open(io.BytesIO(request.photo))
    wanted = tuple(round(64 * side / max(photo.size)) for side in photo.size)
    buffer = io.BytesIO()
    Image.new("RGB", size or (wanted[0], wanted[1]), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_seed_draws_the_same_requests() -> None:
    drawn = [[WORKLOAD.draw(rng) for _ in range(20)] for rng in (random.Random(1), random.Random(1), random.Random(2))]
    assert drawn[0] == drawn[1] != drawn[2]
    presets = [WORKLOAD.draw(rng).preset for rng in [random.Random(0)] for _ in range(200)]
    assert 0.6 < presets.count("draft") / 200 < 0.9


def test_good_answers_pass() -> None:
    request = WORKLOAD.draw(random.Random(0))
    request.check(answer(request))
    request.check(answer(request), {"seed": request.params["seed"], "config": {"size": 64, "output_size": None}})
    request.as_reference(answer(request)).check(answer(request))


@pytest.mark.parametrize("wrong", ["cut", "size", "photo", "seed", "bytes"])
def test_wrong_answers_are_named(wrong: str) -> None:
    request = WORKLOAD.draw(random.Random(0))
    content, report = answer(request), None
    if wrong == "cut":
        content = content[: len(content) // 2]
    elif wrong == "size":
        content = answer(request, (64, 64) if Image.open(io.BytesIO(content)).size != (64, 64) else (64, 60))
    elif wrong == "photo":
        photo = Image.open(io.BytesIO(request.photo))
        photo.thumbnail((64, 64))
        buffer = io.BytesIO()
        photo.resize(Image.open(io.BytesIO(content)).size).save(buffer, "PNG")
        content = buffer.getvalue()
    elif wrong == "seed":
        report = {"seed": request.params["seed"] + 1, "config": {"size": 64}}
    else:
        request = request.as_reference(answer(request, colour="red"))
    words = {"cut": "no picture", "size": "pixels", "photo": "unchanged", "seed": "seed", "bytes": "bytes"}
    with pytest.raises(WrongAnswerError, match=words[wrong]):
        request.check(content, report)


def test_references_are_a_share_of_the_requests() -> None:
    known = WORKLOAD.draw(random.Random(0))
    known = known.as_reference(answer(known))
    workload, rng = replace(WORKLOAD, references=(known,), share=0.3), random.Random(0)
    drawn: list[Any] = [workload.draw(rng).sha256 for _ in range(400)]
    assert 0.2 < sum(each is not None for each in drawn) / 400 < 0.4
