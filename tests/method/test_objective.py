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


@pytest.mark.parametrize(("most", "views"), [(24, [8]), (3, [3, 2, 3]), (4, [4, 4])])
def test_clip_sees_so_many_views_at_a_time(
    tiny_stylizer: Stylizer, most: int, views: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = run_of(tiny_stylizer, "artisan"), list[int]()
    run.targets_at(0)  # is prepared, for which CLIP looks at the photo
    embed = type(run.extractor).embed

    def watched(extractor: Any, squares: torch.Tensor) -> torch.Tensor:
        seen.append(len(squares))
        return embed(extractor, squares)

    monkeypatch.setattr(type(run.extractor), "embed", watched)
    gradient(run, most, monkeypatch)
    assert seen == views
