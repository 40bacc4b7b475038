"""MobileNetV2 and the networks of a bundle that use it as their trunk.

Source: Sandler et al. 2018 (arXiv 1801.04381), as in Magenta's arbitrary image stylisation (Ghiasi et al. 2017,
arXiv 1705.06830). Batch norms are folded into the convolutions; strided convolutions use TensorFlow's "SAME" padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, unstandardized

STEM, LAST = 32, 1280
SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
NUMBERS = 100  # style numbers of a picture
SIDE = 256  # pixels: side of the predictor's square input


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding, which puts the odd pixel on the right and at the bottom.

    Args:
        kernel: side of the filters, pixels, at least ``stride``.
    """

    def __init__(self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        width, height = ((-(-side // stride) - 1) * stride + kernel - side for side in x.shape[:-3:-1])  # of padding
        if width % 2 or height % 2:
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            width = height = 0
        return F.conv2d(x, self.weight, self.bias, stride, (height // 2, width // 2), groups=self.groups)


def _relu6(x: Tensor) -> Tensor:
    """In-place ReLU6: the gradient does not need the convolution's output as well."""
    return F.relu6(x, inplace=True)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project, with a shortcut where shapes allow."""

    def __init__(self, before: int, after: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = nn.Conv2d(before, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = SameConv2d(inner, inner, 3, stride=stride, groups=inner)
        self.project = nn.Conv2d(inner, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = x if isinstance(self.expand, nn.Identity) else _relu6(self.expand(x))
        y = self.project(_relu6(self.depthwise(y)))
        return cast(Tensor, x + y if self.shortcut else y)


class MobileNetV2(nn.Module):
    """MobileNetV2's convolutions, complete or up to one of its 17 blocks.

    Args:
        blocks: number of blocks; None for all, followed by the 1x1 convolution to 1280 channels.
    """

    def __init__(self, blocks: int | None = None) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM, 3, stride=2)
        self.blocks = nn.ModuleList()
        self.channels = [STEM]  # of the stem's map and of each block's
        for expansion, after, count, stride in SETTINGS:
            for number in range(count):
                if blocks is not None and len(self.blocks) == blocks:
                    break
                first = stride if number == 0 else 1
                self.blocks.append(InvertedResidual(self.channels[-1], after, expansion, first))
                self.channels.append(after)
        if blocks is not None and len(self.blocks) != blocks:
            raise ValueError(f"blocks is {blocks}; MobileNetV2 has {len(self.blocks)}")
        self.last = nn.Conv2d(self.channels[-1], LAST, 1) if blocks is None else nn.Identity()

    def maps(self, images: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """The maps after the ``wanted`` blocks, in ascending order; nothing deeper is computed.

        Args:
            images: RGB in [0, 1], ``(N, 3, H, W)``.
            wanted: blocks, 1 to 17; 0 is the stem.
        """
        x = _relu6(self.stem(images.to(self.stem.weight.dtype)))  # (N, 32, H/2, W/2)
        maps = [x] if 0 in wanted else []
        for number, block in enumerate(self.blocks, start=1):
            if number > max(wanted):
                break
            x = block(x)
            if number in wanted:
                maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """The last map, ``(N, C, H/32, W/32)``, of RGB in [0, 1], ``(N, 3, H, W)``."""
        x = self.maps(images, [len(self.blocks)])[0]
        return x if isinstance(self.last, nn.Identity) else _relu6(self.last(x))


class StylePredictor(nn.Module):
    """Magenta's style prediction network: a picture's 100 style numbers (Ghiasi et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MobileNetV2()
        self.head = nn.Conv2d(LAST, NUMBERS, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Style numbers, ``(N, 100)``, of pictures ``(N, 3, H, W)``, RGB in [0, 1], resized to 256 x 256."""
        if pictures.shape[-2:] != (SIDE, SIDE):
            smaller = min(pictures.shape[-2:]) > SIDE
            pictures = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", antialias=smaller)
        x = self.trunk(pictures)  # (N, 1280, 8, 8)
        numbers: Tensor = self.head(x.mean(dim=(2, 3), keepdim=True))  # (N, 100, 1, 1)
        return numbers.flatten(1)


class MobileNetFeatures(nn.Module):
    """A small substitute for VGG: maps of a pretrained MobileNetV2.

    Args:
        taps: blocks whose maps the content loss compares, in ascending order.
    """

    multiplies = False  # depthwise convolutions

    def __init__(self, *, taps: Sequence[int]) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.trunk = MobileNetV2(max(self.taps))
        # Balances the maps in the content loss.
        self.register_buffer("scales", torch.ones(len(self.taps)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Scaled maps of ImageNet-normalised ``images``, ``(N, 3, H, W)``."""
        maps = self.trunk.maps(unstandardized(images, IMAGENET_MEAN, IMAGENET_STD), self.taps)
        return [scale * features for scale, features in zip(cast(Tensor, self.scales), maps, strict=True)]
