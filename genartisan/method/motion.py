"""The shift between two frames, by phase correlation (Kuglin, Hines 1975), refined as in Foroosh et al. (2002)."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_PEAK = 0.1  # of the correlation: 1 for a shifted copy, about 0.05 for unrelated pictures
MIN_NEIGHBOUR = 0.2  # of the peak: less is noise, which would make a still camera creep
MAX_SHIFT = 1 / 3  # of a side: the frames must share most of their area


def shift_between(before: Tensor, after: Tensor) -> tuple[float, float] | None:
    """Shift right and down, in pixels; None if no single shift explains the change.

    Args:
        before, after: RGB, ``(3, H, W)``, of the same size.
    """
    height, width = before.shape[-2:]
    window = torch.hann_window(height, False)[:, None] * torch.hann_window(width, False)  # against correlating borders
    spectra = [torch.fft.rfft2((frame.mean(0) - frame.mean()) * window) for frame in (before, after)]
    cross = spectra[1] * spectra[0].conj()
    correlation = torch.fft.irfft2(cross / cross.abs().clamp(min=1e-9), s=(height, width))  # (H, W)
    peak = int(correlation.argmax())
    y, x = divmod(peak, width)
    if float(correlation[y, x]) < MIN_PEAK:
        return None
    peaks = _refined(correlation[:, x], y), _refined(correlation[y], x)
    down, right = (at - side if at > side / 2 else at for at, side in zip(peaks, (height, width), strict=True))
    far = abs(down) > MAX_SHIFT * height or abs(right) > MAX_SHIFT * width
    return None if far else (right, down)


def _refined(line: Tensor, peak: int) -> float:
    """Subpixel position of a peak: its centre of mass with its larger neighbour."""
    left, middle, right = (float(line[(peak + step) % len(line)]) for step in (-1, 0, 1))
    side, other = (1, right) if right > left else (-1, left)
    if other < MIN_NEIGHBOUR * middle:
        return float(peak)
    return peak + side * other / (middle + other)
