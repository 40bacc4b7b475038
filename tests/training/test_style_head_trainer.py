"""Training a style head for any bundle with ``train-start``, and resuming it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from genartisan.cli.main import main
from genartisan.config import preset
from genartisan.errors import InputError
from genartisan.io.images import Photo
from genartisan.method import style_encoder
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.networks.mobilenet import NUMBERS
from genartisan.networks.style_head import StyleHead
from genartisan.training import style_head_trainer, trainer
from genartisan.training.style_head_trainer import (
    Pair,
    Settings,
    crop,
    descended,
    fresh_head,
    pairs,
    run_of,
    split,
    train,
)


@pytest.fixture(autouse=True)
def tiny_as_embedded(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_head_trainer, "EMBEDDED", tiny_folder)
    monkeypatch.setattr(style_head_trainer, "CROPS", 4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(5):
        tiny.picture(96 + 16 * n, 80, seed=n).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("fire\n\nwatercolor painting\nthe fire\n", encoding="utf-8")
    return path


@pytest.fixture
def headless(headless_folder: Path) -> str:
    return str(headless_folder)


def settings(bundle: str, photos: Path, texts: Path, out: Path, **others: object) -> Settings:
    given = {"steps": 3, "size": 64, "examine_every": 2, "device": "cpu", "precision": "fp32", **others}
    return Settings(bundle=bundle, photos=photos, texts=texts, out=out, **given)  # type: ignore[arg-type]


def test_a_bundle_without_a_head_gets_one_and_searches_no_more(
    headless: str, photos: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, named = tmp_path / "out", tmp_path / os.fsdecode(b"photos\xff")  # a name that is no text
    named.symlink_to(photos)
    curve = train(settings(headless, named, texts, out))
    assert [row["step"] for row in curve] == [0, 2, 3]
    assert json.loads((out / "curve.json").read_text()) == curve
    for picture in ("curve.png", "drafts.jpg"):
        assert min(Image.open(out / picture).size) > 100
    bundle = Bundle.load(out)
    assert bundle.name == "out"
    entry = bundle.manifest.networks["style_head"]
    assert entry.figures["curve"] == curve
    assert r"on photos\udcff and texts.txt" in entry.source
    monkeypatch.setattr(style_encoder, "searched_numbers", lambda *_: pytest.fail("it searched"))
    picture = Stylizer(bundle, "cpu")(tiny.picture(), "fire", config=preset("draft", {"size": 64})).image
    assert picture.size == (64, 48)


@pytest.mark.slow
def test_a_second_head_takes_the_place_of_the_first(
    tiny_folder: Path, photos: Path, texts: Path, tmp_path: Path
) -> None:
    train(settings(str(tiny_folder), photos, texts, tmp_path / "out", steps=1))
    before, after = Bundle.load(tiny_folder).style_head, Bundle.load(tmp_path / "out").style_head
    assert before is not None
    assert after is not None
    assert before.layers[0].weight.shape != after.layers[0].weight.shape


@pytest.mark.slow
def test_what_is_learned_has_less_loss(
    headless: str, photos: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def the_same(source: Any, settings: Settings, step: int, count: int) -> list[Pair]:
        return pairs(source, settings, 0, count)

    monkeypatch.setattr(style_head_trainer, "split", lambda everything, field: (everything, everything))
    monkeypatch.setattr(style_head_trainer, "pairs", the_same)
    monkeypatch.setattr(style_head_trainer, "EXAMPLES", style_head_trainer.BATCH)
    monkeypatch.setattr(trainer, "WARM_UP", 1)
    curve = train(settings(headless, photos, texts, tmp_path / "out", steps=20, examine_every=20))
    assert curve[-1]["total"] < 0.99 * curve[0]["total"]


def test_the_gradient_is_that_of_the_total(tiny_stylizer: Stylizer) -> None:
    pair, direction = Pair(Photo(torch.rand(3, 64, 64)), "fire", 3), torch.rand(tiny.DIM)
    numbers = torch.randn(NUMBERS, generator=torch.Generator().manual_seed(0))
    one, other = (run_of(tiny_stylizer, pair, direction, numbers) for _ in range(2))
    gradient, loss = descended(one)
    losses = other.objective.losses(other.painter(other.net_input), other.full, 0)
    (expected,) = torch.autograd.grad(losses[0], other.painter.get_parameter("numbers"))
    assert float(loss) == pytest.approx(float(losses[0].detach()), rel=1e-5)
    torch.testing.assert_close(gradient, expected[0], atol=1e-3 * float(expected.abs().max()), rtol=1e-3)


def test_a_fresh_head_tells_the_mean_style_of_the_photos(
    headless: str, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_crops = torch.randn(5, NUMBERS, generator=torch.Generator().manual_seed(0))
    head = fresh_head(tiny_bundle, of_crops)
    numbers = head(torch.nn.functional.normalize(torch.rand(3, tiny.DIM), dim=1))
    torch.testing.assert_close(numbers, of_crops.mean(dim=0).expand(3, -1))
    assert tiny_bundle.style_head is not None
    assert torch.equal(head.deviation, tiny_bundle.style_head.deviation)  # the tiny bundle stands in for the embedded
    monkeypatch.setattr(style_head_trainer, "EMBEDDED", Path(headless))
    torch.testing.assert_close(fresh_head(tiny_bundle, of_crops).deviation, of_crops.std(dim=0))


@pytest.mark.slow
def test_a_resumed_training_makes_the_same_bundle(
    headless: str, photos: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    curve = train(settings(headless, photos, texts, whole))
    calls = itertools.count()

    def failing(*arguments: object) -> object:
        if next(calls) >= 2 * style_head_trainer.BATCH:
            raise KeyboardInterrupt
        return descended(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(style_head_trainer, "descended", failing)
        with pytest.raises(KeyboardInterrupt):
            train(settings(headless, photos, texts, broken))
    assert not (broken / "bundle.json").exists()
    assert train(settings(headless, photos, texts, broken, resume=True)) == curve
    ours, theirs = (Bundle.load(folder).style_head for folder in (whole, broken))
    assert isinstance(ours, StyleHead)
    assert isinstance(theirs, StyleHead)
    assert all(torch.equal(weight, theirs.state_dict()[name]) for name, weight in ours.state_dict().items())


def test_what_is_held_out_is_not_learned_from() -> None:
    for count in (2, 7, 8, 9, 40):
        known, held = split(list(range(count)), "photos")
        assert sorted(known + held) == list(range(count))
        assert 1 <= len(held) <= max(1, count // 8)
    with pytest.raises(InputError, match="at least 2"):
        split([1], "photos")


def test_crops_have_the_size_and_lie_within() -> None:
    rng = np.random.default_rng(0)
    for width, height in ((64, 48), (33, 200)):
        photo = Photo(torch.rand(3, height, width))
        for size in (64, 85):
            part = crop(photo, rng, size).pixels
            assert part.shape == (3, size, size)
            assert 0 <= float(part.min()) <= float(part.max()) <= 1


@pytest.mark.slow
def test_only_the_same_training_is_gone_on_with(headless: str, photos: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = settings(headless, photos, texts, out, steps=1)
    curve = train(given)
    with pytest.raises(InputError, match="contains a bundle or a training"):
        train(given)
    assert train(replace(given, resume=True)) == curve  # it has ended already
    for changed in ({"seed": 1}, {"size": 80}, {"steps": 2}):
        with pytest.raises(InputError, match=f"another {next(iter(changed))}"):
            train(replace(given, resume=True, **changed))
    (photos / "9.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(InputError, match="another photos_and_texts"):
        train(replace(given, resume=True))
    (photos / "9.png").unlink()
    (out / "style_head_checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(InputError, match="no training to resume"):
        train(replace(given, resume=True))


def test_a_sentence_that_asks_for_nothing_is_named(headless: str, photos: Path, texts: Path, tmp_path: Path) -> None:
    texts.write_text("fire\na Photo\n", encoding="utf-8")
    with pytest.raises(InputError, match="'a Photo', which names no style"):
        train(settings(headless, photos, texts, tmp_path / "out"))


@pytest.mark.parametrize(("flags", "words"), [
    (["--steps", "0"], "steps is 0"),
    (["--seed", "-1"], "seed is -1"),
    (["--size", "32"], "size is 32"),
    (["--examine-every", "0"], "examine_every is 0"),
    (["--texts", "absent.txt"], "absent.txt"),
    (["--photos", "absent"], "is not a folder"),
])  # fmt: skip
def test_bad_input_is_one_line(
    flags: list[str], words: str, tiny_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train-start", "--bundle", str(tiny_folder), "--photos", str(photos), "--out", str(tmp_path / "out")]
    assert main([*given, "--device", "cpu", *flags]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert words in told
    assert not (tmp_path / "out" / "bundle.json").exists()


def test_a_damaged_photo_is_named_before_the_work(
    tiny_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:500])
    given = ["train-start", "--bundle", str(tiny_folder), "--photos", str(photos), "--out", str(tmp_path / "out")]
    assert main([*given, "--device", "cpu"]) == 2
    assert "2.png" in capsys.readouterr().err.splitlines()[-1]


def test_no_bundle_is_written_over(
    tiny_folder: Path, photos: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_folder, other)
    given = ["train-start", "--bundle", str(tiny_folder), "--photos", str(photos), "--device", "cpu"]
    for out, words in (
        (tiny_folder, "is the bundle itself"),
        (other, "contains a bundle"),
    ):
        assert main([*given, "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
