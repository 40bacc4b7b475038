"""Which part of a photo each pixel belongs to: from FCN's segmentation or from the caller's masks."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from genartisan.errors import InputError
from genartisan.io.images import Photo, to_image
from genartisan.networks.normalization import IMAGENET_MEAN, IMAGENET_STD, standardized
from genartisan.validation import BACKGROUND, PERSON, PORTRAIT

NAMES = (BACKGROUND, PORTRAIT)  # of the regions that every map has; the position is the label
BACKGROUND_LABEL, PORTRAIT_LABEL = range(2)
TINT = (255, 64, 160)  # RGB of the portrait in an overlay
GOLDEN = 0.618  # golden ratio of the hue circle, between the tints of consecutive regions


@dataclass(frozen=True)
class RegionMap:
    """The region of each pixel.

    Attributes:
        labels: positions in ``names``, ``(H, W)``, uint8.
        names: of the regions, `NAMES` first.
        covers: share of each region in each pixel, ``(R, H, W)``, float32, with the sum 1; ``labels`` is the largest.
            None: all shares are 0 or 1.
    """

    labels: Tensor
    names: tuple[str, ...] = NAMES
    covers: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.labels.shape[1], self.labels.shape[0]

    @property
    def portrait(self) -> Tensor:
        """True on people, ``(H, W)``, bool."""
        return self.labels == PORTRAIT_LABEL

    def cover(self, feather: float = 0.0) -> Tensor:
        """Share of each region in each pixel, ``(R, H, W)``, float32, with the sum 1.

        Args:
            feather: width of soft edges in pixels: four standard deviations of a Gaussian.
        """
        covers = self.covers
        if covers is None:
            covers = torch.stack([self.labels == label for label in range(len(self.names))]).float()  # (R, H, W)
        return covers if feather <= 0 else _blurred(covers, feather / 4)

    def weighed(self, weights: Sequence[float], feather: float = 0.0) -> Tensor:
        """The weight of each pixel's region, ``(H, W)``, float32, given those of all regions by label."""
        if self.covers is None and feather <= 0:
            return torch.tensor(weights).take(self.labels.long())
        return (torch.tensor(weights)[:, None, None] * self.cover(feather)).sum(dim=0)

    def grouped(self, groups: Sequence[int], feather: float = 0.0) -> Tensor:
        """Share of each group in each pixel, ``(G, H, W)``, float32, with the sum 1.

        Args:
            groups: of each region, by label.
        """
        covers = self.cover(feather)
        return torch.stack([
            covers[[each == group for each in groups]].sum(dim=0) for group in range(max(groups) + 1)
        ])  # fmt: skip

    def pixels(self) -> list[int]:
        """Pixels of each region, by label."""
        return torch.bincount(self.labels.flatten(), minlength=len(self.names)).tolist()

    def resized(self, size: tuple[int, int]) -> RegionMap:
        """The map at (width, height): labels by nearest neighbour, covers averaged."""
        if size == self.size:
            return self
        labels = F.interpolate(self.labels[None, None].float(), size=size[::-1], mode="nearest-exact")  # (1, 1, H, W)
        covers = self.covers
        if covers is not None:
            covers = F.interpolate(covers[None], size=size[::-1], mode="bilinear", antialias=True)[0]  # (R, H, W)
            return RegionMap(covers.argmax(dim=0).to(torch.uint8), self.names, covers)
        return RegionMap(labels[0, 0].to(torch.uint8), self.names)

    def under(self, masks: Mapping[str, Tensor]) -> RegionMap:
        """The map under masks; where two overlap, the later covers the earlier.

        Args:
            masks: by region, each ``(H, W)``: bool, or float in [0, 1] for soft edges.
        """
        names = (*self.names, *(name for name in masks if name not in self.names))
        labels, covers = self.labels, self.covers
        if covers is None and any(mask.dtype != torch.bool for mask in masks.values()):
            covers = self.cover()
        if covers is not None:
            covers = torch.cat((covers, covers.new_zeros(len(names) - len(covers), *covers.shape[1:])))  # (R, H, W)
            for name, mask in masks.items():
                covers = covers * (1 - mask.float())
                covers[names.index(name)] += mask
            return RegionMap(covers.argmax(dim=0).to(torch.uint8), names, covers)
        for name, mask in masks.items():
            labels = torch.where(mask, names.index(name), labels).to(torch.uint8)
        return RegionMap(labels, names)

    def as_mask(self, name: str = PORTRAIT) -> Image.Image:
        """A region in white on black, as ``--mask`` reads it."""
        return Image.fromarray(np.asarray((self.labels == self.names.index(name)).cpu().numpy() * np.uint8(255)))

    def as_classes(self, classes: Sequence[str]) -> Image.Image | None:
        """The map as a grey picture of class labels, as the mask ``classes`` reads it; None if a region is no class.

        Args:
            classes: the names of the labels, the background's first.
        """
        names = [PERSON if name == PORTRAIT else name for name in self.names[1:]]
        if not set(names) <= set(classes):
            return None
        positions = torch.tensor([0, *(list(classes).index(name) for name in names)], dtype=torch.uint8)
        return Image.fromarray(positions[self.labels.cpu().long()].numpy())

    def overlay(self, photo: Photo) -> Image.Image:
        """The photo with every region but the background tinted."""
        tints = torch.tensor([tint(number) for number in range(len(self.names))])[self.labels.cpu().long()] / 255
        marked = self.labels.cpu() != BACKGROUND_LABEL
        return to_image(torch.where(marked, 0.45 * photo.pixels + 0.55 * tints.permute(2, 0, 1), photo.pixels))


