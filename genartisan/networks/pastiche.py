"""The pastiche network: stylises a photo by 100 style numbers in one forward pass."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.networks.mobilenet import NUMBERS

MULTIPLE = 4  # height and width are padded to a multiple of this, for two stride-2 convolutions


class ReflectedConv2d(nn.Conv2d):
    """A convolution with reflection padding by half the kernel's side."""

    def __init__(self, before: int, after: int, side: int, stride: int = 1) -> None:
        super().__init__(before, after, side, stride=stride, padding=side // 2, padding_mode="reflect")


class StyledConv2d(nn.Module):
    """A convolution and a conditional instance norm (Dumoulin et al. 2017, arXiv 1610.07629).

    Scale and shift are linear in the style numbers.
    """

    def __init__(self, before: int, after: int, side: int) -> None:
        super().__init__()
        self.conv = ReflectedConv2d(before, after, side)
        self.norm = nn.InstanceNorm2d(after, eps=1e-5)
        self.scale = nn.Linear(NUMBERS, after)
        self.shift = nn.Linear(NUMBERS, after)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        scale, shift = self.scale(numbers)[..., None, None], self.shift(numbers)[..., None, None]  # (N, C, 1, 1)
        return torch.addcmul(shift, self.norm(self.conv(x)), scale)


class StyledResidual(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = StyledConv2d(channels, channels, 3)
        self.second = StyledConv2d(channels, channels, 3)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        return cast(Tensor, x + self.second(F.relu(self.first(x, numbers)), numbers))


class PasticheNet(nn.Module):
    """Magenta's style transfer network (Ghiasi et al. 2017, arXiv 1705.06830), mobile variant.

    H and W may be any size from 16 pixels: they are padded by reflection to a multiple of 4 and cropped back.

    Args:
        widths: channels at full, half and quarter size.
        residuals: residual blocks at quarter size.
    """

    def __init__(self, widths: tuple[int, int, int] = (8, 16, 32), residuals: int = 5) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.contract = nn.ModuleList([
            ReflectedConv2d(3, fine, 9),
            ReflectedConv2d(fine, middle, 3, stride=2),
            ReflectedConv2d(middle, coarse, 3, stride=2),
        ])  # fmt: skip
        self.residuals = nn.ModuleList([StyledResidual(coarse) for _ in range(residuals)])
        self.expand = nn.ModuleList([StyledConv2d(coarse, middle, 3), StyledConv2d(middle, fine, 3)])
        self.last = StyledConv2d(fine, 3, 9)

    def forward(self, photos: Tensor, numbers: Tensor) -> Tensor:
        """Stylised pictures, ``(N, 3, H, W)``, RGB in [0, 1].

        Args:
            photos: RGB in [0, 1], ``(N, 3, H, W)``, or one for all styles, ``(1, 3, H, W)``.
            numbers: style numbers, ``(N, 100)``.
        """
        height, width = photos.shape[-2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        x = F.pad(photos, padding, mode="reflect") if any(padding) else photos
        for contract in self.contract:  # independent of the style: computed once per photo
            x = F.relu(contract(x))
        x = x.expand(len(numbers), -1, -1, -1)  # (N, 32, H/4, W/4)
        for residual in self.residuals:
            x = residual(x, numbers)
        for expand in self.expand:
            x = F.relu(expand(doubled(x), numbers))
        return torch.sigmoid(self.last(x, numbers).float())[..., :height, :width]  # (N, 3, H, W)


def doubled(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2, ``(N, C, H, W)`` -> ``(N, C, 2 H, 2 W)``.

    PyTorch 2.15's gradient of `F.interpolate` on a CPU is wrong for a single picture in channels-last format.
    """
    n, channels, height, width = x.shape
    return x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(n, channels, 2 * height, 2 * width)
