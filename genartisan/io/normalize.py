"""Decoded pictures upright, in 8 bits and in sRGB; without PyTorch."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from genartisan.io.colour import in_srgb
from genartisan.io.decode import damaged


def normalized(image: Image.Image, field: str) -> tuple[Image.Image, list[str]]:
    """A decoded picture upright and in sRGB, RGB or RGBA; and what could not be done about its colours.

    Raises:
        InputError: its metadata are damaged.
    """
    image = upright(image, field)
    try:
        return in_srgb(narrowed(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow may find a PNG's text where it expects a transparent colour
        raise damaged(field, error) from error


def upright(image: Image.Image, field: str) -> Image.Image:
    """Applies the EXIF rotation.

    Raises:
        InputError: EXIF is damaged.
    """
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(field, error) from error


def narrowed(image: Image.Image) -> Image.Image:
    """Scales 16-bit, 32-bit and floating-point grey to 8 bits, where Pillow clips; other modes are unchanged."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    with np.errstate(invalid="ignore"):  # converting signalling NaNs warns
        values = np.array(image).astype(np.float64)
    if image.mode == "F":
        values *= 255 if np.nanmax(values, initial=0) <= 1 else 1
    else:
        values *= 255 / 65535
    grey = Image.fromarray(np.nan_to_num(values).clip(0, 255).round().astype(np.uint8))
    grey.info.update({name: value for name, value in image.info.items() if name != "transparency"})
    if isinstance(transparent := image.info.get("transparency"), int):  # a value of the original depth
        grey.putalpha(Image.fromarray(np.where(np.array(image) == transparent, 0, 255).astype(np.uint8)))
    return grey
