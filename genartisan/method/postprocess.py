"""Post-processing.

Contrast and luminance are torchvision's, whose import takes seconds.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from genartisan.config import StyleConfig
from genartisan.io.images import Photo, to_image
from genartisan.method.net_input import region_values
from genartisan.method.regions import RegionMap


def postprocess(
    picture: Tensor, photo: Photo, contrast: float, keep_colors: bool = False, strength: Tensor | None = None
) -> Image.Image:
    """A picture at the photo's size, with contrast, the photo's colours, strength and alpha applied.

    CLIPstyler's code also rescales each saved picture to its own extremes, so that its brightness depends on single
    pixels; this does not.

    Args:
        picture: RGB in [0, 1], ``(1, 3, H, W)``.
        keep_colors: take only the luminance from the picture (Gatys et al., arXiv 1606.05897, §4.2).
        strength: share of the picture in each pixel, the rest being the photo, 0-1, ``(1, 1, H, W)``. None: 1.
    """
    width, height = photo.size
    if picture.shape[-2:] != (height, width):
        picture = F.interpolate(picture, size=(height, width), mode="bicubic")
    pixels = picture[0].clamp(0, 1)  # (3, H, W)
    pixels = (contrast * pixels + (1.0 - contrast) * luminance(pixels).mean()).clamp(0, 1)
    original = photo.pixels.to(pixels)
    if keep_colors:
        pixels = (original + luminance(pixels) - luminance(original)).clamp(0, 1)
    if strength is not None:
        pixels = torch.lerp(original, pixels, strength[0].to(pixels))
    return to_image(pixels, photo.alpha)


def region_strength(regions: RegionMap | None, config: StyleConfig) -> Tensor | None:
    """Strength of each pixel, ``(1, 1, H, W)``, for a painter that does not apply it itself; None where all is 1."""
    if regions is None:
        return None
    strengths = [config.regions[name].strength for name in regions.names]
    return region_values(regions, strengths, config) if min(strengths) < 1 else None


def luminance(pixels: Tensor) -> Tensor:
    """The luminance of RGB, ``(3, H, W)``: ``(1, H, W)``."""
    red, green, blue = pixels.unbind()
    return (0.2989 * red + 0.587 * green + 0.114 * blue).unsqueeze(0)
