"""Input normalisation by channel mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(images - mean) / std`` per channel, of RGB in [0, 1], ``(N, 3, H, W)``.

    Unlike torchvision's `normalize`, it neither waits for the device to check for zeros nor copies mean and std again.
    """
    shift, scale = (_channels(tuple(values), images.device, images.dtype) for values in (mean, std))
    return (images - shift) / scale


def unstandardized(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The inverse of `standardized`, ``(N, 3, H, W)``."""
    shift, scale = (_channels(tuple(values), images.device, images.dtype) for values in (mean, std))
    return images * scale + shift


@lru_cache(maxsize=64)
def _channels(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A value per channel, ``(C, 1, 1)``, on ``device``."""
    with torch.inference_mode(False):  # a cached inference tensor would fail in a backward pass
        return torch.tensor(values, dtype=dtype, device=device)[:, None, None]
