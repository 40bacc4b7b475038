"""The random perspective of patches: corners, homographies, and one warp for all patches of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def random_corners(shape: tuple[int, ...], side: int, distortion: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Corners of each patch after a random perspective, x and y in pixels, ``(*shape, 4, 2)``.

    As in torchvision's RandomPerspective, each corner moves inwards by up to ``distortion`` of half the side.
    """
    reach = int(distortion * (side // 2))
    inwards = rng.integers(0, reach + 1, size=(*shape, 4, 2))
    moved: NDArray[np.int64] = np.abs(crop_corners(side) - inwards)
    return moved


def crop_corners(side: int) -> NDArray[np.int64]:
    """The corners of a crop, clockwise from the upper left, x and y in pixels, ``(4, 2)``."""
    return np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (side - 1)


def homographies(moved: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Coefficients (a ... h), ``(..., 8)``, that map ``moved`` corners, ``(..., 4, 2)``, to those of the crop.

    (x, y) maps to ((ax + by + c) / (gx + hy + 1), (dx + ey + f) / (gx + hy + 1)).
    """
    moved = moved.astype(np.float64)
    corners = np.broadcast_to(crop_corners(side), moved.shape).astype(np.float64)
    x, y = moved[..., 0], moved[..., 1]  # (..., 4)
    u, v = corners[..., 0], corners[..., 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    first = np.stack((x, y, one, zero, zero, zero, -u * x, -u * y), axis=-1)  # (..., 4, 8)
    second = np.stack((zero, zero, zero, x, y, one, -v * x, -v * y), axis=-1)
    system = np.concatenate((first, second), axis=-2)  # (..., 8, 8)
    return np.asarray(np.linalg.solve(system, np.concatenate((u, v), axis=-1)[..., None])[..., 0], np.float64)


def warp(picture: Tensor, boxes: Tensor, coefficients: Tensor, side: int) -> Tensor:
    """Crops and warps all patches of a step in one `grid_sample`.

    Equal to cropping each, then torchvision's `perspective` with bilinear interpolation and black fill: outside the
    crop is black, not the rest of the picture.

    Args:
        picture: ``(1, 3, H, W)``.
        boxes: (x, y) of the crops, ``(N, 2)``.
        coefficients: of the homographies, ``(N, 8)``.

    Returns:
        ``(N, 3, side, side)``.
    """
    height, width = picture.shape[-2:]
    centre = torch.arange(side, device=picture.device, dtype=coefficients.dtype) + 0.5  # of the pixels
    x, y = centre[None, None, :], centre[None, :, None]
    a, b, c, d, e, f, g, h = coefficients[:, :, None, None].unbind(1)  # each (N, 1, 1)
    scale = 1 / (g * x + h * y + 1)  # (N, side, side)
    place = torch.stack(((a * x + b * y + c) * scale, (d * x + e * y + f) * scale), dim=-1) - 0.5  # (N, side, side, 2)
    inside = place.clamp(0, side - 1)
    covered = (1 - (place - inside).abs()).clamp_min(0).prod(dim=-1)  # (N, side, side): 1 inside, 0 a pixel beyond
    x, y = (inside + boxes[:, None, None, :] + 0.5).unbind(-1)  # each (N, side, side), in the picture
    grid = torch.stack((x * (2 / width), y * (2 / height)), dim=-1) - 1  # in [-1, 1]
    tall = grid.reshape(1, -1, side, 2).to(picture.dtype)  # (1, N * side, side, 2): one batch for one picture
    patches = F.grid_sample(picture, tall, align_corners=False)  # (1, 3, N * side, side)
    patches = patches.reshape(3, -1, side, side).transpose(0, 1)  # (N, 3, side, side)
    # Squared: torchvision samples a picture with black around it, then blends with the fill by the coverage once more.
    return patches * covered.square().to(patches.dtype)[:, None]
