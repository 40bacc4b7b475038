"""Augmentation of the drawings for CLIP's image tower: cropped, warped and tinted like patches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def disguise(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random crop, flip, perspective with black outside, and tint: (B, 3, H, W) -> (B, 3, size, size) in [0, 1].

    The method warps each patch by such a perspective (distortion 0.5); an untrained tower takes the black wedges for a
    style. The tint prevents classification by colour alone.
    """
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    square = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # corners, (x, y)
    warped = (uniform(0, 1, 1, 1) < 0.7) * uniform(0, 0.5, 4, 2)  # each corner's shift inwards
    zoom = uniform(0.65, 1, 1, 1)
    middle = uniform(-1, 1, 1, 2) * (1 - zoom)
    mirror = torch.where(uniform(0, 1, 1, 1) < 0.5, torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 1.0]))
    matrix = homography(square * (1 - warped), square.expand(count, 4, 2))  # output -> crop, (B, 3, 3)
    line = torch.linspace(-1, 1, size)
    at = torch.stack((*torch.meshgrid(line, line, indexing="xy"), torch.ones(size, size)), -1).view(1, -1, 3)
    at = at @ matrix.transpose(1, 2)  # (B, size^2, 3)
    at = at[..., :2] / at[..., 2:]
    outside = (at.abs() > 1).any(2).view(count, 1, size, size)
    grid = (at * zoom * mirror + middle).view(count, size, size, 2)
    sampled = F.grid_sample(pictures, grid, align_corners=False, padding_mode="reflection")  # (B, 3, size, size)
    mix = torch.eye(3) + 0.07 * torch.randn(count, 3, 3, generator=generator)
    tinted = (
        torch.einsum("bij,bjhw->bihw", mix, sampled - 0.5) * uniform(0.8, 1.15, 1, 1, 1)
        + 0.5
        + uniform(-0.07, 0.07, 1, 1, 1)
    )
    noise = torch.randn(sampled.shape, generator=generator) * uniform(0, 0.03, 1, 1, 1)
    return (tinted + noise).clamp(0, 1).masked_fill(outside, 0)


def homography(source: Tensor, target: Tensor) -> Tensor:
    """The homographies that map four points to four others: (B, 4, 2), (B, 4, 2) -> (B, 3, 3)."""
    (x, y), (u, v) = source.unbind(2), target.unbind(2)  # each (B, 4)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    upper = torch.stack((x, y, one, none, none, none, -u * x, -u * y), 2)
    lower = torch.stack((none, none, none, x, y, one, -v * x, -v * y), 2)
    solved = torch.linalg.solve(torch.cat((upper, lower), 1), torch.cat((u, v), 1))  # (B, 8)
    return torch.cat((solved, torch.ones(len(solved), 1)), 1).view(-1, 3, 3)
