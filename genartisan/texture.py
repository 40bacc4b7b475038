"""Statistics of a picture's texture and colours under fixed filters: what the embedded CLIP's image tower reads.

A bank of oriented filters (Gabor's, even and odd) looks at four octaves of the picture in three opponent colours. What
is kept are the means, spreads and correlations of their energies, and what the same filters find in those energies, as
in Portilla and Simoncelli's texture model (2000) and in scattering networks (Bruna and Mallat, arXiv 1203.1514); and
how much of the picture lies near each of a set of colours. Nothing here is learned.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ORIENTATIONS = 4
LEVELS = 4  # octaves; each halves the side
SIZE = 7  # pixels, the side of a filter
WAVELENGTHS = (2.7, 4.6)  # pixels; the finer one looks at the first level only
ANCHORS = 5  # colours along each axis of the RGB cube whose neighbourhoods are counted
FLOOR = 0.03  # of an energy, in the units of a standardised picture: below it a filter's answer is taken for none
OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))  # light, red-green, yellow-blue


class TextureStatistics(nn.Module):
    """Standardised pictures (N, 3, S, S) -> statistics (N, `count`); S at least 32."""

    def __init__(self) -> None:
        super().__init__()
        # Stored with the weights although they follow from the constants: a bundle builds its networks without values.
        self.register_buffer("opponent", torch.tensor(OPPONENT).view(3, 3, 1, 1))
        for number, wavelength in enumerate(WAVELENGTHS):
            self.register_buffer(f"bank{number}", gabor_bank(wavelength))  # (2 O, 1, k, k)
        line = torch.linspace(-1.6, 1.9, ANCHORS)  # black to white, standardised
        self.register_buffer("anchors", torch.cartesian_prod(line, line, line))  # (A, 3)
        with torch.no_grad():
            self.count = self.forward(torch.zeros(1, 3, 64, 64)).shape[1]

    def forward(self, pictures: Tensor) -> Tensor:
        opponents = F.conv2d(pictures, cast(Tensor, self.opponent))  # (N, 3, S, S): light, red-green, yellow-blue
        found = [self._colours(pictures), *_moments(opponents)]
        fine, coarse = cast(Tensor, self.bank0), cast(Tensor, self.bank1)
        found += self._of_energies(*answers(opponents[:, :1], fine, stride=2))
        below = None
        for level in range(LEVELS):
            # At the full side only light is looked at, at every other place: fine colours cost much and tell little.
            seen, stride = (opponents[:, :1], 2) if level == 0 else (opponents, 1)
            energy, even = answers(seen, coarse, stride)
            found += self._of_energies(energy, even)
            light = energy[:, 0]  # (N, O, s, s)
            if below is not None:
                same = below if below.shape == light.shape else F.avg_pool2d(below, 2)
                found.append(_correlations(same, light))
            if level < LEVELS - 1:
                found.append(self._second(light, coarse))
            below, opponents = light, halved(opponents)
        return torch.cat(found, 1)

    def _of_energies(self, energy: Tensor, even: Tensor) -> list[Tensor]:
        mean = energy.mean((3, 4))  # (N, 3, O)
        spread = energy.var((3, 4), correction=0).add(FLOOR**2).sqrt() / mean  # of lines on flat ground large
        # Bright lines on dark ground answer with even filters of one sign, dark lines with the other.
        sign = (even[:, 0] * even[:, 0].abs()).mean((2, 3)) / energy[:, 0].square().mean((2, 3))  # (N, O)
        # Taken apart, not indexed by a list: the gradient of that adds up in any order when several threads do it.
        light = energy[:, 0].unbind(1)  # O of (N, h, w)
        first, second = (torch.stack(maps, 1) for maps in zip(*combinations(light, 2), strict=True))
        among = _correlations(first, second)  # which directions cross at the same place
        return [mean.log().flatten(1), spread.log().flatten(1), sign, among]

    def _second(self, energy: Tensor, bank: Tensor) -> Tensor:
        """Log energies of the energies' own structure: how long strokes are and how they are spaced, (N, O O)."""
        found, _ = answers(F.avg_pool2d(energy, 2), bank)  # (N, O, O, s / 2, s / 2)
        return (found.mean((3, 4)) / energy.mean((2, 3)).unsqueeze(2)).log().flatten(1)

    def _colours(self, pictures: Tensor) -> Tensor:
        """The share of the picture near each anchor colour, as a square root, (N, A)."""
        small = F.avg_pool2d(pictures, 4).flatten(2).transpose(1, 2)  # (N, P, 3)
        anchors = cast(Tensor, self.anchors)
        distance = (small.unsqueeze(2) - anchors).square().sum(3)  # (N, P, A)
        return ((-2.5 * distance).softmax(2).mean(1) + 1e-4).sqrt()


def gabor_bank(wavelength: float) -> Tensor:
    """Even and odd filters in ORIENTATIONS directions, each with mean 0 and norm 1: (2 ORIENTATIONS, 1, SIZE, SIZE)."""
    line = torch.arange(SIZE) - SIZE // 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * (0.45 * wavelength) ** 2))
    bank = []
    for phase in (0.0, math.pi / 2):
        for number in range(ORIENTATIONS):
            angle = math.pi * number / ORIENTATIONS
            wave = torch.cos(2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle)) - phase)
            filled = window * wave - window * (window * wave).sum() / window.sum()
            bank.append(filled / filled.norm())
    return torch.stack(bank).unsqueeze(1)


def answers(maps: Tensor, bank: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
    """The energies of the filters' answers to each channel, and the even answers: (N, C, H, W) -> (N, C, O, h, w)."""
    count, channels, height, width = maps.shape
    padded = F.pad(maps.reshape(-1, 1, height, width), [SIZE // 2] * 4, mode="reflect")
    both = F.conv2d(padded, bank, stride=stride)  # (N C, 2 O, h, w)
    even, odd = both.view(count, channels, 2, ORIENTATIONS, *both.shape[2:]).unbind(2)
    return (even.square() + odd.square() + FLOOR**2).sqrt(), even


def halved(maps: Tensor) -> Tensor:
    """Half the side, smoothed first so that fine strokes do not pass for coarse ones."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(maps, (1, 0, 1, 0), mode="reflect"), 2, stride=1), 2)


def _moments(opponents: Tensor) -> list[Tensor]:
    variance, mean = torch.var_mean(opponents, (2, 3), correction=0)  # (N, 3)
    centred = opponents - mean[..., None, None]
    skew = centred.pow(3).mean((2, 3)) / (variance + 0.05).pow(1.5)
    flat = centred.pow(4).mean((2, 3)) / (variance + 0.05).square()  # two inks: small
    return [mean, 0.5 * (variance + FLOOR**2).log(), skew, flat.add(0.1).log()]


def _correlations(first: Tensor, second: Tensor) -> Tensor:
    """Correlation over the pixels of maps (N, C, H, W) with others: (N, C), in [-1, 1]."""
    a, b = (maps - maps.mean((2, 3), keepdim=True) for maps in (first, second))
    norms = (a.square().mean((2, 3)) + FLOOR**2) * (b.square().mean((2, 3)) + FLOOR**2)
    return (a * b).mean((2, 3)) / norms.sqrt()
