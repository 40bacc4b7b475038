"""How much of a part a picture preserves: analytic cases, and distances that are never downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

pytest.importorskip("skimage")

from genartisan.evaluation import preservation as preserving
from genartisan.evaluation.preservation import edges, perceptual_distances, preservation, ssim, vgg_distance
from genartisan.io.images import read_photo
from genartisan.method.targets import FeatureExtractor
from genartisan.networks.bundle import Bundle

PART = torch.zeros(48, 64, dtype=torch.bool)
PART[10:40, 12:40] = True


@pytest.fixture
def extractor(tiny_bundle: Bundle) -> FeatureExtractor:
    return FeatureExtractor(tiny_bundle.to(torch.device("cpu"), torch.float32), torch.float32)


def photo() -> Tensor:
    return read_photo(tiny.picture()).pixels


def noisy(strength: float) -> Tensor:
    noise = torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(0))
    return (photo() + strength * noise).clamp(0, 1)


def test_the_same_picture_is_kept_whole(extractor: FeatureExtractor) -> None:
    assert preservation(extractor, photo(), photo(), PART) == {
        "vgg": pytest.approx(0, abs=1e-9), "ssim": pytest.approx(1), "edges": 1.0,
    }  # fmt: skip


def test_another_background_leaves_the_numbers_of_a_part_alone(extractor: FeatureExtractor) -> None:
    picture = noisy(0.1)
    elsewhere = torch.where(PART, picture, 1 - picture)
    of_part = preservation(extractor, photo(), picture, PART)
    assert of_part == preservation(extractor, photo(), elsewhere, PART)
    assert of_part != preservation(extractor, photo(), elsewhere, ~PART)
    unharmed = preservation(extractor, photo(), torch.where(PART, photo(), 1 - photo()), PART)
    assert unharmed == preservation(extractor, photo(), photo(), PART)


def test_more_noise_keeps_less(extractor: FeatureExtractor) -> None:
    some, more = (preservation(extractor, photo(), noisy(strength), PART) for strength in (0.05, 0.3))
    assert some is not None
    assert more is not None
    assert 0 < some["vgg"] < more["vgg"]
    assert 1 > some["ssim"] > more["ssim"]
    assert 1 > some["edges"] > more["edges"]


def test_a_part_of_nothing_has_no_numbers(extractor: FeatureExtractor) -> None:
    assert preservation(extractor, photo(), noisy(0.1), torch.zeros_like(PART)) is None


def test_vgg_distance_is_the_squared_distance_of_unit_features() -> None:
    class Maps:
        """Two maps of two channels: in the upper half of a bright picture they are turned by a right angle."""

        bundle = SimpleNamespace(vgg=nn.Linear(1, 1))

        def features(self, picture: Tensor) -> list[Tensor]:
            turned = float(picture.mean()) > 0.5
            first = torch.zeros(1, 2, 4, 4)
            first[:, 0] = 3.0  # length counts for nothing
            if turned:
                first[:, :, :2] = torch.tensor([0.0, 5.0])[None, :, None, None]
            return [first, first[..., ::2, ::2]]

    extractor: Any = Maps()
    dark, bright = torch.zeros(3, 16, 16), torch.ones(3, 16, 16)
    upper, all_ = torch.zeros(16, 16, dtype=torch.bool), torch.ones(16, 16, dtype=torch.bool)
    upper[:8] = True
    assert vgg_distance(extractor, dark, bright, upper) == pytest.approx(2)
    assert vgg_distance(extractor, dark, bright, all_) == pytest.approx(1)
    assert vgg_distance(extractor, dark, bright, ~upper) == pytest.approx(0)
    assert vgg_distance(extractor, dark, dark, all_) == 0


def test_edges_are_those_of_any_strength() -> None:
    flat, steps = torch.full((3, 32, 32), 0.5), torch.zeros(3, 32, 32)
    steps[..., 16:] = 1
    everywhere = torch.ones(32, 32, dtype=torch.bool)
    assert edges(steps, 0.3 * steps + 0.2, everywhere) == pytest.approx(1, abs=1e-5)
    assert edges(steps, flat, everywhere) == 0
    assert edges(flat, flat, everywhere) == 1
    assert abs(edges(steps, steps.transpose(1, 2), everywhere)) < 0.2


def test_ssim_of_two_levels_is_that_of_their_means() -> None:
    one, other = torch.full((3, 32, 32), 0.2), torch.full((3, 32, 32), 0.6)
    c1 = 0.01**2
    expected = (2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)
    assert ssim(one, other, torch.ones(32, 32, dtype=torch.bool)) == pytest.approx(expected, abs=1e-4)


def test_a_library_or_weights_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preserving.importlib.util, "find_spec", lambda _: None)
    distances, reasons = perceptual_distances()
    assert not distances
    assert "torchmetrics is not installed" in reasons[0]

    monkeypatch.setattr(
        preserving.importlib.util, "find_spec", lambda name: object() if name == "torchmetrics" else None
    )
    monkeypatch.setattr(preserving, "version", lambda _: "1.2.0")
    distances, reasons = perceptual_distances()
    assert not distances
    assert "torchmetrics 1.2.0" in reasons[0]

    monkeypatch.setattr(preserving.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    distances, reasons = perceptual_distances()  # imports nothing of the library, so nothing can be fetched
    assert not distances
    assert "alexnet" in reasons[0]
    assert "vgg16" in reasons[1]


def test_weights_that_are_there_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lpips:
        def __init__(self, net_type: str, normalize: bool) -> None:
            assert (net_type, normalize) == ("alex", True)

        def __call__(self, one: Tensor, other: Tensor) -> Tensor:
            return (one - other).abs().mean()

    module = ModuleType("torchmetrics.image.lpip")
    module.LearnedPerceptualImagePatchSimilarity = Lpips  # type: ignore[attr-defined]
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(preserving.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = preserving.weight_files()["lpips"]
    file.parent.mkdir()
    file.write_bytes(b"weights")
    distances, reasons = perceptual_distances()
    assert list(distances) == ["lpips"]
    assert "DISTS" in reasons[0]
    assert distances["lpips"](torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.25)) == pytest.approx(0.25)
