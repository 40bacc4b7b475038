"""Several runs in one step: each is the run that it is alone."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.method.batching import step_together
from genartisan.method.engine import Run
from genartisan.method.painters import Painter
from genartisan.method.step import Step
from genartisan.method.stylizer import Stylizer

CONFIG = StyleConfig(size=64, steps=4, patches=4, patch_size=32, learning_rate=1e-7)
DRAFT = {"start": "draft", "learning_rate": 1e-8, "numbers_rate": 1e-6, "lambda_draft": 100.0}
JOBS: tuple[tuple[tuple[int, int], str, dict[str, Any]], ...] = (
    ((64, 48), "fire", {}),
    ((48, 64), "watercolor painting", {"mode": "clipstyler", "patches": 7}),
    ((64, 48), "fire", {**DRAFT, "lambda_pixel": 1000.0}),
    ((64, 48), "fire", {"coarse_share": 0.5, "steps": 2, "learning_rate": 1e-6}),
)


def runs(stylizer: Stylizer) -> list[Run]:
    return [
        stylizer.steps(
            tiny.picture(*size, seed=seed), prompt, config=CONFIG.updated(changes), mask=tiny.mask(*size), seed=seed
        ).run
        for seed, (size, prompt, changes) in enumerate(JOBS)
    ]


def sgd(net: Painter, rate: float, numbers_rate: float) -> torch.optim.SGD:
    groups = [
        {"params": [weight], "initial_lr": numbers_rate if name == "numbers" else rate}
        for name, weight in net.named_parameters()
    ]
    return torch.optim.SGD(groups, rate)


def weights(run: Run) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.painter.parameters()])


def test_each_run_is_the_one_it_is_alone(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Adam turns the rounding of small gradients into whole steps; plain descent keeps what is alike alike.
    monkeypatch.setattr("genartisan.method.engine.adam", sgd)
    alone = runs(tiny_stylizer)
    begun = [weights(run) for run in alone]
    expected = [list(run) for run in alone]
    joined = runs(tiny_stylizer)
    taken: list[list[Step]] = [[] for _ in joined]
    while going := [place for place, run in enumerate(joined) if not run.is_over()]:
        for place, step in zip(going, step_together([joined[place] for place in going]), strict=True):
            taken[place].append(step)
    for one, other, first, run, joint in zip(expected, taken, begun, alone, joined, strict=True):
        assert [step.index for step in other] == [step.index for step in one]
        for theirs, ours in zip(one, other, strict=True):
            assert ours.losses == pytest.approx(theirs.losses, rel=1e-4, abs=1e-4)
        assert float((weights(run) - weights(joint)).norm()) < 0.01 * float((weights(run) - first).norm())
        assert torch.equal(run.objective.rejected, joint.objective.rejected)


def test_clip_and_vgg_see_all_at_once(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    joined, views, pictures = runs(tiny_stylizer), list[int](), list[tuple[int, ...]]()
    for run in joined:
        run.targets_at(0)  # is prepared, for which CLIP and VGG look at the photo
    extractor = type(joined[0].extractor)
    embed, features = extractor.embed, extractor.features

    def embedding(self: Any, squares: Tensor) -> Tensor:
        views.append(len(squares))
        return embed(self, squares)

    def looking(self: Any, picture: Tensor) -> list[Tensor]:
        pictures.append(tuple(picture.shape))
        return features(self, picture)

    monkeypatch.setattr(extractor, "embed", embedding)
    monkeypatch.setattr(extractor, "features", looking)
    step_together(joined)
    assert views == [5 + 8 + 5 + 5]
    assert pictures == [(2, 3, 48, 64), (1, 3, 64, 48), (1, 3, 24, 32)]  # the last run's first step is a coarse one
