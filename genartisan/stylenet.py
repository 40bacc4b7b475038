"""StyleNet, the small U-Net that is optimised for one request (CLIPstyler's: 615,267 parameters)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import record_function

MULTIPLE = 8  # three stride-2 convolutions: height and width are padded to a multiple of this


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with instance norm and ReLU, and a 1x1 residual around both."""

    def __init__(self, in_channels: int, out_channels: int, affine: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.InstanceNorm2d(out_channels, affine=affine),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.InstanceNorm2d(out_channels, affine=affine),
            nn.ReLU(),
        )
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x) + self.skip(x))


class StyleNet(nn.Module):
    """Maps a photo to its stylised picture.

    Input ``(N, inputs, H, W)`` and output ``(N, 3, H, W)`` are RGB in [0, 1], any H and W of at least 16 pixels: they
    are padded by reflection to a multiple of 8 and cropped back, so the aspect ratio is kept.

    Args:
        base_channels: channels of the outermost blocks (CLIPstyler: 16).
        inputs: channels of the input: 3, or 4 with a map of how strongly each pixel is to be styled, in [0, 1].
        affine: whether the norms have a scale and a shift, which a `LearnedStart` sets (CLIPstyler: they have none).

    Source: CLIPstyler (arXiv 2112.00374), figure 3 and its published code.
    """

    def __init__(self, base_channels: int = 16, *, inputs: int = 3, affine: bool = False) -> None:
        super().__init__()
        c = base_channels
        block = partial(ResidualBlock, affine=affine)
        self.first = nn.Conv2d(inputs, c, 1)
        self.entry = block(c, c)
        self.encode = nn.ModuleList([block(c, c), block(c, 2 * c), block(2 * c, 4 * c)])
        self.down = nn.ModuleList([nn.Conv2d(w, w, 4, stride=2, padding=1) for w in (c, 2 * c, 4 * c)])
        self.middle = block(4 * c, 8 * c)
        self.decode = nn.ModuleList([block(12 * c, 4 * c), block(6 * c, 2 * c), block(3 * c, c)])
        self.exit = block(2 * c, c)
        self.last = nn.Conv2d(c, 3, 1)

    @property
    def architecture(self) -> dict[str, int | bool]:
        """The arguments that make another like it."""
        affine = bool(cast(nn.InstanceNorm2d, self.entry.conv[1]).affine)
        return {"base_channels": self.first.out_channels, "inputs": self.first.in_channels, "affine": affine}

    @property
    def sees_strengths(self) -> bool:
        """Whether the input has a fourth channel, the map of strengths."""
        return self.first.in_channels > 3

    def forward(self, photo: Tensor) -> Tensor:
        height, width = photo.shape[-2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        x = F.pad(photo, padding, mode="reflect") if any(padding) else photo  # (N, 3, H', W')
        entry = x = self.entry(self.first(x))  # (N, c, H', W')
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)  # (N, 8c, H'/8, W'/8)
        for decode, skip in zip(self.decode, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = decode(torch.cat((x, skip), dim=1))
        x = self.exit(torch.cat((x, entry), dim=1))  # (N, c, H', W')
        return torch.sigmoid(self.last(x).float())[..., :height, :width]  # (N, 3, H, W)


class StyleNets(nn.Module):
    """Several networks, of which each draws the part of the picture that follows its text.

    Input ``(1, C + T, H, W)``: what the networks see, and how much of each pixel each of the T draws, in [0, 1], with
    the sum 1. Output ``(1, 3, H, W)``, RGB in [0, 1].

    One network could not follow two texts: a convolution does not know in which region it is.
    """

    def __init__(self, nets: Sequence[StyleNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    @property
    def sees_strengths(self) -> bool:
        """Whether any of them sees the map of strengths; it is then in the input."""
        return any(cast(StyleNet, net).sees_strengths for net in self.nets)

    def layers(self, content: Tensor) -> Tensor:
        """The whole photo as each network draws it, ``(T, 3, H, W)``."""
        inputs = [cast(StyleNet, net).first.in_channels for net in self.nets]  # 3 or 4
        return torch.cat([net(content[:, :count]) for net, count in zip(self.nets, inputs, strict=True)])

    def forward(self, content: Tensor) -> Tensor:
        return composed(self.layers(content), content)


Painter = StyleNet | StyleNets  # whatever draws the picture of a run


def composed(layers: Tensor, content: Tensor) -> Tensor:
    """The picture, ``(1, 3, H, W)``, of layers ``(T, 3, H, W)``, by the parts that lie last in ``content``."""
    return layers if len(layers) == 1 else (layers * content[0, -len(layers) :, None]).sum(dim=0, keepdim=True)


def layers_of(net: Painter, content: Tensor, dtype: torch.dtype) -> Tensor:
    """What each text's network makes of the content, computed in ``dtype``: ``(T, 3, H, W)``, float32."""
    with record_function("stylenet"), torch.autocast(content.device.type, dtype, enabled=dtype != torch.float32):
        layers: Tensor = net.layers(content) if isinstance(net, StyleNets) else net(content)
    return layers.float()


def drawn(net: Painter, content: Tensor, dtype: torch.dtype) -> Tensor:
    """The picture that a network makes of its input, computed in ``dtype``: ``(N, 3, H, W)``, float32."""
    with record_function("stylenet"), torch.autocast(content.device.type, dtype, enabled=dtype != torch.float32):
        picture: Tensor = net(content)
    return picture.float()


def adam(net: Painter, rate: float | Tensor) -> torch.optim.Adam:
    """Adam over a network's weights, one kernel for all of them; a CUDA graph needs a rate that is a tensor."""
    parameters = list(net.parameters())
    capturable = isinstance(rate, Tensor) and parameters[0].is_cuda
    return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=capturable)


def random_stylenet(seed: int, base_channels: int = 16) -> StyleNet:
    """A StyleNet with PyTorch's default initialisation, drawn from ``seed`` without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach the GPUs' generators as well
        return StyleNet(base_channels)
