"""The photo at one size, with all that the losses hold a picture of that size against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.io.images import MIN_SIDE, Photo, resized
from genartisan.method.losses import tones
from genartisan.method.patches import PatchBatch, PatchPlan
from genartisan.method.regions import NAMES
from genartisan.networks.bundle import Bundle
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized


@dataclass(frozen=True)
class FeatureExtractor:
    """Pictures, RGB in [0, 1], as the frozen networks take them: CLIP's squares and VGG's maps, in ``dtype``."""

    bundle: Bundle
    dtype: torch.dtype

    def whole(self, picture: Tensor) -> Tensor:
        """A whole picture squeezed to a square, ``(1, 3, S, S)``: bicubic without antialiasing, as in CLIPstyler."""
        side = self.bundle.clip.image_size
        return F.interpolate(picture, size=(side, side), mode="bicubic")  # (1, 3, S, S)

    def crops(self, patches: Tensor) -> Tensor:
        """Square patches at CLIP's size, ``(N, 3, S, S)``."""
        side = self.bundle.clip.image_size
        smaller = patches.shape[-1] > side  # antialiasing does nothing, slowly, where patches grow
        return F.interpolate(patches, size=(side, side), mode="bilinear", antialias=smaller)  # (N, 3, S, S)

    def embed(self, squares: Tensor) -> Tensor:
        """CLIP's embeddings, ``(N, D)``, of what `whole` and `crops` give."""
        clip = self.bundle.clip
        return clip.encode_image(standardized(squares, clip.mean, clip.std).to(self.dtype)).float()  # (N, D)

    def features(self, picture: Tensor) -> list[Tensor]:
        """VGG's maps of a picture, ``(1, 3, H, W)``."""
        maps: list[Tensor] = self.bundle.vgg(standardized(picture, IMAGENET_MEAN, IMAGENET_STD).to(self.dtype))
        return maps


@dataclass(frozen=True)
class Scale:
    """The photo at one size, embedded once.

    Attributes:
        photo: RGB in [0, 1], ``(1, 3, H, W)``.
        kept: what the strength of styling lacks of 1 at each pixel, ``(1, 1, H, W)``; None where that is nothing.
        content: what the painter sees, ``(1, 3, H, W)``: the photo; or ``(1, 3 + L, H, W)``, with how much of each
            pixel is on each of several layers.
        masks: of the global losses, ``(G, 1, H, W)``, one for each text: 1 where it is followed, so with one text 1 for
            background and 0 for portrait (eq 22); None masks nothing.
        rows: of those texts among the run's, G.
        features: VGG's maps of the photo.
        draft_tones: `tones` of the draft; None where nothing is held to it.
        source: E_I of the photo, ``(1, D)``, normalised.
        global_source: E_I of the masked photos, ``(G, D)``, normalised.
        plan: the patches of all steps, in pixels of this size.
        patches: the same on the device.
    """

    photo: Tensor
    kept: Tensor | None
    content: Tensor
    masks: Tensor | None
    rows: tuple[int, ...]
    features: list[Tensor]
    draft_tones: Tensor | None
    source: Tensor
    global_source: Tensor
    plan: PatchPlan
    patches: PatchBatch

    @property
    def pixels(self) -> int:
        return self.content.shape[-2] * self.content.shape[-1]

    @property
    def tensors(self) -> list[Tensor]:
        """All but the patches."""
        maybe = (
            self.photo, self.kept, self.content, self.masks, *self.features, self.draft_tones, self.source,
            self.global_source,
        )  # fmt: skip
        return [tensor for tensor in maybe if tensor is not None]

    @property
    def shape(self) -> tuple[object, ...]:
        """What two scales have to have in common for one step's code to do for both."""
        return (
            self.content.shape, self.kept is None, self.masks is None, self.rows, self.plan.side,
            self.draft_tones is None, len(self.patches.weights[0]),
        )  # fmt: skip

    def copied(self) -> Scale:
        """The same in tensors of its own, with the patches of the first step and no records."""
        copies = iter([tensor.clone() for tensor in self.tensors])
        return replace(
            self,
            photo=next(copies),
            kept=None if self.kept is None else next(copies),
            content=next(copies),
            masks=None if self.masks is None else next(copies),
            features=[next(copies) for _ in self.features],
            draft_tones=None if self.draft_tones is None else next(copies),
            source=next(copies),
            global_source=next(copies),
            plan=PatchPlan(self.plan.records[:0], self.plan.side),
            patches=PatchBatch(*(column[:1].clone() for column in self.patches)),
        )


@torch.no_grad()
def prepared(
    photo: Photo,
    masks: Tensor | None,
    rows: tuple[int, ...],
    plan: PatchPlan,
    extractor: FeatureExtractor,
    device: torch.device,
    content: Tensor,
    strengths: Tensor,
    draft: Tensor | None = None,
) -> Scale:
    """The scale of a photo, on ``device``.

    Args:
        masks, rows: of the global losses; see `Scale`.
        content: what the painter sees of it.
        strengths: how strongly each pixel is to be styled, ``(1, 1, H, W)``, 0-1.
        draft: the draft that the picture is held to, ``(1, 3, H, W)``; or None.
    """
    pixels = photo.pixels[None].to(device)  # (1, 3, H, W)
    masks = None if masks is None else masks.to(device)
    features = extractor.features(pixels)
    source = F.normalize(extractor.embed(extractor.whole(pixels)), dim=-1)  # (1, D)
    masked = source if masks is None else extractor.embed(extractor.whole(pixels * masks))  # (G, D)
    return Scale(
        photo=pixels,
        kept=(1 - strengths).to(device) if bool((strengths < 1).any()) else None,
        content=content.to(device),
        masks=masks,
        rows=rows,
        features=features,
        draft_tones=None if draft is None else tones(draft),
        source=source,
        global_source=F.normalize(masked, dim=-1),  # (G, D)
        plan=plan,
        patches=plan.to(device),
    )


def region_weights(config: StyleConfig, names: Sequence[str] = NAMES) -> list[float]:
    """How strongly each region is to be styled, 0-1: the weight of its patches."""
    return [min(1.0, config.regions[name].weight) for name in names]


def halved(photo: Photo) -> Photo:
    """The photo at half its size, or at the size that leaves its short side `MIN_SIDE` pixels if that is larger."""
    least = -(-MIN_SIDE * max(photo.size) // min(photo.size))  # of the long side
    return resized(photo, max(least, -(-max(photo.size) // 2)))
