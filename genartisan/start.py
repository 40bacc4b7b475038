"""The learned start: from a text direction to a StyleNet that already draws in that style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from genartisan.stylenet import ResidualBlock, StyleNet

M = TypeVar("M", bound=nn.Module)


class LearnedStart(nn.Module):
    """Writes the weights of a StyleNet for a text direction, so that a run begins with a draft of its picture.

    All texts share the convolutions. What a text sets is the scale and shift of every norm, as in conditional instance
    normalisation (Dumoulin et al., arXiv 1610.07629; predicted from an embedding in Ghiasi et al., arXiv 1705.06830),
    and of every convolution that no norm follows: those carry the colours.

    Args:
        dim: D of the text directions.
        base_channels: of the StyleNet.
        width: of the two hidden layers.
    """

    def __init__(self, dim: int, base_channels: int = 16, width: int = 128) -> None:
        super().__init__()
        self.dim = dim
        self.stylenet = StyleNet(base_channels, inputs=4, affine=True)
        found = dict(_conditioned(self.stylenet))
        self.conditioned = list(found)
        self.sizes = [len(module.bias) for module in found.values()]  # type: ignore[arg-type]
        self.read = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.write = nn.Linear(width, 2 * sum(self.sizes))

    def weights(self, direction: Tensor) -> dict[str, Tensor]:
        """The parameters of the StyleNet for a text direction ``(D,)``, by name."""
        weights: dict[str, Tensor] = dict(self.stylenet.named_parameters())
        scales, shifts = self.write(self.read(direction)).chunk(2)
        pairs = zip(self.conditioned, scales.split(self.sizes), shifts.split(self.sizes), strict=True)
        for name, scale, shift in pairs:
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            factor = 1 + scale  # (C,)
            weights[f"{name}.weight"] = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
            weights[f"{name}.bias"] = bias * factor + shift
        return weights

    def forward(self, direction: Tensor, content: Tensor) -> Tensor:
        """The draft, ``(N, 3, H, W)``, of content ``(N, 4, H, W)`` in the style of a direction ``(D,)``."""
        picture: Tensor = functional_call(shell_of(self.stylenet), self.weights(direction), (content,))
        return picture

    @torch.no_grad()
    def written(self, direction: Tensor) -> StyleNet:
        """A StyleNet of its own for a text direction ``(D,)``."""
        net = shell_of(self.stylenet)
        for name, weight in self.weights(direction).items():
            own = weight.clone() if isinstance(weight, nn.Parameter) else weight  # or runs would share some
            module, _, last = name.rpartition(".")
            setattr(net.get_submodule(module), last, nn.Parameter(own))
        return net


def shell_of(module: M) -> M:
    """A module of the same structure over the same parameters, which can be given others; a thread needs its own.

    A twentieth of what it takes to build one, which is as long as a GPU draws with it.
    """
    shell: M = object.__new__(type(module))
    vars(shell).update(
        {name: value.copy() if isinstance(value, dict) else value for name, value in vars(module).items()}
    )
    vars(shell)["_modules"] = {name: child and shell_of(child) for name, child in module._modules.items()}
    return shell


def _conditioned(net: StyleNet) -> Iterator[tuple[str, nn.Module]]:
    """What a text sets of a StyleNet: its norms, and the convolutions that no norm follows."""
    blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
    before_norms = {layer for block in blocks for layer in block.conv}
    for name, module in net.named_modules():
        if isinstance(module, nn.InstanceNorm2d) or (isinstance(module, nn.Conv2d) and module not in before_norms):
            yield name, module
