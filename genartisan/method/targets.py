"""The photo at one size, with all that the losses compare a picture of that size with."""

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
    """CLIP embeddings and VGG features of pictures, RGB in [0, 1], computed in ``dtype``."""

    bundle: Bundle
    dtype: torch.dtype

    def whole(self, picture: Tensor) -> Tensor:
        """A picture resized to CLIP's square, ``(1, 3, S, S)``: bicubic without antialiasing, as in CLIPstyler."""
        side = self.bundle.clip.image_size
        return F.interpolate(picture, size=(side, side), mode="bicubic")  # (1, 3, S, S)

    def crops(self, patches: Tensor) -> Tensor:
        """Square patches at CLIP's size, ``(N, 3, S, S)``."""
        side = self.bundle.clip.image_size
        smaller = patches.shape[-1] > side  # antialiasing has no effect, at a cost, on enlargement
        return F.interpolate(patches, size=(side, side), mode="bilinear", antialias=smaller)  # (N, 3, S, S)

    def embed(self, squares: Tensor) -> Tensor:
        """CLIP's embeddings, ``(N, D)``, of squares from `whole` and `crops`."""
        clip = self.bundle.clip
        return clip.encode_image(standardized(squares, clip.mean, clip.std).to(self.dtype)).float()  # (N, D)

    def features(self, picture: Tensor) -> list[Tensor]:
        """VGG's maps of a picture, ``(1, 3, H, W)``."""
        maps: list[Tensor] = self.bundle.vgg(standardized(picture, IMAGENET_MEAN, IMAGENET_STD).to(self.dtype))
        return maps


@dataclass(frozen=True)
class ScaleTargets:
    """The photo at one size, embedded once; targets of the losses at that size.

    Attributes:
        photo: RGB in [0, 1], ``(1, 3, H, W)``.
        preserve_weight: 1 − the weight of each pixel's region, ``(1, 1, H, W)``; None where all are 0.
        net_input: the painter's input, ``(1, 3, H, W)`` or ``(1, 3 + L, H, W)``; see `genartisan.method.net_input`.
        masks: of the global losses, ``(G, 1, H, W)``, one for each text: 1 where the text applies; with one text, 1 for
            background and 0 for portrait (eq 22). None: no mask.
        rows: of those G texts among the run's.
        features: VGG's maps of the photo.
        draft_tones: `tones` of the draft; None without a draft loss.
        source: E_I of the photo, ``(1, D)``, normalised.
        global_source: E_I of the masked photos, ``(G, D)``, normalised.
        plan: the patches of all steps, in pixels of this size.
        patches: the same on the device.
    """

    photo: Tensor
    preserve_weight: Tensor | None
    net_input: Tensor
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
        return self.net_input.shape[-2] * self.net_input.shape[-1]

    @property
    def tensors(self) -> list[Tensor]:
        """All but the patches."""
        maybe = (
            self.photo, self.preserve_weight, self.net_input, self.masks, *self.features, self.draft_tones, self.source,
            self.global_source,
        )  # fmt: skip
        return [tensor for tensor in maybe if tensor is not None]

    @property
    def shape(self) -> tuple[object, ...]:
        """Targets of equal shape can share a captured step."""
        return (
            self.net_input.shape, self.preserve_weight is None, self.masks is None, self.rows, self.plan.side,
            self.draft_tones is None, len(self.patches.weights[0]),
        )  # fmt: skip

    def copied(self) -> ScaleTargets:
        """A copy in new tensors, with the patches of the first step and no records."""
        copies = iter([tensor.clone() for tensor in self.tensors])
        return replace(
            self,
            photo=next(copies),
            preserve_weight=None if self.preserve_weight is None else next(copies),
            net_input=next(copies),
            masks=None if self.masks is None else next(copies),
            features=[next(copies) for _ in self.features],
            draft_tones=None if self.draft_tones is None else next(copies),
            source=next(copies),
            global_source=next(copies),
            plan=PatchPlan(self.plan.records[:0], self.plan.side),
            patches=PatchBatch(*(column[:1].clone() for column in self.patches)),
        )


@torch.no_grad()
def scale_targets(
    photo: Photo,
    masks: Tensor | None,
    rows: tuple[int, ...],
    plan: PatchPlan,
    extractor: FeatureExtractor,
    device: torch.device,
    net_input: Tensor,
    weights: Tensor,
    draft: Tensor | None = None,
) -> ScaleTargets:
    """The targets of a photo, on ``device``.

    Args:
        masks, rows, net_input: see `ScaleTargets`.
        weights: of each pixel's region, ``(1, 1, H, W)``, 0-1.
        draft: of the draft loss, ``(1, 3, H, W)``; None without one.
    """
    pixels = photo.pixels[None].to(device)  # (1, 3, H, W)
    masks = None if masks is None else masks.to(device)
    features = extractor.features(pixels)
    source = F.normalize(extractor.embed(extractor.whole(pixels)), dim=-1)  # (1, D)
    masked = source if masks is None else extractor.embed(extractor.whole(pixels * masks))  # (G, D)
    return ScaleTargets(
        photo=pixels,
        preserve_weight=(1 - weights).to(device) if bool((weights < 1).any()) else None,
        net_input=net_input.to(device),
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
    """The patch weight of each region, at most 1."""
    return [min(1.0, config.regions[name].weight) for name in names]


def halved(photo: Photo) -> Photo:
    """The photo at half its size, with a short side of at least `MIN_SIDE` pixels."""
    min_long_side = -(-MIN_SIDE * max(photo.size) // min(photo.size))
    return resized(photo, max(min_long_side, -(-max(photo.size) // 2)))
