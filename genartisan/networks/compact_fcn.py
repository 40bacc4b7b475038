"""CompactFcn: person segmentation with a million parameters, behind the interface of torchvision's FCN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class CompactFcn(nn.Module):
    """Semantic segmentation by an encoder and a decoder.

    Four stride-2 stages; dilated residual blocks at 1/16, plus the global mean, so that a coat's far corner depends on
    the head above it; then up to 1/2. Skips are added to the narrowed deeper map: concatenating them would take a third
    of the network's time.

    Args:
        classes: names of the output channels, ``__background__`` first.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the photo's size.
        image_size: short side of the input, pixels.
    """

    DILATIONS = (1, 2, 4, 1)  # at 1/16: a receptive field of about 300 pixels

    def __init__(self, *, classes: Sequence[str], widths: Sequence[int], image_size: int = 192) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.image_size = image_size
        self.stages = nn.ModuleList()
        for before, width in zip((3, *widths), widths, strict=False):
            # At 1/2 a second convolution costs the most and gains the least.
            body = _convolution(width, width) if before > 3 else nn.Identity()
            self.stages.append(nn.Sequential(_convolution(before, width, stride=2), body))
        self.context = nn.Sequential(*(Residual(widths[-1], dilation) for dilation in self.DILATIONS))
        self.whole = nn.Linear(widths[-1], widths[-1])
        self.narrow, self.merges = nn.ModuleList(), nn.ModuleList()
        for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.narrow.append(nn.Conv2d(deep, shallow, 1))
            self.merges.append(_convolution(shallow, shallow))
        self.classify = nn.Conv2d(widths[0], len(self.classes), 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``{"out": logits}``, ``(N, classes, h, w)``.

        Args:
            images: ImageNet-normalised, ``(N, 3, h, w)``, at least 32 x 32.
        """
        skips: list[Tensor] = []
        x = images
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.context(x)  # (N, widths[3], h/16, w/16)
        x = F.relu(x + self.whole(x.mean((2, 3)))[..., None, None])
        for narrow, merge, skip in zip(self.narrow, self.merges, skips[-2::-1], strict=True):
            deeper = F.interpolate(narrow(x), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = merge(deeper + skip)
        logits = self.classify(x)  # (N, classes, h/2, w/2)
        return {"out": F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)}


class Residual(nn.Module):
    """Two dilated 3x3 convolutions and a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, dilation=dilation)
        self.second = _convolution(width, width, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, x + self.second(self.first(x)))


def _convolution(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
