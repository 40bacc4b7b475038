"""The random crops of every step: position, region, controls and perspective of each.

A patch is one record, a row of `PATCH`, so that its fields stay together in whatever order patches are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.io.images import Photo
from genartisan.method.perspective import homographies, random_corners
from genartisan.method.regions import BACKGROUND_LABEL, NAMES, PORTRAIT_LABEL, RegionMap

PATCH = np.dtype([
    ("x", np.int32),  # left edge, pixels
    ("y", np.int32),  # upper edge, pixels
    ("region", np.int32),  # label in the region map
    ("weight", np.float32),  # alpha, eq 16
    ("threshold", np.float32),  # tau, eq 15
    ("corners", np.int16, (4, 2)),  # of the crop after the random perspective, x and y, pixels
])  # fmt: skip
Records = NDArray[np.void]
CONTROLS = ("weight", "threshold")
COARSE_PATCHES = (0.75, 0.625, 0.5)  # of patch_size, in coarse steps: the first that leaves each region its crops


class PatchBatch(NamedTuple):
    """Patches as tensors on the device: those of one step, ``(N, ...)``, or of all, ``(steps, N, ...)``."""

    boxes: Tensor  # (N, 2), x and y, float32
    homographies: Tensor  # (N, 8), float32
    regions: Tensor  # (N,), int64
    weights: Tensor  # (N,), float32
    thresholds: Tensor  # (N,), float32

    def at(self, step: int) -> PatchBatch:
        """The patches of a step, counted from 0."""
        return PatchBatch(*(column[step] for column in self))

    def split(self, most: int) -> list[PatchBatch]:
        """The patches of a step in groups of about equal size, at most ``most``."""
        parts = max(1, -(-len(self.weights) // most))
        return [PatchBatch(*columns) for columns in zip(*(c.tensor_split(parts) for c in self), strict=True)]


@dataclass(frozen=True)
class PatchPlan:
    """Every patch of a run at one size, drawn before the first step.

    Attributes:
        records: `PATCH` rows, ``(steps, N)``.
        side: of a crop, in pixels.
        warnings: requests that could not be met, in sentences.
    """

    records: Records
    side: int
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device) -> PatchBatch:
        """The patches of all steps on ``device``, so that no step waits for a transfer."""
        rows = self.records
        columns = (
            np.stack((rows["x"], rows["y"]), axis=-1).astype(np.float32),
            # Step by step: solving all systems at once would take half a gigabyte for the largest plans.
            np.stack([homographies(corners, self.side).astype(np.float32) for corners in rows["corners"]]),
            rows["region"].astype(np.int64),
            rows["weight"].copy(),
            rows["threshold"].copy(),
        )
        return PatchBatch(*(torch.from_numpy(column).to(device) for column in columns))


def plan(
    config: StyleConfig, size: tuple[int, int], regions: RegionMap | None, seed: int, patch_size: int | None = None
) -> PatchPlan:
    """Draws every patch of a run for a picture of (width, height).

    Args:
        regions: the picture's region map in artisan mode; None in clipstyler mode.
        patch_size: in pixels; default: the config's.
    """
    width, height = size
    patch_size = patch_size or config.patch_size
    side = min(patch_size, width, height)
    records = np.zeros((config.steps, config.patches), PATCH)
    if not config.steps:
        return PatchPlan(records, side)
    # Four streams, each drawn step by step, so that a longer run begins with the patches of a shorter one.
    placing, redrawing, bending, moving = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    columns, rows = width - side + 1, height - side + 1
    positions = placing.integers(rows * columns, size=records.shape)  # upper left corners
    warnings = []
    if side < patch_size:
        warnings.append(f"patch_size was lowered from {patch_size} to {side}, the picture's short side")
    if regions is None:
        records["weight"], records["threshold"] = 1, config.threshold
    else:
        crops = controls_of_crops(regions, side, config)
        positions, unmet = within_budget(positions, crops.regions, regions.names, config, redrawing, moving)
        warnings += unmet
        records["region"] = crops.regions[positions]
        records["weight"], records["threshold"] = crops.weights[positions], crops.thresholds[positions]
    records["y"], records["x"] = np.divmod(positions, columns)
    records["corners"] = random_corners(records.shape, side, config.distortion, bending)
    return PatchPlan(records, side, tuple(warnings))


def plan_coarse(config: StyleConfig, fine: PatchPlan, photo: Photo, regions: RegionMap | None, seed: int) -> PatchPlan:
    """Draws the patches of the coarse steps, for the photo at half its size.

    A StyleNet's strokes have a size in pixels: patches of half the size would show strokes half as large, to be redrawn
    in the fine steps, and patches of full size leave few crops beside a person in the middle. So patches have three
    quarters of their size, or less where a region would be left without a crop.

    Args:
        fine: the patches at full size; a warning that it has already is no reason for smaller patches.
        photo, regions: at half their size.
    """
    for share in COARSE_PATCHES:
        side = min(max(1, round(share * config.patch_size)), *photo.size)
        patches = plan(config, photo.size, regions, seed, side)
        if set(patches.warnings) <= set(fine.warnings):
            break
    return patches


class Crops(NamedTuple):
    """Region and controls of a crop at each position of its upper left corner, row by row."""

    regions: NDArray[np.int64]  # (rows * columns,), labels
    weights: NDArray[np.float64]  # (rows * columns,)
    thresholds: NDArray[np.float64]  # (rows * columns,)


def controls_of_crops(regions: RegionMap, side: int, config: StyleConfig) -> Crops:
    """Region, weight and threshold of a crop at each position (eq 15, 16, 18).

    ``any``: a crop is portrait if any pixel of its deciding window is (eq 18); else it belongs to the region other than
    the background with the largest share, and to the background if there is none. ``coverage``: it belongs to the
    region with the largest share, and its weight and threshold are the share-weighted means of the regions'.
    """
    soft = config.decision_rule == "coverage"
    covers = regions.cover() if soft and regions.covers is not None else None
    labels = regions.labels.cpu().numpy()
    controls = [config.regions[name] for name in regions.names]
    shape = (labels.shape[0] - side + 1, labels.shape[1] - side + 1)
    region, most = np.full(shape, BACKGROUND_LABEL), np.zeros(shape)
    left, weight, threshold = np.ones(shape), np.zeros(shape), np.zeros(shape)  # share left for the background
    for label, pixels in enumerate(regions.pixels()):
        if label == BACKGROUND_LABEL or (pixels == 0 and covers is None):
            continue
        plane = labels == label if covers is None else covers[label].numpy()
        share = decided(plane, side, config)  # (rows, columns)
        rank = 2.0 * (share > 0) if label == PORTRAIT_LABEL and not soft else share
        region, most = np.where(rank > most, label, region), np.maximum(rank, most)
        left = left - share
        weight, threshold = weight + share * controls[label].weight, threshold + share * controls[label].threshold
    if soft:
        region = np.where(left > most, BACKGROUND_LABEL, region)
        weight = weight + left * controls[BACKGROUND_LABEL].weight
        threshold = threshold + left * controls[BACKGROUND_LABEL].threshold
    else:
        weight, threshold = (np.array([getattr(each, name) for each in controls])[region] for name in CONTROLS)
    return Crops(region.astype(np.int64).ravel(), weight.ravel(), threshold.ravel())


def decided(plane: NDArray[Any], side: int, config: StyleConfig) -> NDArray[np.float64]:
    """A region's share, in [0, 1], of the deciding window at each position of a crop (eq 18).

    Under the rule ``coverage`` the window is the whole crop. An integral image makes the cost independent of the side.

    Args:
        plane: the region's pixels, ``(H, W)``: bool, or its share of each pixel, 0-1.
    """
    window = max(1, round(config.decision * side))
    top, left, height, width = {
        "center": ((side - window) // 2, (side - window) // 2, window, window),
        "bottom": (side - window, 0, window, side),
    }[config.decision_window]
    if config.decision_rule == "coverage":
        top, left, height, width = 0, 0, side, side
    rows, columns = plane.shape[0] - side + 1, plane.shape[1] - side + 1
    exact = np.int64 if plane.dtype == bool else np.float64
    total = np.pad(plane.astype(exact), ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # (H + 1, W + 1)
    y, x = slice(top, top + rows), slice(left, left + columns)
    y_end, x_end = slice(top + height, top + height + rows), slice(left + width, left + width + columns)
    count = total[y_end, x_end] - total[y, x_end] - total[y_end, x] + total[y, x]  # (rows, columns)
    return np.asarray(count / (height * width), np.float64)


def within_budget(
    positions: NDArray[np.int64],
    regions: NDArray[np.int64],
    names: Sequence[str],
    config: StyleConfig,
    rng: np.random.Generator,
    moving: np.random.Generator,
) -> tuple[NDArray[np.int64], list[str]]:
    """Redraws the patches that exceed their region's share of a step (eq 17), in regions that have room.

    The earliest draws stay, so the distribution is that of rejection one by one; but each patch is redrawn at most
    once, so that photos without background end as soon as others.

    Args:
        positions: of the crops, ``(steps, N)``.
        regions: label of a crop at each position.
        names: of the regions, by label.
        rng: for positions.
        moving: for the choice between regions with room.
    """
    steps, n = positions.shape
    limits = limits_of([config.regions[name].share for name in names], n)
    crops = np.bincount(regions, minlength=len(names))  # positions in each region
    first = regions[positions]  # (steps, N)
    target, counts, every = first.copy(), np.zeros((steps, len(names)), int), np.arange(steps)
    lots = moving.random((steps, n)) if len(names) > len(NAMES) else np.zeros((steps, n))  # two regions leave no choice
    over = set[int]()  # regions above their share, because no other crop is left
    for place in range(n):
        full = counts[every, first[:, place]] >= limits[first[:, place]]  # (steps,)
        if full.any():
            chances = np.where(counts[full] < limits, crops, 0)  # (some, R)
            none = chances.sum(axis=1) == 0
            over |= set(np.unique(first[full, place][none]).tolist())
            chances[none, first[full, place][none]] = 1
            reached = chances.cumsum(axis=1)
            target[full, place] = (reached > lots[full, place, None] * reached[:, -1:]).argmax(axis=1)
        counts[every, target[:, place]] += 1
    return redrawn(positions, regions, target, rng), [
        f"regions.{names[label]}.share of {config.regions[names[label]].share:g} could not be kept: "
        + ("the photo has too few other crops" if np.count_nonzero(crops) > 1 else f"all crops are {names[label]}")
        for label in sorted(over)
    ]


def limits_of(shares: Sequence[float], n: int) -> NDArray[np.int64]:
    """The most of a step's ``n`` patches that each region may have, by label, ``(R,)``.

    Shares of ``n`` are rounded down, the background's up; if that leaves patches without a region, the largest
    remainders are rounded up, too.
    """
    room = np.array(shares) * n
    limits = np.floor(room + 1e-9).astype(np.int64)
    limits[BACKGROUND_LABEL] = np.ceil(room[BACKGROUND_LABEL])
    for label in np.argsort(limits - room, kind="stable")[: max(0, n - int(limits.sum()))]:
        limits[label] += 1
    return limits


def redrawn(
    positions: NDArray[np.int64], regions: NDArray[np.int64], target: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Positions, ``(steps, N)``, redrawn within the region ``target`` where theirs is another."""
    moved, positions = target != regions[positions], positions.copy()
    new = target[moved]  # (some,), step by step
    of_region = [np.flatnonzero(regions == label) for label in range(int(regions.max()) + 1)]
    labels = np.unique(new)
    if len(labels) == 1:
        positions[moved] = rng.choice(of_region[labels[0]], size=len(new))
    elif len(labels):
        places = rng.integers(np.array([len(each) for each in of_region])[new])
        positions[moved] = [of_region[label][place] for label, place in zip(new, places, strict=True)]
    return positions
