"""The weights that ship with the package do what their figures say: FCN, VGG, and what the drafts are made with."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import normalize

from genartisan.networks.bundle import Bundle
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD

skimage_data = pytest.importorskip("skimage.data")

from genartisan.drawing.people import draw_scene  # noqa: E402
from genartisan.drawing.styles import STYLES, draw  # noqa: E402
from genartisan.training.measure_fcn import ASTRONAUT_MASK, class_ious, confusion, person_share  # noqa: E402


@cache
def shipped(role: str) -> Any:
    """The network of a role with its shipped weights, float32."""
    bundle = Bundle.load("embedded").to(torch.device("cpu"), torch.float32)
    return getattr(bundle, role)


def photo(name: str) -> np.ndarray:
    return np.asarray(getattr(skimage_data, name)())


def test_fcn_finds_the_astronaut() -> None:
    truth = np.asarray(Image.open(ASTRONAUT_MASK)) > 127  # drawn by hand; the helmet she holds is left out
    background, person = class_ious(confusion(person_share(shipped("fcn"), photo("astronaut")) > 0.5, truth))
    assert (background + person) / 2 > 0.75
    assert person > 0.7


@pytest.mark.parametrize("name", ["coffee", "chelsea"])  # a cup and a cat
def test_fcn_finds_nobody_where_nobody_is(name: str) -> None:
    assert (person_share(shipped("fcn"), photo(name)) > 0.5).mean() < 0.02


def test_fcn_finds_drawn_people() -> None:
    table = np.zeros((2, 2), np.int64)
    for seed in range(5000, 5020):  # training starts at 10 000
        scene = draw_scene(seed, (144, 144))
        table += confusion(person_share(shipped("fcn"), scene.image) > 0.5, scene.person > 0)
    assert class_ious(table).mean() > 0.82


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (64, 47)])
def test_fcn_takes_any_size(size: tuple[int, int]) -> None:
    assert shipped("fcn")(torch.zeros(2, 3, *size))["out"].shape == (2, 2, *size)


def content_loss(vgg: nn.Module, first: np.ndarray, second: np.ndarray) -> float:
    both = torch.from_numpy(np.stack((first, second)).astype(np.float32) / 255).permute(0, 3, 1, 2)
    return sum(
        (layer[0] - layer[1]).square().mean().item() for layer in vgg(normalize(both, IMAGENET_MEAN, IMAGENET_STD))
    )


def test_content_loss_minds_the_thing_more_than_its_light() -> None:
    vgg = shipped("vgg")
    crops = [photo(name)[:256, 60:316, :3] for name in ("astronaut", "coffee", "chelsea")]
    for index, crop in enumerate(crops):
        darker = crop * 0.8
        other = crops[(index + 1) % len(crops)]
        assert content_loss(vgg, crop, darker) < 0.5 * content_loss(vgg, crop, other)


def test_content_loss_is_of_the_size_that_its_weight_is_made_for() -> None:
    losses = []
    for name in ("astronaut", "coffee"):
        crop = photo(name)[:256, 60:316, :3]
        for seed, style in enumerate(sorted(STYLES)[::4]):
            drawn = draw(style, crop.astype(np.float32) / 255, np.random.default_rng(seed))
            losses.append(content_loss(shipped("vgg"), crop, drawn * 255))
    assert 0.4 < np.median(losses) < 2.5  # the presets' `lambda_content` was chosen at about 1


def test_content_loss_has_a_gradient_everywhere() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    sum(layer.square().mean() for layer in shipped("vgg")(noise)).backward()
    assert (noise.grad.abs().amax(1) > 0).float().mean() > 0.9
