"""Which part of a photo each pixel belongs to: from FCN's segmentation or from the caller's mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from genartisan.images import Photo, to_image
from genartisan.networks import IMAGENET_MEAN, IMAGENET_STD, PERSON, standardized

NAMES = ("background", "portrait")  # the position is the label
BACKGROUND, PORTRAIT = range(2)
TINT = (255, 64, 160)  # RGB of the portrait in an overlay


@dataclass(frozen=True)
class RegionMap:
    """The region of each pixel.

    Attributes:
        labels: positions in `NAMES`, ``(H, W)``, uint8.
    """

    labels: Tensor

    @property
    def portrait(self) -> Tensor:
        """True where a person is, ``(H, W)``, bool."""
        return self.labels == PORTRAIT

    def weighed(self, weights: tuple[float, float]) -> Tensor:
        """The number given for the region of each pixel, in the order of `NAMES`, ``(H, W)``, float32."""
        return torch.tensor(weights)[self.labels.long()]

    def pixels(self) -> list[int]:
        """How many pixels each of `NAMES` has."""
        return [int((self.labels == label).sum()) for label in range(len(NAMES))]

    def resized(self, size: tuple[int, int]) -> RegionMap:
        """The map at (width, height), by nearest neighbour."""
        if size == (self.labels.shape[1], self.labels.shape[0]):
            return self
        labels = F.interpolate(self.labels[None, None].float(), size=size[::-1], mode="nearest-exact")  # (1, 1, H, W)
        return RegionMap(labels[0, 0].to(torch.uint8))

    def as_mask(self) -> Image.Image:
        """White where a person is, black elsewhere; what ``--mask`` reads."""
        return Image.fromarray(np.asarray(self.portrait.cpu().numpy() * np.uint8(255)))

    def overlay(self, photo: Photo) -> Image.Image:
        """The photo with the portrait tinted, for looking at."""
        tint = torch.tensor(TINT)[:, None, None] / 255  # (3, 1, 1)
        portrait = self.portrait.cpu()
        return to_image(torch.where(portrait, 0.45 * photo.pixels + 0.55 * tint, photo.pixels))


def from_mask(portrait: Tensor) -> RegionMap:
    """The map of a caller's mask, ``(H, W)``, bool, True for portrait."""
    return RegionMap(portrait.to(torch.uint8))


def random_regions(rng: np.random.Generator, size: tuple[int, int], whole: float = 0.5) -> RegionMap | None:
    """One to three ellipses and boxes as portrait, for training; None where all is background.

    Args:
        size: (height, width) in pixels.
        whole: how often all is to be background, 0-1.
    """
    if rng.random() < whole:
        return None
    height, width = size
    y, x = np.mgrid[:height, :width]
    portrait = np.zeros(size, bool)
    for _ in range(rng.integers(1, 4)):
        centre, radii = rng.uniform(0, 1, 2) * size, rng.uniform(0.1, (0.45, 0.3)) * size
        reach = np.abs((y - centre[0]) / radii[0]), np.abs((x - centre[1]) / radii[1])
        portrait |= (np.hypot(*reach) if rng.random() < 0.7 else np.maximum(*reach)) < 1
    return None if portrait.all() or not portrait.any() else from_mask(torch.from_numpy(portrait))


@torch.inference_mode()
def segment(fcn: nn.Module, photo: Photo) -> RegionMap:
    """The region map of a photo, at the photo's own resolution.

    FCN sees the photo with its short side at the network's ``image_size``; its scores are brought back to the photo's
    size before they are compared, so that edges are as sharp as they can be.
    """
    device = next(fcn.parameters()).device
    width, height = photo.size
    scale = int(fcn.image_size) / min(width, height)  # type: ignore[arg-type]
    size = (round(height * scale), round(width * scale))
    image = F.interpolate(photo.pixels[None], size=size, mode="bilinear", antialias=True)  # (1, 3, h, w)
    scores = fcn(standardized(image, IMAGENET_MEAN, IMAGENET_STD).to(device))["out"]  # (1, classes, h, w)
    person = list(fcn.classes).index(PERSON)  # type: ignore[arg-type]
    others = torch.cat((scores[:, :person], scores[:, person + 1 :]), dim=1).amax(dim=1, keepdim=True)
    margin = (scores[:, person : person + 1] - others).float().cpu()  # (1, 1, h, w), above 0 for a person
    margin = F.interpolate(margin, size=(height, width), mode="bilinear")  # (1, 1, H, W)
    return from_mask(margin[0, 0] > 0)