def tint(number: int) -> tuple[int, int, int]:
    """The colour, RGB, of a region in an overlay."""
    red, green, blue = (value / 255 for value in TINT)
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    colour = colorsys.hls_to_rgb((hue + GOLDEN * (number - PORTRAIT_LABEL)) % 1, lightness, saturation)
    return round(255 * colour[0]), round(255 * colour[1]), round(255 * colour[2])


def from_classes(labels: Tensor, classes: Sequence[str], names: Sequence[str]) -> RegionMap:
    """The map of a picture of class labels.

    Args:
        labels: positions in ``classes``, ``(H, W)``; classes outside ``names`` become background.
        names: of the regions.
    """
    position = torch.zeros(256, dtype=torch.uint8)
    for label, name in enumerate(classes):
        name = PORTRAIT if name == PERSON else name
        if name in names:
            position[label] = list(names).index(name)
    return RegionMap(position[labels.long()], tuple(names))


@torch.inference_mode()
def segment(fcn: nn.Module, photo: Photo, names: Sequence[str] = NAMES, unsought: Sequence[str] = ()) -> RegionMap:
    """The region map of a photo, at the photo's resolution.

    FCN sees the photo with its short side at the network's ``image_size``. Its scores are enlarged to the photo's size
    before they are compared, which keeps edges sharp.

    Args:
        names: of the map's regions, `NAMES` first.
        unsought: those that FCN does not look for, because they have masks.

    Raises:
        InputError: a region is none of FCN's classes.
    """
    sought = [name for name in names[1:] if name not in unsought]
    classes = list(fcn.classes)  # type: ignore[arg-type]
    channels = [channel_of(name, classes) for name in sought]
    if not sought:
        return RegionMap(torch.zeros(photo.size[::-1], dtype=torch.uint8), tuple(names))
    device = next(fcn.parameters()).device
    width, height = photo.size
    scale = int(fcn.image_size) / min(width, height)  # type: ignore[arg-type]
    size = (round(height * scale), round(width * scale))
    image = F.interpolate(photo.pixels[None], size=size, mode="bilinear", antialias=True)  # (1, 3, h, w)
    scores = fcn(standardized(image, IMAGENET_MEAN, IMAGENET_STD).to(device))["out"]  # (1, classes, h, w)
    others = [channel for channel in range(len(classes)) if channel not in channels]
    margins = scores[:, channels] - scores[:, others].amax(dim=1, keepdim=True)  # (1, sought, h, w)
    margins = F.interpolate(margins.float().cpu(), size=(height, width), mode="bilinear")  # (1, sought, H, W)
    best, place = margins[0].max(dim=0)  # (H, W) each
    positions = torch.tensor([list(names).index(name) for name in sought], dtype=torch.uint8)
    return RegionMap(torch.where(best > 0, positions[place], BACKGROUND_LABEL).to(torch.uint8), tuple(names))


def channel_of(name: str, classes: Sequence[str]) -> int:
    """The channel of a region in FCN's scores.

    Raises:
        InputError: it has none.
    """
    name = PERSON if name == PORTRAIT else name
    if name not in classes[1:]:
        known = ", ".join(PORTRAIT if other == PERSON else other for other in classes[1:])
        raise InputError(
            f"regions.{name} is not a class of this bundle's FCN ({known}) and has no mask; send a mask of that name.",
            f"regions.{name}",
        )
    return list(classes).index(name)


def _blurred(planes: Tensor, deviation: float) -> Tensor:
    """Planes, ``(R, H, W)``, after a Gaussian blur of ``deviation`` pixels with replicated borders.

    A wide blur works on smaller planes, so that it costs no more than a narrow one.
    """
    size = planes.shape[-2:]
    factor = max(1, min(int(deviation / 4), *size))
    small = planes[None]
    if factor > 1:
        small = F.interpolate(small, size=[-(-side // factor) for side in size], mode="area")  # (1, R, h, w)
    narrow = deviation / factor
    reach = max(1, round(3 * narrow))
    distances = torch.arange(-reach, reach + 1, dtype=small.dtype, device=small.device)
    kernel = torch.exp(-0.5 * (distances / max(narrow, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).expand(small.shape[1], 1, 1, -1)  # (R, 1, 1, 2 reach + 1)
    small = F.pad(small, (reach,) * 4, mode="replicate")
    small = F.conv2d(small, kernel.mT, groups=len(kernel))
    small = F.conv2d(small, kernel, groups=len(kernel))
    return small[0] if factor == 1 else F.interpolate(small, size=size, mode="bilinear")[0]
