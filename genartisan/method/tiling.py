"""Tiled rendering: the painter over a photo larger than the one it was optimised on, without seams.

Instance norms take their statistics from the whole picture, so tiles with statistics of their own would show. They are
computed once, on the photo at the size of the optimisation, and fixed. A pixel then depends only on pixels less than
`MARGIN` away, and tiles that overlap by that much fit. Strokes keep their size in pixels, so they look finer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.io.images import Photo, resized
from genartisan.method.painters import Painter
from genartisan.method.regions import RegionMap
from genartisan.networks.stylenet import MULTIPLE

TILE = 512  # side of a tile without its margins, pixels
MARGIN = 80  # pixels, a multiple of MULTIPLE, more than half the receptive field


@dataclass(frozen=True)
class RenderTarget:
    """A photo and, in artisan mode, its region map, at one size."""

    photo: Photo
    regions: RegionMap | None

    def resized(self, long_side: int) -> RenderTarget:
        """The same at another long side in pixels."""
        photo = resized(self.photo, long_side)
        return RenderTarget(photo, None if self.regions is None else self.regions.resized(photo.size))


class HeldNorm(nn.Module):
    """An instance norm with fixed statistics.

    Args:
        norm: gives scale and shift, if it has them.
        statistics: variance and mean, ``(L, C, 1, 1)``, of several pictures, pooled.
    """

    def __init__(self, norm: nn.InstanceNorm2d, statistics: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        variances, means = (torch.stack(each) for each in zip(*statistics, strict=True))  # (N, L, C, 1, 1)
        mean = means.mean(dim=0)  # (L, C, 1, 1)
        variance = (variances + (means - mean).square()).mean(dim=0)  # of their pooled pixels
        scale, shift = (variance + norm.eps).rsqrt(), torch.zeros_like(mean)
        if norm.affine:
            scale, shift = scale * norm.weight[:, None, None], shift + norm.bias[:, None, None]
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift - mean * scale)

    def forward(self, maps: Tensor) -> Tensor:
        return (maps * self.scale + self.shift).to(maps.dtype)


@torch.no_grad()
def with_held_norms(net: Painter, *inputs: Tensor) -> Painter:
    """A copy of a painter whose instance norms keep their pooled statistics on some inputs.

    Args:
        inputs: each ``(1, 3 or more, H, W)``.
    """
    held = copy.deepcopy(net)
    norms = {name: module for name, module in held.named_modules() if isinstance(module, nn.InstanceNorm2d)}
    statistics: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms}

    def record(norm: nn.InstanceNorm2d, arguments: tuple[Tensor], name: str) -> None:
        statistics[name].append(torch.var_mean(arguments[0].float(), dim=(2, 3), correction=0, keepdim=True))

    for name, norm in norms.items():
        norm.register_forward_pre_hook(partial(record, name=name))
    for each in inputs:
        held(each)
    for name, norm in norms.items():
        held.set_submodule(name, HeldNorm(norm, statistics[name]))
    return held


@torch.no_grad()
def rendered(net: Painter, optimised_on: Tensor, net_input: Tensor, tile: int = TILE) -> Tensor:
    """The painter's picture of ``net_input``, ``(1, 3, H, W)``, on the CPU, RGB in [0, 1].

    Beside input and picture it takes the memory of one tile's forward pass.

    Args:
        net: an optimised painter, on its device.
        optimised_on: its input in the optimisation, ``(1, 3 or more, h, w)``, on that device.
        net_input: the same at a larger size, ``(1, 3 or more, H, W)``, on any device.
        tile: side of a tile in pixels, a multiple of 8.
    """
    held = with_held_norms(net, optimised_on)
    height, width = net_input.shape[-2:]
    padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    if any(padding):  # as StyleNet does, once for all tiles
        net_input = F.pad(net_input, padding, mode="reflect")
    bottom, right = net_input.shape[-2:]
    picture = torch.empty(1, 3, bottom, right)
    for top in range(0, bottom, tile):
        for left in range(0, right, tile):
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            part = net_input[..., y : top + tile + MARGIN, x : left + tile + MARGIN]
            inner = (..., slice(top - y, top - y + tile), slice(left - x, left - x + tile))
            picture[..., top : top + tile, left : left + tile] = held(part.to(optimised_on.device))[inner].cpu()
    return picture[..., :height, :width]
