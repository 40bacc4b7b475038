"""MediaPipe's selfie segmentation as a torch module behind the interface of torchvision's FCN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genartisan.networks.mobilenet import SameConv2d
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, unstandardized

Activation = Callable[[Tensor], Tensor]


class SelfieSegmentation(nn.Module):
    """Tells the people of a photo from the rest: a MobileNetV3-like encoder and a decoder with gated skips.

    The general model of MediaPipe's Selfie Segmentation, 256x256, batch normalisation folded into the convolutions. It
    was trained on whole pictures squeezed to a square, so that is what it gets, whatever the photo's shape.

    Registered in the order of the computation, which is how `genartisan.training.convert_selfie` finds the weights.
    """

    classes = ("__background__", "person")
    image_size = 256  # pixels, the side of the square that the network sees; a photo's short side before it comes here

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv2d(3, 16, 3, stride=2)
        self.to_quarter = InvertedResidual(16, 16, 16, 3, stride=2, activation=F.relu, squeeze=8)
        self.to_eighth = nn.Sequential(
            InvertedResidual(16, 72, 24, 3, stride=2, activation=F.relu),
            InvertedResidual(24, 88, 24, 3, activation=F.relu),
        )
        self.to_sixteenth = nn.Sequential(
            InvertedResidual(24, 96, 32, 5, stride=2, activation=F.hardswish, squeeze=24),
            InvertedResidual(32, 128, 32, 5, activation=F.hardswish, squeeze=32),
            InvertedResidual(32, 128, 32, 5, activation=F.hardswish, squeeze=32),
            InvertedResidual(32, 96, 32, 5, activation=F.hardswish, squeeze=24),
            InvertedResidual(32, 96, 32, 5, activation=F.hardswish, squeeze=24),
        )
        self.pyramid = LiteRaspp(32, 128)
        self.decoder = nn.ModuleList((DecoderStage(128, 24), DecoderStage(24, 16), DecoderStage(16, 16)))
        self.segment = nn.ConvTranspose2d(16, 1, 2, stride=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """``{"out": logits}``, ``(N, 2, h, w)``, of ``images``, ``(N, 3, h, w)``, ImageNet-normalised.

        The background's logit is 0, so that the person's is log p/(1 - p) of the original's probability p.
        """
        return self.as_output(self.person_logits(images), images)

    def person_logits(self, images: Tensor) -> Tensor:
        """The person's logits on the square, ``(N, 1, 256, 256)``, of ``images``, ``(N, 3, h, w)``."""
        square = (self.image_size, self.image_size)
        pixels = unstandardized(shrunk(images, square), IMAGENET_MEAN, IMAGENET_STD)  # (N, 3, 256, 256), in [0, 1]
        half = F.hardswish(self.stem(pixels))  # (N, 16, 128, 128)
        quarter = self.to_quarter(half)  # (N, 16, 64, 64)
        eighth = self.to_eighth(quarter)  # (N, 24, 32, 32)
        x = self.pyramid(self.to_sixteenth(eighth))  # (N, 128, 16, 16)
        for stage, skip in zip(self.decoder, (eighth, quarter, half), strict=True):
            x = stage(x, skip)
        return cast(Tensor, self.segment(x))

    @staticmethod
    def as_output(person: Tensor, images: Tensor) -> dict[str, Tensor]:
        """``{"out": logits}`` at the size of ``images``, of the person's logits, ``(N, 1, 256, 256)``."""
        person = F.interpolate(person, images.shape[-2:], mode="bilinear", align_corners=False)  # (N, 1, h, w)
        return {"out": torch.cat((torch.zeros_like(person), person), dim=1)}


class SqueezeExcite(nn.Module):
    """A weight in [0, 1] for each channel, from the means of all."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weights, ``(N, C, 1, 1)``, of ``x``, ``(N, C, h, w)``."""
        return torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand, filter each channel, weight the channels, project.

    Args:
        before: channels that come.
        expanded: channels within.
        after: channels that leave; where nothing changes in size, a shortcut adds what came.
        kernel: side of the depthwise filters, pixels.
        stride: of the depthwise filters.
        activation: after the expansion and after the filters.
        squeeze: channels in the middle of the squeeze-excite; None: there is none.
    """

    def __init__(
        self,
        before: int,
        expanded: int,
        after: int,
        kernel: int,
        *,
        activation: Activation,
        stride: int = 1,
        squeeze: int | None = None,
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, expanded, 1)
        self.depthwise = SameConv2d(expanded, expanded, kernel, stride=stride, groups=expanded)
        self.squeeze_excite = None if squeeze is None else SqueezeExcite(expanded, squeeze)
        self.project = nn.Conv2d(expanded, after, 1)
        self.activation = activation
        self.has_shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.depthwise(self.activation(self.expand(x))))  # (N, expanded, h/stride, w/stride)
        if self.squeeze_excite is not None:
            inner = inner * self.squeeze_excite(inner)
        result = cast(Tensor, self.project(inner))  # (N, after, h/stride, w/stride)
        return x + result if self.has_shortcut else result


class LiteRaspp(nn.Module):
    """Lite reduced atrous spatial pyramid pooling: channels weighted by what the whole picture holds."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(before, after, 1)
        self.whole = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.local(x)) * torch.sigmoid(self.whole(x.mean((2, 3), keepdim=True)))


class DecoderStage(nn.Module):
    """Twice the size: the deeper map, narrowed, plus the skip, each of whose channels has a weight."""

    def __init__(self, deep: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, width, 1)
        self.gate = SqueezeExcite(width, width)
        self.mix = nn.Conv2d(width, width, 1)
        self.depthwise = SameConv2d(width, width, 3, groups=width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # 1x1 and bilinear commute; narrowed first, the upsampling works on a fifth of the channels.
        x = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)  # (N, width, 2h, 2w)
        x = F.relu(self.mix(skip * self.gate(skip + x) + x))
        return x + F.relu(self.depthwise(x))


def shrunk(images: Tensor, size: Sequence[int]) -> Tensor:
    """``images``, ``(N, C, H, W)``, at ``size``, (h, w), antialiased, which PyTorch does in float32 at the least."""
    smaller = F.interpolate(images.float(), list(size), mode="bilinear", antialias=True)  # (N, C, h, w)
    return smaller.to(images.dtype)
