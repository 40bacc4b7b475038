"""The input of a painter: the photo and, with several layers, how much of each pixel lies on each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.io.images import Photo
from genartisan.method.painters import Layers
from genartisan.method.regions import RegionMap


def net_input(photo: Photo, regions: RegionMap | None, layers: Layers, config: StyleConfig) -> Tensor:
    """The photo, ``(1, 3, H, W)``, or, with L layers, ``(1, 3 + L, H, W)``; on the CPU."""
    pixels = photo.pixels[None]  # (1, 3, H, W)
    if regions is None or len(layers) == 1:
        return pixels
    covers = regions.grouped(layers.of_regions, feather(regions, config))[None]  # (1, L, H, W)
    return torch.cat((pixels, covers), dim=1)


def region_values(regions: RegionMap, values: Sequence[float], config: StyleConfig) -> Tensor:
    """The value of each pixel's region, ``(1, 1, H, W)``, with soft edges where the config asks for them."""
    return regions.weighed(values, feather(regions, config))[None, None]


def feather(regions: RegionMap, config: StyleConfig) -> float:
    """Width of the soft edges in a region map's pixels."""
    return config.feather * max(regions.size) / config.size
