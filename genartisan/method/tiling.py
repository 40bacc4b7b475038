"""A picture larger than the one that was optimised: the same StyleNet over the larger photo, in tiles without seams.

StyleNet's convolutions take any size, but its instance norms take their statistics from the whole picture: in tiles,
each would have its own, and be seen. So they are taken once, on the photo at the size of the optimisation, and held.
With them a pixel depends on what lies less than `MARGIN` away and on nothing else, and tiles that overlap by that much
fit. Strokes keep their size in pixels, so in a larger picture they are finer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.io.images import Photo
from genartisan.method.painters import Painter
from genartisan.method.regions import RegionMap
from genartisan.networks.stylenet import MULTIPLE

TILE = 512  # pixels: the side of what is rendered at a time, without its margins
MARGIN = 80  # pixels, a multiple of MULTIPLE: StyleNet looks less far


@dataclass(frozen=True)
class RenderTarget:
    """What a picture larger than the optimised one is drawn from: the photo, and its region map in artisan mode."""

    photo: Photo
    regions: RegionMap | None


class HeldNorm(nn.Module):
    """An instance norm whose statistics do not depend on its input.

    Args:
        norm: whose scale and shift it has, if any.
        statistics: variance and mean, ``(L, C, 1, 1)``, of each picture that counts; all count alike.
    """

    def __init__(self, norm: nn.InstanceNorm2d, statistics: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        variances, means = (torch.stack(each) for each in zip(*statistics, strict=True))  # (N, L, C, 1, 1)
        mean = means.mean(dim=0)  # (L, C, 1, 1)
        variance = (variances + (means - mean).square()).mean(dim=0)  # of all their pixels together
        scale, shift = (variance + norm.eps).rsqrt(), torch.zeros_like(mean)
        if norm.affine:
            scale, shift = scale * norm.weight[:, None, None], shift + norm.bias[:, None, None]
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift - mean * scale)

    def forward(self, maps: Tensor) -> Tensor:
        return (maps * self.scale + self.shift).to(maps.dtype)


@torch.no_grad()
def with_held_norms(net: Painter, *contents: Tensor) -> Painter:
    """A copy of a network whose norms have, whatever it is given, the statistics they have on some contents together.

    Args:
        contents: each ``(1, 3 or more, H, W)``.
    """
    held = copy.deepcopy(net)
    norms = {name: module for name, module in held.named_modules() if isinstance(module, nn.InstanceNorm2d)}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in norms}

    def note(norm: nn.InstanceNorm2d, inputs: tuple[Tensor], name: str) -> None:
        found[name].append(torch.var_mean(inputs[0].float(), dim=(2, 3), correction=0, keepdim=True))

    for name, norm in norms.items():
        norm.register_forward_pre_hook(partial(note, name=name))
    for content in contents:
        held(content)
    for name, norm in norms.items():
        held.set_submodule(name, HeldNorm(norm, found[name]))
    return held


@torch.no_grad()
def rendered(net: Painter, seen: Tensor, content: Tensor, tile: int = TILE) -> Tensor:
    """The network's picture of ``content``, ``(1, 3, H, W)``, on the CPU, RGB in [0, 1].

    Beside content and picture it takes the memory of one tile's forward pass, whatever the size.

    Args:
        net: an optimised network, on its device.
        seen: what it was optimised on, ``(1, 3 or more, h, w)``, on that device.
        content: the same at a larger size, ``(1, 3 or more, H, W)``, on any device.
        tile: side of a tile in pixels, a multiple of 8.
    """
    held = with_held_norms(net, seen)
    height, width = content.shape[-2:]
    padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
    if any(padding):  # as StyleNet would, but once
        content = F.pad(content, padding, mode="reflect")
    bottom, right = content.shape[-2:]
    picture = torch.empty(1, 3, bottom, right)
    for top in range(0, bottom, tile):
        for left in range(0, right, tile):
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            part = content[..., y : top + tile + MARGIN, x : left + tile + MARGIN]
            inner = (..., slice(top - y, top - y + tile), slice(left - x, left - x + tile))
            picture[..., top : top + tile, left : left + tile] = held(part.to(seen.device))[inner].cpu()
    return picture[..., :height, :width]
