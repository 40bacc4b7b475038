"""A step's losses in parts: the same sum, the same gradient, and no more views at a time than were asked for."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch

from genartisan.config import StyleConfig
from genartisan.method import objective
from genartisan.method.engine import Run
from genartisan.method.objective import LOSSES
from genartisan.method.stylizer import Stylizer

CONFIG = StyleConfig(size=64, steps=3, patches=7, patch_size=32)


def run_of(stylizer: Stylizer, mode: str) -> Run:
    steps = stylizer.steps(tiny.picture(), "fire", config=CONFIG.updated({"mode": mode}), mask=tiny.mask())
    return steps.run


def gradient(run: Run, most: int, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor]:
    monkeypatch.setattr(objective, "VIEWS_AT_ONCE", most)
    run.painter.zero_grad()
    losses = run.objective.backward(run.painter(run.full.net_input), run.full, 0)
    return losses, torch.cat([p.grad.flatten() for p in run.painter.parameters() if p.grad is not None])


@pytest.mark.parametrize("mode", ["artisan", "clipstyler"])
def test_parts_add_up(tiny_stylizer: Stylizer, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tiny_stylizer, mode)
    losses, whole = gradient(run, 24, monkeypatch)
    rejected = run.objective.rejected.clone()
    for most in (1, 3):
        in_parts, slopes = gradient(run, most, monkeypatch)
        torch.testing.assert_close(in_parts, losses, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(slopes, whole, atol=1e-3 * float(whole.abs().max()), rtol=1e-3)
        assert torch.equal(run.objective.rejected, rejected * (2 if most == 1 else 3))


def test_the_gradient_is_that_of_the_total(tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tiny_stylizer, "artisan")
    _, ours = gradient(run, 3, monkeypatch)
    losses = run.objective.losses(run.painter(run.full.net_input), run.full, 0)
    expected = torch.autograd.grad(losses[LOSSES.index("total")], list(run.painter.parameters()))
    theirs = torch.cat([g.flatten() for g in expected])
    torch.testing.assert_close(ours, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=1e-3)


class Embedded:
    """How many views CLIP embedded, with and without a gradient."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        self.with_gradient, self.without = list[int](), list[int]()
        embed = type(run.extractor).embed

        def watched(extractor: Any, squares: torch.Tensor) -> torch.Tensor:
            (self.with_gradient if squares.requires_grad else self.without).append(len(squares))
            return embed(extractor, squares)

        monkeypatch.setattr(type(run.extractor), "embed", watched)


@pytest.mark.parametrize(("most", "views"), [(24, [8]), (3, [3, 2, 3]), (4, [4, 4])])
def test_clip_sees_so_many_views_at_a_time(
    tiny_stylizer: Stylizer, most: int, views: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tiny_stylizer, "artisan")
    run.targets_at(0)  # is prepared, for which CLIP looks at the photo
    seen = Embedded(run, monkeypatch)
    gradient(run, most, monkeypatch)
    assert seen.with_gradient == views
    assert seen.without == []


@pytest.mark.parametrize("kept", [0, 2, 4, 7])
@pytest.mark.parametrize("most", [24, 3])
def test_where_most_patches_are_rejected_only_the_others_have_a_gradient(
    tiny_stylizer: Stylizer, kept: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tiny_stylizer, "artisan")
    first = torch.tensor([2.0] * (7 - kept) + [-1.0] * kept)  # a distance of at most 2 is rejected
    run.full.patches.thresholds[0] = first[torch.randperm(7, generator=torch.Generator().manual_seed(kept))]
    losses, slopes = gradient(run, most, monkeypatch)
    rejected = run.objective.rejected.clone()
    assert int(rejected.sum()) == 7 - kept
    watched = Embedded(run, monkeypatch)
    again, slopes_again = gradient(run, most, monkeypatch)
    if kept <= 3:
        assert sum(watched.without) == 7
        assert sum(watched.with_gradient) == kept + 1  # and the whole picture
        assert max(watched.with_gradient) <= most + 1
    else:
        assert sum(watched.with_gradient) == 8
    torch.testing.assert_close(again, losses, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(slopes_again, slopes, atol=1e-3 * float(slopes.abs().max()), rtol=1e-3)
    assert torch.equal(run.objective.rejected, 2 * rejected)


def test_rejected_patches_of_one_step_only_matter_to_the_next(
    tiny_stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tiny_stylizer, "artisan")
    run.full.patches.thresholds[0] = 2.0
    watched = Embedded(run, monkeypatch)
    gradient(run, 24, monkeypatch)
    run.full.patches.thresholds[0] = -1.0
    gradient(run, 24, monkeypatch)
    assert watched.with_gradient[-2:] == [8, 8]
    before = sum(watched.without)
    gradient(run, 24, monkeypatch)
    assert sum(watched.without) == before
