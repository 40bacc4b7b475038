"""Patches: a record's region, weight and threshold are its own; budgets hold; one warp equals torchvision's many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import from_mask
from torchvision.transforms import RandomPerspective
from torchvision.transforms.functional import perspective

from genartisan.config import StyleConfig
from genartisan.method.patches import decided, plan
from genartisan.method.perspective import crop_corners, homographies, warp
from genartisan.method.regions import BACKGROUND_LABEL, PORTRAIT_LABEL, RegionMap

WIDTH, HEIGHT, SIDE = 96, 64, 24


def settings(**changes: object) -> StyleConfig:
    return StyleConfig().updated({"patches": 10, "patch_size": SIDE, "steps": 40, **changes})


def half_portrait() -> RegionMap:
    portrait = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    portrait[:, : WIDTH // 2] = True
    return from_mask(portrait)


def window_has_portrait(portrait: np.ndarray, x: int, y: int, config: StyleConfig) -> bool:
    """The rule of eq 18, told once more and slowly."""
    d = max(1, round(config.decision * SIDE))
    if config.decision_window == "bottom":
        return bool(portrait[y + SIDE - d : y + SIDE, x : x + SIDE].any())
    top, left = y + (SIDE - d) // 2, x + (SIDE - d) // 2
    return bool(portrait[top : top + d, left : left + d].any())


@pytest.mark.parametrize("window", ["center", "bottom"])
def test_each_record_has_the_region_weight_and_threshold_of_its_own_box(window: str) -> None:
    config = settings(decision_window=window, regions={"portrait": {"share": 0.5}})
    regions = half_portrait()
    records = plan(config, (WIDTH, HEIGHT), regions, seed=3).records
    portrait = regions.portrait.numpy()
    seen = set()
    for record in records.ravel():
        expected = (
            PORTRAIT_LABEL if window_has_portrait(portrait, record["x"], record["y"], config) else BACKGROUND_LABEL
        )
        control = config.regions.portrait if expected == PORTRAIT_LABEL else config.regions.background
        assert record["region"] == expected
        assert (record["weight"], record["threshold"]) == (np.float32(control.weight), np.float32(control.threshold))
        seen.add(expected)
    assert seen == {PORTRAIT_LABEL, BACKGROUND_LABEL}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 1.0])
def test_portrait_patches_stay_within_their_budget_in_every_step(share: float) -> None:
    config = settings(regions={"portrait": {"share": share}})
    records = plan(config, (WIDTH, HEIGHT), half_portrait(), seed=0).records
    counts = (records["region"] == PORTRAIT_LABEL).sum(axis=1)
    assert counts.max() <= int(share * config.patches)
    if share:
        assert counts.max() > 0
    else:
        assert not any(
            window_has_portrait(half_portrait().portrait.numpy(), r["x"], r["y"], config) for r in records.ravel()
        )


def test_background_share_moves_patches_to_the_portrait() -> None:
    config = settings(regions={"portrait": {"share": 1.0}, "background": {"share": 0.3}})
    records = plan(config, (WIDTH, HEIGHT), half_portrait(), seed=0).records
    assert (records["region"] == BACKGROUND_LABEL).sum(axis=1).max() <= 3


def test_a_photo_of_nothing_but_a_person_ends_and_says_so() -> None:
    everywhere = from_mask(torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    result = plan(settings(), (WIDTH, HEIGHT), everywhere, seed=0)
    assert (result.records["region"] == PORTRAIT_LABEL).all()
    assert (result.records["weight"] == np.float32(0.3)).all()
    assert any("regions.portrait.share" in warning for warning in result.warnings)


def test_a_photo_without_a_person_draws_what_clipstyler_mode_draws() -> None:
    nowhere = from_mask(torch.zeros(HEIGHT, WIDTH, dtype=torch.bool))
    artisan = plan(settings(), (WIDTH, HEIGHT), nowhere, seed=5)
    baseline = plan(settings(), (WIDTH, HEIGHT), None, seed=5)
    assert np.array_equal(artisan.records, baseline.records)
    assert artisan.warnings == ()


def test_coverage_rule_interpolates_weight_and_threshold() -> None:
    config = settings(decision_rule="coverage", regions={"portrait": {"share": 1.0}})
    portrait = half_portrait().portrait.numpy()
    for record in plan(config, (WIDTH, HEIGHT), half_portrait(), seed=0).records[:4].ravel():
        share = portrait[record["y"] : record["y"] + SIDE, record["x"] : record["x"] + SIDE].mean()
        assert record["weight"] == pytest.approx(share * 0.3 + (1 - share) * 1.0, rel=1e-6)
        assert record["threshold"] == pytest.approx(share * 0.8 + (1 - share) * 0.7, rel=1e-6)


def test_a_wider_window_makes_more_crops_portrait() -> None:
    portrait = half_portrait().portrait.numpy()
    shares = [(decided(portrait, SIDE, settings(decision=d)) > 0).mean() for d in (0.05, 0.2, 0.6, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_crops_lie_within_the_picture_and_reach_its_edges() -> None:
    records = plan(settings(steps=200), (WIDTH, HEIGHT), None, seed=0).records
    assert records["x"].min() == 0
    assert records["y"].min() == 0
    assert records["x"].max() == WIDTH - SIDE
    assert records["y"].max() == HEIGHT - SIDE


def test_patch_size_shrinks_to_a_small_picture_with_a_warning() -> None:
    result = plan(settings(patch_size=128), (WIDTH, HEIGHT), None, seed=0)
    assert result.side == HEIGHT
    assert "patch_size" in result.warnings[0]


def test_perspectives_are_distributed_as_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = np.array([RandomPerspective.get_params(SIDE, SIDE, 0.5)[1] for _ in range(2000)], float)  # (2000, 4, 2)
    config = settings(steps=200)
    records = plan(config, (WIDTH, HEIGHT), None, seed=0).records.ravel()
    ours = records["corners"].astype(float)  # (2000, 4, 2)
    assert np.allclose(ours.min(0), theirs.min(0), atol=1e-6)
    assert np.allclose(ours.max(0), theirs.max(0), atol=1e-6)
    assert np.allclose(ours.mean(0), theirs.mean(0), atol=0.3)


def test_one_warp_equals_cropping_and_torchvisions_perspective_one_by_one() -> None:
    picture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    corners = [[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]]
    rng = np.random.default_rng(0)
    boxes, coefficients, expected = [], [], []
    for x, y in ((0, 0), (WIDTH - SIDE, HEIGHT - SIDE), (17, 5), (40, 33)):
        moved = [[int(abs(c - rng.integers(0, 7))) for c in corner] for corner in corners]
        crop = picture[:, :, y : y + SIDE, x : x + SIDE]
        expected.append(perspective(crop, corners, moved, fill=[0.0] * 3))
        boxes.append((x, y))
        coefficients.append(homographies(np.array(moved), SIDE))
    result = warp(picture, torch.tensor(boxes).float(), torch.tensor(np.array(coefficients)).float(), SIDE)
    assert torch.allclose(result, torch.cat(expected), atol=2e-5)


def test_a_warp_sends_no_gradient_beyond_its_crop() -> None:
    picture = torch.rand(1, 3, HEIGHT, WIDTH, requires_grad=True)
    shrunk = crop_corners(SIDE) * 0.6 + 3  # a perspective whose outside is large
    coefficients = torch.from_numpy(homographies(shrunk, SIDE))[None].float()
    warp(picture, torch.tensor([[20.0, 10.0]]), coefficients, SIDE).sum().backward()
    assert picture.grad is not None
    touched = picture.grad[0].abs().sum(0) > 0
    assert touched[10 : 10 + SIDE, 20 : 20 + SIDE].any()
    touched[10 : 10 + SIDE, 20 : 20 + SIDE] = False
    assert not touched.any()
