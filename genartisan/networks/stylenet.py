"""StyleNet, the small U-Net optimised for each request; 615,267 parameters, as CLIPstyler's.

In bf16 it computes in channels-last format, that of oneDNN's and cuDNN's convolutions, without copies between layouts.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 8  # height and width are padded to a multiple of this, for three stride-2 convolutions


class PictureNorm(nn.InstanceNorm2d):
    """Instance norm. A single picture's is computed as batch norm, which keeps the channels-last format.

    In that format PyTorch's sums are less accurate, by 5e-5 in a picture: much in fp32, little beside bf16's rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with instance norm and ReLU, and a 1x1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            PictureNorm(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            PictureNorm(out_channels),
            nn.ReLU(),
        )
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv(x) + self.skip(x))


class StyleNet(nn.Module):
    """Maps a photo to its stylised picture; both RGB in [0, 1], ``(N, 3, H, W)``.

    H and W may be any size from 16 pixels: they are padded by reflection to a multiple of 8 and cropped back.

    Args:
        base_channels: channels of the outermost blocks (CLIPstyler: 16).

    Source: CLIPstyler (arXiv 2112.00374), figure 3 and its published code.
    """

    def __init__(self, base_channels: int = 16) -> None:
        super().__init__()
        c, block = base_channels, ResidualBlock
        self.first = nn.Conv2d(3, c, 1)
        self.entry = block(c, c)
        self.encode = nn.ModuleList([block(c, c), block(c, 2 * c), block(2 * c, 4 * c)])
        self.down = nn.ModuleList([nn.Conv2d(w, w, 4, stride=2, padding=1) for w in (c, 2 * c, 4 * c)])
        self.middle = block(4 * c, 8 * c)
        self.decode = nn.ModuleList([block(12 * c, 4 * c), block(6 * c, 2 * c), block(3 * c, c)])
        self.exit = block(2 * c, c)
        self.last = nn.Conv2d(c, 3, 1)

    def forward(self, photo: Tensor) -> Tensor:
        height, width = photo.shape[-2:]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        x = F.pad(photo, padding, mode="reflect") if any(padding) else photo  # (N, 3, H', W')
        x = self.first(x)
        in_half = x.dtype.itemsize == 2
        entry = x = self.entry(channels_last(x) if in_half else x)  # (N, c, H', W')
        skips = []
        for encode, down in zip(self.encode, self.down, strict=True):
            x = encode(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)  # (N, 8c, H'/8, W'/8)
        for decode, skip in zip(self.decode, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            if in_half and x.requires_grad:  # the gradient is cut out of that of both, in no format with a fast kernel
                x.register_hook(channels_last)  # type: ignore[no-untyped-call]
            x = decode(torch.cat((x, skip), dim=1))
        x = self.exit(torch.cat((x, entry), dim=1))  # (N, c, H', W')
        return torch.sigmoid(self.last(x).float())[..., :height, :width]  # (N, 3, H, W)


def channels_last(x: Tensor) -> Tensor:
    """``x``, ``(N, C, H, W)``, in channels-last format."""
    return x.contiguous(memory_format=torch.channels_last)


def random_stylenet(seed: int, base_channels: int = 16) -> StyleNet:
    """A StyleNet with PyTorch's default initialisation, from its own generator seeded by ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):  # consumes no random numbers
        net = StyleNet(base_channels)
    net.to_empty(device="cpu")
    for conv in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_uniform_(conv.weight, a=5**0.5, generator=generator)
        if conv.bias is not None:
            bound = conv.weight[0].numel() ** -0.5
            nn.init.uniform_(conv.bias, -bound, bound, generator=generator)
    return net
