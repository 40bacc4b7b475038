"""``train-start``: a learned start for any bundle, from photos and sentences, resumed as if it had never stopped."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from genartisan import start_training
from genartisan.bundle import LEARNED_START, Bundle, write_bundle
from genartisan.cli import main
from genartisan.config import preset
from genartisan.errors import InputError
from genartisan.images import Photo
from genartisan.lessons import Settings, crop, split, train
from genartisan.stylizer import Stylizer


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
def startless(tiny_bundle: Bundle, tmp_path: Path) -> str:
    """A bundle without a learned start."""
    roles = [role for role in tiny.ARCHITECTURES if role != LEARNED_START]
    entries = {
        role: (tiny.network(role).state_dict(), {"architecture": tiny.ARCHITECTURES[role], "source": "", "licence": ""})
        for role in roles
    }
    write_bundle(tmp_path / "startless", "startless", "", entries)
    return str(tmp_path / "startless")


def settings(bundle: str, photos: Path, texts: Path, out: Path, **others: object) -> Settings:
    given = {"steps": 3, "size": 64, "examine_every": 2, "device": "cpu", "precision": "fp32", **others}
    return Settings(bundle=bundle, photos=photos, texts=texts, out=out, **given)  # type: ignore[arg-type]


def test_a_bundle_without_a_start_gets_one(startless: str, photos: Path, texts: Path, tmp_path: Path) -> None:
    draft = preset("draft", {"size": 64})
    with pytest.raises(InputError, match="no learned start"):
        Stylizer(Bundle.load(startless), "cpu").steps(tiny.picture(), "fire", config=draft)
    out = tmp_path / "out"
    curve = train(settings(startless, photos, texts, out))
    assert [row["step"] for row in curve] == [0, 2, 3]
    assert json.loads((out / "curve.json").read_text()) == curve
    for picture in ("curve.png", "drafts.jpg"):
        assert min(Image.open(out / picture).size) > 100
    bundle = Bundle.load(out)
    assert bundle.name == "out"
    entry = bundle.manifest.networks["learned_start"]
    assert entry.figures["curve"] == curve
    assert "texts.txt" in entry.source
    picture = Stylizer(bundle, "cpu")(tiny.picture(), "fire", config=draft).image
    assert picture.size == (64, 48)


def test_a_second_start_takes_the_place_of_the_first(
    tiny_folder: Path, photos: Path, texts: Path, tmp_path: Path
) -> None:
    before = Bundle.load(tiny_folder).learned_start
    train(settings(str(tiny_folder), photos, texts, tmp_path / "out", steps=1))
    after = Bundle.load(tmp_path / "out").learned_start
    assert before is not None
    assert after is not None
    assert not torch.equal(before.stylenet.last.weight, after.stylenet.last.weight.float())


def test_a_resumed_training_makes_the_same_bundle(
    startless: str, photos: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_training, "SAVE_EVERY", 1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    curve = train(settings(startless, photos, texts, whole))
    taken = start_training.gradient

    def failing(*arguments: object) -> object:
        if next(calls) >= start_training.LESSONS:
            raise KeyboardInterrupt
        return taken(*arguments)  # type: ignore[arg-type]

    calls = iter(range(100))
    monkeypatch.setattr(start_training, "gradient", failing)
    with pytest.raises(KeyboardInterrupt):
        train(settings(startless, photos, texts, broken))
    monkeypatch.setattr(start_training, "gradient", taken)
    assert not (broken / "bundle.json").exists()
    assert train(settings(startless, photos, texts, broken, resume=True)) == curve
    ours, theirs = (Bundle.load(folder).learned_start for folder in (whole, broken))
    assert ours is not None
    assert theirs is not None
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
        for size in ((64, 64), (64, 85)):
            part = crop(photo, rng, size).pixels
            assert part.shape == (3, *size)
            assert 0 <= float(part.min()) <= float(part.max()) <= 1


def test_only_the_same_training_is_gone_on_with(startless: str, photos: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = settings(startless, photos, texts, out, steps=1)
    curve = train(given)
    with pytest.raises(InputError, match="holds a bundle or a training"):
        train(given)
    assert train(replace(given, resume=True)) == curve  # it has ended already
    for changed in ({"seed": 1}, {"size": 80}, {"steps": 2}):
        with pytest.raises(InputError, match=f"another {next(iter(changed))}"):
            train(replace(given, resume=True, **changed))
    (photos / "9.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(InputError, match="another photos_and_texts"):
        train(replace(given, resume=True))
    (photos / "9.png").unlink()
    (out / "learned_start_checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(InputError, match="no training to go on with"):
        train(replace(given, resume=True))


def test_a_sentence_that_asks_for_nothing_is_named(startless: str, photos: Path, texts: Path, tmp_path: Path) -> None:
    texts.write_text("fire\na Photo\n", encoding="utf-8")
    with pytest.raises(InputError, match="'a Photo', which asks for no style"):
        train(settings(startless, photos, texts, tmp_path / "out"))


@pytest.mark.parametrize(("flags", "words"), [
    (["--steps", "0"], "steps is 0"),
    (["--seed", "-1"], "seed is -1"),
    (["--size", "32"], "size is 32"),
    (["--examine-every", "0"], "examine_every is 0"),
    (["--texts", "absent.txt"], "absent.txt"),
    (["--photos", "absent"], "is no folder"),
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
        (other, "holds a bundle"),
    ):
        assert main([*given, "--out", str(out)]) == 2
        assert words in capsys.readouterr().err
