"""The last that is done to a picture: its size, its contrast, the photo's colours, strength and alpha."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import adjust_contrast, rgb_to_grayscale

from genartisan.io.images import Photo, to_image


def postprocess(
    picture: Tensor, photo: Photo, contrast: float, keep_colors: bool = False, strength: Tensor | None = None
) -> Image.Image:
    """``picture``, ``(1, 3, H, W)``, at the photo's size, with its contrast raised and the photo's alpha put back.

    CLIPstyler's code also stretches each picture to its own extremes when it saves it; its brightness would then depend
    on single pixels, so that is left out.

    Args:
        keep_colors: take from it only the luminance (Gatys et al., arXiv 1606.05897, §4.2).
        strength: how much of the style each pixel shows, 0-1, ``(1, 1, H, W)``; the rest is the photo. None: all.
    """
    width, height = photo.size
    if picture.shape[-2:] != (height, width):
        picture = F.interpolate(picture, size=(height, width), mode="bicubic")
    pixels = adjust_contrast(picture[0].clamp(0, 1), contrast)  # (3, H, W)
    original = photo.pixels.to(pixels)
    if keep_colors:
        pixels = (original + rgb_to_grayscale(pixels) - rgb_to_grayscale(original)).clamp(0, 1)
    if strength is not None:
        pixels = torch.lerp(original, pixels, strength[0].to(pixels))
    return to_image(pixels, photo.alpha)
