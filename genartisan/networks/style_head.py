"""The style head: from a text direction to the style numbers of the pictures that it asks for."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from genartisan.networks.mobilenet import NUMBERS


class StyleHead(nn.Module):
    """Maps a text direction to style numbers, as FastCLIPstyler does (arXiv 2210.03461), for one bundle's CLIP.

    Args:
        dim: D of the text directions.
        width: of the hidden layer.
    """

    def __init__(self, *, dim: int, width: int = 256) -> None:
        super().__init__()
        self.dim, self.width = dim, width
        self.layers = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, NUMBERS))
        self.register_buffer("mean", torch.zeros(NUMBERS))  # of what it was taught
        self.register_buffer("deviation", torch.ones(NUMBERS))

    def forward(self, directions: Tensor) -> Tensor:
        """Style numbers, ``(N, 100)``, of directions of length 1, ``(N, D)``."""
        numbers = self.layers(directions * self.dim**0.5)
        return cast(Tensor, self.mean + self.deviation * numbers)
