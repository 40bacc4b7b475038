"""The learned start: what a text sets, how a run begins from it, how it is trained, and what the shipped one can do."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

from genartisan import start_training
from genartisan.bundle import Bundle
from genartisan.config import StyleConfig, preset
from genartisan.embedded import training
from genartisan.engine import Run
from genartisan.errors import InputError
from genartisan.finish import finished
from genartisan.images import Photo
from genartisan.objective import LOSSES
from genartisan.patches import plan
from genartisan.regions import from_mask
from genartisan.start import LearnedStart
from genartisan.stylenet import StyleNet
from genartisan.stylizer import Stylizer
from genartisan.text import text_direction

QUICK = StyleConfig(size=64, steps=2, patches=2, patch_size=32, start="bundle", contrast=1.0)


def direction(seed: int, dim: int = 12) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(dim, generator=torch.Generator().manual_seed(seed)), dim=0)


def content(strength: float = 1.0, seed: int = 0) -> Tensor:
    photo = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(seed))
    return torch.cat((photo, torch.full_like(photo[:, :1], strength)), 1)


@pytest.fixture
def start() -> LearnedStart:
    torch.manual_seed(0)
    return LearnedStart(12, base_channels=4, width=8)


def test_a_text_sets_the_weights_and_gets_a_network_of_its_own(start: LearnedStart) -> None:
    drafts = [start(direction(seed), content()) for seed in (1, 1, 2)]
    assert torch.equal(drafts[0], drafts[1])
    assert not torch.allclose(drafts[0], drafts[2], atol=1e-3)
    net = start.written(direction(1))
    torch.testing.assert_close(net(content()), drafts[0])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(start(direction(1), content()), drafts[0])  # it was the request's own


def test_what_is_hooked_to_a_network_stays_with_it(start: LearnedStart) -> None:
    seen: list[str] = []
    hooked, other = start.written(direction(1)), start.written(direction(1))
    hooked.entry.register_forward_hook(lambda *_: seen.append("entry"))
    other(content())
    start(direction(1), content())
    assert seen == []
    hooked(content())
    assert seen == ["entry"]


def test_the_scale_of_a_convolution_is_that_of_its_map(start: LearnedStart) -> None:
    """A map of the last convolution twice as large, and moved by a half, before the sigmoid."""
    with torch.no_grad():
        start.write.weight.zero_()
        start.write.bias.zero_()
    before = torch.logit(start(direction(1), content()))
    position = start.conditioned.index("last")
    offset = sum(start.sizes[:position])
    with torch.no_grad():
        start.write.bias[offset : offset + 3] = 1  # scales
        start.write.bias[sum(start.sizes) + offset : sum(start.sizes) + offset + 3] = 0.5  # shifts
    torch.testing.assert_close(torch.logit(start(direction(1), content())), 2 * before + 0.5, atol=1e-4, rtol=1e-4)


def test_every_norm_is_set_and_no_convolution_before_one(start: LearnedStart) -> None:
    modules = dict(start.stylenet.named_modules())
    norms = [name for name, module in modules.items() if isinstance(module, torch.nn.InstanceNorm2d)]
    assert len(norms) == 18
    assert set(norms) <= set(start.conditioned)
    rest = set(start.conditioned) - set(norms)
    assert rest == {
        "first", "last", "entry.skip", "middle.skip", "exit.skip",
        *(f"down.{n}" for n in range(3)), *(f"{half}.{n}.skip" for half in ("encode", "decode") for n in range(3)),
    }  # fmt: skip


def test_opened_it_copies_whatever_the_text_and_the_strengths(start: LearnedStart) -> None:
    torch.manual_seed(1)
    copying = StyleNet(4)
    start_training.open_as_copy(start, copying)
    for strength, seed in ((0.0, 1), (1.0, 2)):
        torch.testing.assert_close(start(direction(seed), content(strength)), copying(content()[:, :3]))


def test_a_run_begins_with_the_draft(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32")
    steps = stylizer.steps(tiny.picture(), "fire", config=QUICK, mask=tiny.mask())
    first = next(steps)
    run = steps.run
    assert tiny_bundle.learned_start is not None
    draft = tiny_bundle.learned_start(run.direction, run.full.content)
    torch.testing.assert_close(first._picture, draft.detach())


def test_without_steps_the_picture_is_the_draft_in_one_pass(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylizer, config = Stylizer(tiny_bundle, "cpu", "fp32"), QUICK.updated({"steps": 0, "coarse_share": 0.5})
    asked = {"prompt": "fire", "config": config, "mask": tiny.mask()}
    run = stylizer.steps(tiny.picture(), **asked).run
    assert tiny_bundle.learned_start is not None
    draft = finished(tiny_bundle.learned_start(run.direction, run.content).detach(), run.photo, 1.0)

    def refused(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(type(stylizer.bundle.clip), "encode_image", refused)
    monkeypatch.setattr(type(stylizer.bundle.vgg), "forward", refused)
    result = stylizer(tiny.picture(), **asked)
    assert result.image.tobytes() == draft.tobytes()
    assert (result.report["steps"], result.report["losses"], result.report["history"]) == (0, {}, [])
    assert [region["patches"] for region in result.report["regions"]] == [0, 0]
    facts = stylizer.steps(tiny.picture(), **asked).explanation().facts
    assert [region["share_of_patches"] for region in facts["regions"]] == [0, 0]
    larger = stylizer(tiny.picture(), **{**asked, "config": config.updated({"output_size": 128})}).image
    assert larger.size == (128, 96)


def test_a_bundle_without_a_learned_start_draws_nothing_in_one_pass(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(replace(tiny_bundle, learned_start=None), "cpu", "fp32")
    with pytest.raises(InputError, match="has no learned start") as caught:
        stylizer.steps(tiny.picture(), "fire", config=preset("draft"))
    assert caught.value.field == "steps"


def test_people_are_marked_by_the_weight_of_their_region(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(tiny_bundle, "cpu", "fp32")

    def strengths(**changes: Any) -> Tensor:
        config = QUICK.updated(changes)
        steps = stylizer.steps(tiny.picture(), "fire", config=config, mask=tiny.mask(box=(0, 0, 32, 48)))
        next(steps)
        return steps.run.full.content[0, 3]  # (48, 64)

    seen = strengths(regions={"portrait": {"weight": 0.25}, "background": {"weight": 3.0}})
    assert torch.equal(seen[:, :32], torch.full((48, 32), 0.25))
    assert torch.equal(seen[:, 32:], torch.ones(48, 32))  # no more than all
    assert torch.equal(strengths(mode="clipstyler"), torch.ones(48, 64))
    halved = QUICK.updated({"coarse_share": 1.0})
    steps = stylizer.steps(tiny.picture(), "fire", config=halved, mask=tiny.mask(box=(0, 0, 32, 48)))
    next(steps)
    assert steps.run.coarse.content.shape == (1, 4, 24, 32)


@pytest.mark.parametrize("name", ["random", "identity"])
def test_the_other_starts_see_no_strengths(tiny_bundle: Bundle, name: str) -> None:
    config = QUICK.updated({"start": name})
    pictures = [
        Stylizer(b, "cpu", "fp32")(tiny.picture(), "fire", config=config).image
        for b in (tiny_bundle, replace(tiny_bundle, learned_start=None))
    ]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_a_bundle_without_a_learned_start_begins_from_the_copy(tiny_bundle: Bundle) -> None:
    stylizer = Stylizer(replace(tiny_bundle, learned_start=None), "cpu", "fp32")
    pictures = [
        stylizer(tiny.picture(), "fire", config=QUICK.updated({"start": name})).image.tobytes()
        for name in ("bundle", "identity", "random")
    ]
    assert pictures[0] == pictures[1] != pictures[2]
    warned = stylizer(tiny.picture(), "fire", config=QUICK).report["warnings"]
    assert any("learned start" in warning for warning in warned)


@cache
def shipped() -> Bundle:
    return Bundle.load("embedded").to(torch.device("cpu"), torch.float32)


class Lessons:
    """Tiny lessons that can be killed before a step."""

    def __init__(self, bundle: Bundle) -> None:
        torch.manual_seed(0)
        self.start = LearnedStart(bundle.clip.embedding_dim, base_channels=4, width=8)
        start_training.open_as_copy(self.start, bundle.start)
        self.bundle, self.given, self.end = replace(bundle, learned_start=self.start), 0, 10**9

    def lesson(self, rng: np.random.Generator) -> Run:
        if self.given >= self.end:
            raise KeyboardInterrupt
        self.given += 1
        photo = Photo(
            torch.from_numpy(rng.random((3, 4, 4), np.float32)).repeat_interleave(8, 1).repeat_interleave(8, 2)
        )
        regions = from_mask(torch.arange(32).expand(32, 32) < 16) if rng.random() < 0.5 else None
        config = QUICK.updated({
            "size": 32, "steps": 1, "threshold": 0.0, "regions": {"portrait": {"weight": 0.0}}, "lambda_pixel": 1e4,
        })  # fmt: skip
        prompt = str(rng.choice(["fire", "watercolor painting"]))
        return Run(
            bundle=self.bundle, photo=photo, regions=regions,
            direction=text_direction(self.bundle.clip, prompt, "a photo"),
            plan=plan(config, photo.size, regions, 0), config=config, seed=0, device=torch.device("cpu"),
            dtype=torch.float32,
        )  # fmt: skip

    def train(self, folder: Path, steps: int = 3, resume: bool = False) -> list[dict[str, float]]:
        return start_training.train_start(
            self.start, self.lesson, steps=steps, seed=3, checkpoint=folder / "start.pt", resume=resume,
            examples=[self.lesson(np.random.default_rng(99 + n)) for n in range(4)], examine_every=2,
        )  # fmt: skip


@pytest.fixture
def trainable(tiny_bundle: Bundle) -> Bundle:
    return tiny_bundle.to(torch.device("cpu"), torch.float32)


def test_training_lowers_the_loss_of_unseen_drafts(
    trainable: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "WARM_UP", 1)
    monkeypatch.setattr(start_training, "RATE", 1e-2)
    sighted = replace(shipped(), start=trainable.start)  # a random CLIP's directions lead nowhere
    curve = Lessons(sighted).train(tmp_path, steps=15)
    assert [entry["step"] for entry in curve] == [*range(0, 15, 2), 15]
    assert curve[-1]["patch"] < curve[0]["patch"] - 0.02


def test_a_resumed_training_ends_as_an_unbroken_one(
    trainable: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_training, "SAVE_EVERY", 1)
    whole, broken = Lessons(trainable), Lessons(trainable)
    curve = whole.train(tmp_path / "whole")
    broken.end = 4 + start_training.LESSONS  # the examples and one step
    with pytest.raises(KeyboardInterrupt):
        broken.train(tmp_path / "broken")
    resumed = Lessons(trainable)
    assert resumed.train(tmp_path / "broken", resume=True) == curve
    expected = whole.start.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.start.state_dict().items())
    untrained = Lessons(trainable).start.state_dict()
    assert any(not torch.equal(value, untrained[name]) for name, value in expected.items())


def test_what_is_not_to_be_styled_is_held_to_the_photo(trainable: Bundle) -> None:
    lessons = Lessons(trainable)
    with torch.no_grad():
        lessons.start.stylenet.last.bias += 0.5  # every draft is too light
    run = next(run for n in range(99) if (run := lessons.lesson(np.random.default_rng(n))).regions is not None)
    run.objective.lambdas *= torch.tensor([name == "pixel" for name in LOSSES[1:]])
    parameters = list(lessons.start.parameters())
    gradient, _ = start_training.gradient(lessons.start, run, parameters)
    bias = next(g for p, g in zip(parameters, gradient, strict=True) if p is lessons.start.stylenet.last.bias)
    assert bool((bias > 0).all())  # darker


@pytest.mark.parametrize("prompt", ["fire", "a sketch with black pencil", "desert sand", "a blue mosaic"])
def test_the_shipped_drafts_are_half_way_and_leave_people_alone(prompt: str) -> None:
    data = pytest.importorskip("skimage.data")
    bundle = shipped()
    assert bundle.learned_start is not None
    stylizer, photo = Stylizer(bundle, "cpu", "fp32"), data.astronaut()
    config = preset(
        "fast", {"size": 192, "steps": 1, "coarse_share": 0.0, "patches": 16, "patch_size": 96, "threshold": 0}
    )
    regions = {"portrait": {"weight": 0.0}, "background": {"threshold": 0.0}}

    def first(name: str) -> tuple[float, Tensor, Run]:
        steps = stylizer.steps(
            Image.fromarray(photo), prompt, config=config.updated({"start": name, "regions": regions})
        )
        step = next(steps)
        return step.losses["patch"], step._picture[0], steps.run

    (draft, picture, run), (copy, _, _) = first("bundle"), first("identity")
    assert draft < 0.85 * copy
    assert run.regions is not None
    change = (picture - run.photo.pixels).abs().mean(0)  # (H, W)
    people = run.regions.portrait
    assert float(change[people].mean()) < 0.7 * float(change[~people].mean())
