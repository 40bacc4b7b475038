"""MediaPipe's selfie segmentation, behind the interface of torchvision's FCN."""

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
    """Person segmentation by a MobileNetV3-like encoder and a decoder with gated skips.

    MediaPipe's general model, 256 x 256, with batch norms folded into the convolutions. It was trained on whole
    pictures squeezed into a square, so photos of any shape are resized to one.

    Modules are registered in the order of computation, by which `genartisan.training.convert_selfie` assigns weights.
    """

    classes = ("__background__", "person")
    image_size = 256  # pixels: side of the network's square, and short side of the input

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
        """``{"out": logits}``, ``(N, 2, h, w)``, of ImageNet-normalised ``images``, ``(N, 3, h, w)``.

        The background's logit is 0, so the person's is log p/(1 - p) of MediaPipe's probability p.
        """
        return self.as_output(self.person_logits(images), images)

    def person_logits(self, images: Tensor) -> Tensor:
        """Person logits on the square, ``(N, 1, 256, 256)``, of ``images``, ``(N, 3, h, w)``."""
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
        """``{"out": logits}`` at the size of ``images``, from person logits, ``(N, 1, 256, 256)``."""
        person = F.interpolate(person, images.shape[-2:], mode="bilinear", align_corners=False)  # (N, 1, h, w)
        return {"out": torch.cat((torch.zeros_like(person), person), dim=1)}


class SqueezeExcite(nn.Module):
    """Channel weights in [0, 1] from the channel means."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Weights, ``(N, C, 1, 1)``, for ``x``, ``(N, C, h, w)``."""
        return torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand, depthwise, squeeze-excite, project, with a shortcut where shapes allow.

    Args:
        before, expanded, after: input, inner and output channels.
        kernel: side of the depthwise filters, pixels.
        activation: after the expansion and the depthwise convolution.
        stride: of the depthwise convolution.
        squeeze: channels of the squeeze-excite's bottleneck; None for no squeeze-excite.
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
    """Lite reduced atrous spatial pyramid pooling: channels weighted by the global mean."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(before, after, 1)
        self.whole = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.local(x)) * torch.sigmoid(self.whole(x.mean((2, 3), keepdim=True)))


class DecoderStage(nn.Module):
    """Upsampling by 2: the narrowed deeper map plus the channel-weighted skip."""

    def __init__(self, deep: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deep, width, 1)
        self.gate = SqueezeExcite(width, width)
        self.mix = nn.Conv2d(width, width, 1)
        self.depthwise = SameConv2d(width, width, 3, groups=width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # The 1x1 convolution commutes with upsampling; first, it leaves a fifth of the channels to upsample.
        x = F.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)  # (N, width, 2h, 2w)
        x = F.relu(self.mix(skip * self.gate(skip + x) + x))
        return x + F.relu(self.depthwise(x))


def shrunk(images: Tensor, size: Sequence[int]) -> Tensor:
    """``images``, ``(N, C, H, W)``, resized to ``size``, (h, w), antialiased; PyTorch needs float32."""
    smaller = F.interpolate(images.float(), list(size), mode="bilinear", antialias=True)  # (N, C, h, w)
    return smaller.to(images.dtype)
