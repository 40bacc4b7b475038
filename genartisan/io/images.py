"""Pictures to tensors and back, for every format, orientation and colour mode that users send."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genartisan.errors import InputError
from genartisan.io.decode import MAX_PIXELS, PictureSource, loaded, opened
from genartisan.io.normalize import narrowed, normalized, upright
from genartisan.io.rgb_space import SRGB_PROFILE

OUTPUTS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
MIN_SIDE = 16  # pixels: StyleNet halves the picture three times
VOC_LABELS = 20  # the highest label of Pascal VOC
GREYISH = 40  # of 255: largest difference between the channels of a grey pixel, after JPEG compression
MAX_ASPECT = 16  # long side / short side: a longer photo has no room for a patch once resized
GROUND = 0.5  # grey, 0-1, of transparent pixels
INVISIBLE = 0.5 / 255  # opacity below this rounds to 0

SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif", ".heic", ".heif",
))  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        pixels: sRGB in [0, 1], ``(3, H, W)``, float32; `GROUND` where fully transparent.
        alpha: opacity in [0, 1], ``(1, H, W)``, or None for an opaque photo.
        warnings: about colour data in the file that was ignored.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[-1], self.pixels.shape[-2]


def read_photo(source: PictureSource, field: str = "photo", max_pixels: int = MAX_PIXELS) -> Photo:
    """Decodes a photo from a path, encoded bytes or a PIL image.

    EXIF rotation is applied. Palette, grey, 16-bit, CMYK and other modes become sRGB. Alpha is returned separately.

    Raises:
        InputError: missing, empty, truncated, too small or too elongated.
        TooLargeError: more than ``max_pixels`` or `genartisan.io.decode.MAX_BYTES`, or too slow to decode.
        UnsupportedImageError: not one of the `genartisan.io.decode.readable` formats.
    """
    image = opened(source, field, max_pixels)
    _check_shape(image.size, field)
    image, warnings = normalized(loaded(image, field), field)
    channels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    channels = channels.float().div_(255)  # (3 or 4, H, W)
    pixels, alpha = channels[:3], channels[3:]
    named = tuple(f"{field}: {warning}" for warning in warnings)
    if bool((alpha == 1).all()):  # also without an alpha channel
        return Photo(pixels, warnings=named)
    return Photo(torch.where(alpha > 0, pixels, GROUND), alpha, named)


def _check_shape(size: tuple[int, int], field: str) -> None:
    """Refuses a picture too small or too elongated for a patch."""
    width, height = size
    if min(size) < MIN_SIDE:
        raise InputError(f"{field} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.", field)
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(
            f"{field} is {width}x{height} pixels; the long side may be at most {MAX_ASPECT} times the short one. "
            "Crop it.",
            field,
        )


def pictures_in(folder: str | Path, field: str = "photos") -> list[Path]:
    """The picture files in a folder, by suffix, sorted by name.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{field} {str(folder)!r} is not a folder; give a folder of pictures.", field)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{field} {str(folder)!r} contains no pictures; add some ({known}).", field)
    return paths


def read_mask(source: PictureSource, photo_size: tuple[int, int], field: str = "mask") -> Tensor:
    """Decodes a region's mask, white inside and black outside, ``(H, W)``.

    Bool for a mask of black and white; float32 in [0, 1] if it has greys, as soft edges do.

    Raises:
        InputError: as `read_photo`; also if the size differs from ``photo_size`` (width, height), or the mask has
            colours or nothing near white (values 0 and 1, say).
    """
    image = narrowed(_of_size(source, photo_size, field))
    colours = np.array(image.convert("RGB"))  # alpha is ignored
    if int(np.ptp(colours, axis=2).max()) > GREYISH:
        raise InputError(f"{field} has colours; send black, white and grey, or send VOC labels as mask.classes.", field)
    values = np.array(Image.fromarray(colours).convert("L"))
    if 0 < values.max() < 128:
        raise InputError(
            f"{field} has no value above {values.max()}; its region must be white (255), the rest black (0).", field
        )
    if bool(((values == 0) | (values == 255)).all()):
        return torch.from_numpy(values == 255)
    return torch.from_numpy(values).float() / 255


