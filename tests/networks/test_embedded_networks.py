"""The weights that ship with the package do what their figures say: FCN, VGG, and what the drafts are made with."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import normalize

from genartisan.evaluation import provenance
from genartisan.networks.bundle import Bundle
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD

skimage_data = pytest.importorskip("skimage.data")

from genartisan.drawing import collage  # noqa: E402
from genartisan.drawing.people import draw_scene  # noqa: E402
from genartisan.drawing.styles import STYLES, draw  # noqa: E402
from genartisan.training import trainer  # noqa: E402
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


def test_the_iou_of_a_class_is_what_both_say_over_what_either_says() -> None:
    truth, found = np.array([[1, 1, 0, 0]], np.bool_), np.array([[1, 0, 1, 0]], np.bool_)
    assert confusion(found, truth).tolist() == [[1, 1], [1, 1]]
    assert class_ious(confusion(found, truth)) == pytest.approx([1 / 3, 1 / 3])
    assert class_ious(confusion(truth, truth)) == pytest.approx([1, 1])


def white_person(box: tuple[slice, slice]) -> np.ndarray:
    """A black scene with a white person."""
    scene = np.zeros((64, 64, 4), np.uint8)
    scene[box] = (255, 255, 255, 1)
    return scene


def test_a_pasted_picture_shows_people_where_its_mask_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collage, "_recolour", lambda rng, image: image.astype(np.float32) / 255)
    monkeypatch.setattr(collage, "person_free_photos", lambda: {"night.png": np.zeros((80, 90, 3), np.float32)})
    person, other = white_person(np.s_[20:, 20:40]), white_person(np.s_[10:30, 5:15])
    covered = []
    for seed in range(20):
        picture, mask = collage.pasted([other], person, np.random.default_rng(seed), 48)
        assert picture.shape == (48, 48, 3)
        assert ((picture[..., 0] > 0.5) != mask).mean() < 0.03  # a feathered corner loses a pixel
        covered.append(mask.mean())
    assert min(covered) > 0.03
    assert max(covered) > 2 * min(covered)


def test_a_batch_follows_from_its_generator() -> None:
    scenes = [np.dstack((scene.image, scene.person)) for scene in (draw_scene(seed, (64, 64)) for seed in range(4))]
    images, person = collage.training_batch(scenes, np.random.default_rng(3), 6, 48)
    again, _ = collage.training_batch(scenes, np.random.default_rng(3), 6, 48)
    assert images.shape == (6, 3, 48, 48)
    assert person.shape == (6, 48, 48)
    assert set(person.unique().tolist()) == {0, 1}
    assert torch.equal(images, again)


class Learner:
    """A small network with a loss for `trainer.fit`, which can be killed at a step."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.net, self.seen = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), list[torch.Tensor]()
        self.checkpoint = folder / "checkpoint.pt"

    def fit(self, killed_at: int | None = None, resume: bool = False) -> dict[str, torch.Tensor]:
        def loss_at(step: int) -> torch.Tensor:
            if step == killed_at:
                raise KeyboardInterrupt
            self.seen.append(self.net[0].weight.detach().clone())
            return self.net(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).abs().sum()

        recipe = trainer.Recipe(steps=7, rate=0.1, batch=8, decay=0.1, average=0.5)
        trainer.fit(self.net, loss_at, recipe, checkpoint=self.checkpoint, resume=resume)
        return self.net.state_dict()


def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY", 2)
    whole = Learner(tmp_path / "whole").fit()
    with pytest.raises(KeyboardInterrupt):
        Learner(tmp_path / "broken").fit(killed_at=5)
    resumed = Learner(tmp_path / "broken").fit(resume=True)
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def test_a_training_leaves_the_moving_average_of_its_weights(tmp_path: Path) -> None:
    learner = Learner(tmp_path)
    left = learner.fit()["0.weight"]
    start, *after = learner.seen
    expected = start
    last = torch.load(learner.checkpoint, weights_only=True)["modules"]["0.weight"]
    for step, weight in enumerate((*after, last)):
        keep = min(0.5, (step + 1) / (step + 10))
        expected = keep * expected + (1 - keep) * weight
    assert torch.allclose(left, expected, atol=1e-6)
    assert not torch.allclose(left, last, rtol=0, atol=1e-5)


def test_weights_name_the_commit_and_the_seed_that_made_them() -> None:
    made = provenance.made_by(3)
    assert made["seed"] == 3
    assert made["commit"] is None or re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", made["commit"])


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
