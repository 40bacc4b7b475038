"""How far a camera moved between two frames: one shift of the whole picture, by phase correlation (Kuglin, Hines 1975).

Its peak between the pixels is found as by Foroosh et al. (2002).
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_PEAK = 0.1  # of the correlation, 1 for a picture and its shifted copy, 0.05 for two that have nothing in common
LEAST_SIDE = 0.2  # of the peak: what its neighbour has more than noise; a camera that stands still is not to creep
FARTHEST = 1 / 3  # of a side: what two frames have in common has to be most of them


def shift_between(before: Tensor, after: Tensor) -> tuple[float, float] | None:
    """How far the picture moved right and down, in pixels; None where no one shift explains the change.

    Args:
        before, after: RGB, ``(3, H, W)``, of the same size.
    """
    height, width = before.shape[-2:]
    window = torch.hann_window(height, False)[:, None] * torch.hann_window(width, False)  # or borders would correlate
    spectra = [torch.fft.rfft2((frame.mean(0) - frame.mean()) * window) for frame in (before, after)]
    cross = spectra[1] * spectra[0].conj()
    correlation = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=(height, width))  # (H, W)
    peak = int(correlation.argmax())
    y, x = divmod(peak, width)
    if float(correlation[y, x]) < LEAST_PEAK:
        return None
    found = _refined(correlation[:, x], y), _refined(correlation[y], x)
    down, right = (at - side if at > side / 2 else at for at, side in zip(found, (height, width), strict=True))
    far = abs(down) > FARTHEST * height or abs(right) > FARTHEST * width
    return None if far else (right, down)


def _refined(line: Tensor, peak: int) -> float:
    """The place of a peak between the samples: its centre of mass with its larger neighbour."""
    left, middle, right = (float(line[(peak + step) % len(line)]) for step in (-1, 0, 1))
    side, other = (1, right) if right > left else (-1, left)
    if other < LEAST_SIDE * middle:
        return float(peak)
    return peak + side * other / (middle + other)