def read_classes(source: PictureSource, photo_size: tuple[int, int], field: str = "mask") -> Tensor:
    """Decodes Pascal VOC labels, ``(H, W)``, uint8: 0 for background, 1 to 20 for the classes.

    Labels are palette indices or grey values, as in VOC's own PNG files; VOC's 255 (void) becomes background.

    Raises:
        InputError: as `read_mask`, or a value is not a label.
    """
    image = _of_size(source, photo_size, field)
    if image.mode not in ("P", "L"):
        raise InputError(
            f"{field} has mode {image.mode}; send a palette or grey PNG of labels 0 to {VOC_LABELS}.", field
        )
    values = np.array(image)
    values[values == 255] = 0
    if values.max() > VOC_LABELS:
        raise InputError(
            f"{field} has the value {values.max()}, which is not a VOC label; use 0 to {VOC_LABELS}, or 255 for void.",
            field,
        )
    return torch.from_numpy(values)


def _of_size(source: PictureSource, photo_size: tuple[int, int], field: str) -> Image.Image:
    """A mask's picture, upright; refused unless it has the photo's size."""
    image = upright(loaded(opened(source, field), field), field)
    if image.size != photo_size:
        (w, h), (pw, ph) = image.size, photo_size
        raise InputError(f"{field} is {w}x{h} pixels and photo is {pw}x{ph}; send a mask of the photo's size.", field)
    return image


@contextmanager
def naming(source: PictureSource, field: str) -> Iterator[None]:
    """Adds the photo's name to errors about it; ``field`` names the collection."""
    try:
        yield
    except InputError as error:
        if error.field == "photo":
            raise type(error)(f"{name_of(source)}: {error.message}", field) from error
        raise


def name_of(source: PictureSource) -> str:
    """The picture's path, or "a picture"."""
    return str(source) if isinstance(source, str | Path) else "a picture"


def resized(photo: Photo, long_side: int) -> Photo:
    """Resizes the long side to ``long_side`` pixels by antialiased bicubic interpolation with premultiplied alpha.

    Raises:
        InputError: the short side would have fewer than `MIN_SIDE` pixels.
    """
    size = fitted(photo.size, long_side)
    if size == photo.size:
        return photo
    planes = photo.pixels if photo.alpha is None else torch.cat((photo.pixels * photo.alpha, photo.alpha))
    planes = F.interpolate(planes[None], size=size[::-1], mode="bicubic", antialias=True)[0].clamp_(0, 1)
    if photo.alpha is None:
        return replace(photo, pixels=planes)
    premultiplied, alpha = planes[:3], planes[3:]
    pixels = (premultiplied / alpha.clamp_min(INVISIBLE)).clamp_(max=1)
    return replace(photo, pixels=torch.where(alpha < INVISIBLE, GROUND, pixels), alpha=alpha)


def fitted(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) scaled to ``long_side``."""
    scale = long_side / max(size)
    width, height = (round(side * scale) for side in size)
    if min(width, height) < MIN_SIDE:
        least = -(-MIN_SIDE * max(size) // min(size))
        raise InputError(
            f"size is {long_side}, which makes this photo {width}x{height} pixels; each side needs at least "
            f"{MIN_SIDE}. Use a size of at least {least}.",
            "size",
        )
    return width, height


def to_image(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """A PIL image of ``pixels``, RGB in [0, 1], ``(3, H, W)``, and ``alpha``, ``(1, H, W)``."""
    planes = pixels if alpha is None else torch.cat((pixels, alpha.to(pixels)))
    rounded = planes.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(rounded.permute(1, 2, 0).contiguous().cpu().numpy())


def encode(image: Image.Image, media_type: str = "image/png", quality: int = 92, unique_id: str | None = None) -> bytes:
    """``image`` as PNG, JPEG or WebP bytes tagged as sRGB; JPEG flattens alpha onto white.

    Args:
        unique_id: EXIF's ImageUniqueID, 32 hexadecimal digits; see `unique_id_of`.

    Raises:
        InputError: an unsupported media type.
    """
    if media_type not in OUTPUTS:
        raise InputError(f"accept is {media_type!r}; choose one of {', '.join(OUTPUTS)}.", "accept")
    options: dict[str, Any] = {"quality": quality, "icc_profile": SRGB_PROFILE}
    if media_type == "image/png":
        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add(b"sRGB", b"\0")  # 13 bytes, where a profile has 500
    elif media_type == "image/jpeg" and image.mode == "RGBA":
        image = on_white(image)
    if unique_id is not None:
        options["exif"] = exif = Image.Exif()
        exif[ExifTags.IFD.Exif] = {ExifTags.Base.ImageUniqueID: unique_id}
    buffer = io.BytesIO()
    image.save(buffer, OUTPUTS[media_type], **options)
    return buffer.getvalue()


def unique_id_of(picture: bytes) -> str | None:
    """EXIF's ImageUniqueID of a picture that can be decoded in full; else None."""
    try:
        image = loaded(opened(picture, "output"), "output")
        return image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ImageUniqueID)
    except InputError:
        return None


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB, flattened onto white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
