"""The weights that ship with the package do what their figures say: FCN, VGG and the StyleNet start."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import normalize

from genartisan.bundle import Bundle
from genartisan.networks import IMAGENET_MEAN, IMAGENET_STD

skimage_data = pytest.importorskip("skimage.data")

from genartisan.embedded.people import draw_scene  # noqa: E402
from genartisan.embedded.styles import STYLES, draw  # noqa: E402
from genartisan.embedded.train_fcn import intersection_over_union, person_share  # noqa: E402
from genartisan.embedded.train_stylenet import psnr  # noqa: E402

TRUTH = Path(__file__).parent / "data" / "astronaut_person.png"  # drawn by hand; the helmet she holds is left out


@cache
def shipped(role: str) -> Any:
    """The network of a role with its shipped weights, float32."""
    bundle = Bundle.load("embedded").to(torch.device("cpu"), torch.float32)
    return {"fcn": bundle.fcn, "vgg": bundle.vgg, "stylenet": bundle.start}[role]


def photo(name: str) -> np.ndarray:
    return np.asarray(getattr(skimage_data, name)())


def test_stylenet_starts_as_a_copy() -> None:
    for name, least in (("astronaut", 27.0), ("coffee", 27.0)):
        assert psnr(shipped("stylenet"), photo(name).astype(np.float32) / 255, short=160) > least, name


def test_stylenet_start_can_learn() -> None:
    net = deepcopy(shipped("stylenet")).requires_grad_(True)
    image = torch.from_numpy(photo("coffee")[::6, ::6].astype(np.float32) / 255).permute(2, 0, 1)[None]
    target = 1 - image
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        loss = (net(image) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_fcn_finds_the_astronaut() -> None:
    truth = np.asarray(Image.open(TRUTH)) > 127
    found = person_share(shipped("fcn"), photo("astronaut")) > 0.5
    assert intersection_over_union(found, truth) > 0.64


def test_fcn_finds_nobody_in_a_cup_of_coffee() -> None:
    assert (person_share(shipped("fcn"), photo("coffee")) > 0.5).mean() < 0.02


def test_fcn_finds_drawn_people() -> None:
    scores = []
    for seed in range(5000, 5010):  # training starts at 10 000
        scene = draw_scene(seed, (144, 144))
        if scene.person.any():
            scores.append(intersection_over_union(person_share(shipped("fcn"), scene.image) > 0.5, scene.person > 0))
    assert np.mean(scores) > 0.55


@pytest.mark.parametrize("size", [(32, 32), (33, 70), (64, 47)])
def test_fcn_takes_any_size(size: tuple[int, int]) -> None:
    assert shipped("fcn")(torch.zeros(2, 3, *size))["out"].shape == (2, 2, *size)


def content_loss(vgg: nn.Module, first: np.ndarray, second: np.ndarray) -> float:
    both = torch.from_numpy(np.stack((first, second)).astype(np.float32) / 255).permute(0, 3, 1, 2)
    return sum(
        (layer[0] - layer[1]).square().mean().item() for layer in vgg(normalize(both, IMAGENET_MEAN, IMAGENET_STD))
    )


def test_content_loss_minds_the_thing_and_not_its_colour() -> None:
    vgg = shipped("vgg")
    crops = [photo(name)[:256, 60:316, :3] for name in ("astronaut", "coffee", "chelsea")]
    for index, crop in enumerate(crops):
        recoloured = crop[..., [2, 0, 1]] * 0.9
        other = crops[(index + 1) % len(crops)]
        assert content_loss(vgg, crop, recoloured) < 0.5 * content_loss(vgg, crop, other)


def test_content_loss_is_of_the_size_that_its_weight_is_made_for() -> None:
    losses = []
    for name in ("astronaut", "coffee"):
        crop = photo(name)[:256, 60:316, :3]
        for seed, style in enumerate(sorted(STYLES)[::4]):
            drawn = draw(style, crop.astype(np.float32) / 255, np.random.default_rng(seed))
            losses.append(content_loss(shipped("vgg"), crop, drawn * 255))
    assert 0.4 < np.median(losses) < 3  # the official VGG-19 gives about 1


def test_content_loss_has_a_gradient_everywhere() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    sum(layer.square().mean() for layer in shipped("vgg")(noise)).backward()
    assert (noise.grad.abs().amax(1) > 0).float().mean() > 0.9


def test_a_scene_is_the_same_whenever_it_is_drawn() -> None:
    first, again, other = draw_scene(7, (96, 128)), draw_scene(7, (96, 128)), draw_scene(8, (96, 128))
    assert first.image.shape == (96, 128, 3)
    assert first.person.shape == (96, 128)
    assert (first.image == again.image).all()
    assert (first.person == again.person).all()
    assert (first.image != other.image).any()
    assert set(np.unique(first.person)) <= {0, 1}


def test_scenes_hold_people_of_all_sizes_and_none() -> None:
    shares = [draw_scene(seed, (64, 64)).person.mean() for seed in range(30)]
    assert min(shares) == 0
    assert max(shares) > 0.5
    assert sum(0 < share < 0.2 for share in shares) >= 2
