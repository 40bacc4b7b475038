"""How networks want their pictures: colours less a mean and over a deviation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB in [0, 1], ``(N, 3, H, W)``, less a channel's ``mean`` and over its ``std``.

    torchvision's `normalize` would wait for the device, to see whether a deviation is 0, and send it both anew.
    """
    shift, scale = (_channels(tuple(values), images.device, images.dtype) for values in (mean, std))
    return (images - shift) / scale


def unstandardized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The pictures that `standardized` was given, ``(N, 3, H, W)``."""
    shift, scale = (_channels(tuple(values), images.device, images.dtype) for values in (mean, std))
    return images * scale + shift


@lru_cache(maxsize=64)
def _channels(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A number for each channel, ``(C, 1, 1)``, on ``device``, for backward passes too."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)[:, None, None]
