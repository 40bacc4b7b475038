"""The judge: it knows the drawn styles, looks at the background only, and says so when it is missing."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("cv2")

from genartisan.drawing.photos import HELD_OUT, content, load_photos
from genartisan.drawing.styles import STYLES, draw
from genartisan.errors import BundleError, InputError
from genartisan.evaluation.judge import EMBEDDED, Judge, tiles_of, views_of

FOLDER = EMBEDDED
SEED = 977  # not the judge's own


@cache
def judge() -> Judge:
    return Judge.load()


def drawn(style: str, seed: int, side: int = 160) -> Tensor:
    """A style over a photo that the judge was not trained on, (3, side, side)."""
    rng = np.random.default_rng([SEED, seed])
    photos = {name: photo for name, photo in load_photos().items() if name in HELD_OUT}
    photo = content(photos, rng, side, share_drawn=0)
    picture = photo if style == "photo" else draw(style, photo, rng)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))


def test_it_knows_every_style_that_is_drawn() -> None:
    assert judge().classes == ("photo", *STYLES)


@pytest.mark.slow
def test_it_names_new_drawings() -> None:
    right = [
        judge().ranking(drawn(style, 10 * number + turn))[0][0] == style
        for number, style in enumerate(judge().classes)
        for turn in range(3)
    ]
    assert np.mean(right) >= 0.85


def test_it_is_small_and_of_another_architecture() -> None:
    assert (FOLDER / "judge.safetensors").stat().st_size < 1_500_000
    assert judge().about.architecture.kind == "shufflenet_v2_x0_5"


def test_people_have_no_influence() -> None:
    picture, background = drawn("fire", 1, 300), torch.ones(300, 300, dtype=torch.bool)
    background[40:260, 100:220] = False
    painted = torch.where(background, picture, drawn("mosaic tiles", 2, 300))
    verdict, other = (judge().probabilities(p, background) for p in (picture, painted))
    assert torch.equal(verdict, other)
    assert judge().classes[int(verdict.argmax())] == "fire"
    assert not torch.equal(judge().probabilities(painted), verdict)


def test_only_the_background_counts() -> None:
    half = torch.cat((drawn("fire", 3, 256), drawn("mosaic tiles", 4, 256)), dim=2)  # (3, 256, 512)
    left = torch.zeros(256, 512, dtype=torch.bool)
    left[:, :256] = True
    names = judge().classes
    assert names[int(judge().probabilities(half, left).argmax())] == "fire"
    assert names[int(judge().probabilities(half, ~left).argmax())] == "mosaic tiles"


@pytest.mark.parametrize("size", [(16, 40), (128, 128), (97, 300), (290, 257)])
def test_probabilities_of_any_size_add_up_to_one(size: tuple[int, int]) -> None:
    chances = judge().probabilities(torch.rand(3, *size, generator=torch.Generator().manual_seed(0)))
    assert chances.shape == (len(judge().classes),)
    assert float(chances.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [(128, 128), (129, 300), (256, 384), (200, 128)])
def test_tiles_cover_the_picture(size: tuple[int, int]) -> None:
    numbers = torch.arange(size[0] * size[1]).float().view(1, 1, *size)
    tiles = tiles_of(numbers, 128)
    assert tiles.shape[1:] == (1, 128, 128)
    assert len(tiles.unique()) == size[0] * size[1]


def test_a_large_picture_is_also_seen_at_half_its_size() -> None:
    sizes = [[tuple(view.shape[2:]) for view in views_of(torch.zeros(1, 1, *size), 128)] for size in (
        (40, 80), (256, 256), (256, 384), (140, 300), (600, 600),
    )]  # fmt: skip
    assert sizes == [
        [(128, 256)],
        [(256, 256)],
        [(256, 384), (128, 192)],
        [(140, 300), (128, 274)],
        [(600, 600), (300, 300)],
    ]


def test_a_mask_without_background_or_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="nothing but people"):
        judge().probabilities(torch.zeros(3, 64, 64), torch.zeros(64, 64, dtype=torch.bool))
    with pytest.raises(InputError, match="size"):
        judge().probabilities(torch.zeros(3, 64, 64), torch.ones(64, 32, dtype=torch.bool))


@pytest.mark.parametrize("missing", ["judge.json", "judge.safetensors"])
def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path, missing: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "judge")
    (tmp_path / "judge" / missing).unlink()
    with pytest.raises(BundleError, match=f"{missing}.*train_judge"):
        Judge.load(tmp_path / "judge")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(FOLDER, folder)
    weights = folder / "judge.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"judge\.safetensors"):
        Judge.load(folder)
    (folder / "judge.json").write_text("{}")
    with pytest.raises(BundleError, match=r"judge\.json"):
        Judge.load(folder)
