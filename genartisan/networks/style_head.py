"""The style head: predicts style numbers from a text direction."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from genartisan.networks.mobilenet import NUMBERS


class StyleHead(nn.Module):
    """An MLP from a text direction of one bundle's CLIP to style numbers, as in FastCLIPstyler (arXiv 2210.03461).

    Args:
        dim: D, the size of a text direction.
        width: of the hidden layer.
    """

    def __init__(self, *, dim: int, width: int = 256) -> None:
        super().__init__()
        self.dim, self.width = dim, width
        self.layers = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, NUMBERS))
        self.register_buffer("mean", torch.zeros(NUMBERS))  # of the training targets
        self.register_buffer("deviation", torch.ones(NUMBERS))

    def forward(self, directions: Tensor) -> Tensor:
        """Style numbers, ``(N, 100)``, of unit directions, ``(N, D)``."""
        numbers = self.layers(directions * self.dim**0.5)
        return cast(Tensor, self.mean + self.deviation * numbers)
