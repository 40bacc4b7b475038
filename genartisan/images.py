"""Picture bytes to tensors and back: every format, orientation and colour mode that users send."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from genartisan.errors import InputError, TooLargeError, UnsupportedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # what is read; of an animation, the first frame
OUTPUTS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
MAX_PIXELS = 64_000_000  # of a photo: 64 megapixels, 192 MB decoded
MAX_BYTES = 64 * 1024 * 1024  # of an encoded photo
MIN_SIDE = 16  # pixels: StyleNet halves the picture three times
VOC_LABELS = 20  # the last of VOC's
GREYISH = 40  # of 255: what the channels of a grey pixel may differ by, in a JPEG
MAX_ASPECT = 16  # long side / short side: beyond it a resized photo has no room for a patch

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"))

PictureSource = str | Path | bytes | bytearray | Image.Image


@dataclass(frozen=True)
class Photo:
    """A decoded photo, upright.

    Attributes:
        pixels: RGB in [0, 1], ``(3, H, W)``, float32.
        alpha: opacity in [0, 1], ``(1, H, W)``, or None for an opaque photo.
    """

    pixels: Tensor
    alpha: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[-1], self.pixels.shape[-2]


def read_photo(source: PictureSource, field: str = "photo", max_pixels: int = MAX_PIXELS) -> Photo:
    """Decodes a photo from a path, encoded bytes or a PIL image.

    EXIF rotation is applied; palette, grey, 16-bit, CMYK and other modes become RGB; alpha is kept beside.

    Raises:
        InputError: no such file, empty, truncated, too small or too long and thin.
        TooLargeError: more than ``max_pixels`` or `MAX_BYTES`.
        UnsupportedImageError: not one of `FORMATS`.
    """
    image = upright(open_image(source, field, max_pixels), field)
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{field} is {width}x{height} pixels; each side needs at least {MIN_SIDE}.", field)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"{field} is {width}x{height} pixels; the long side may be at most {MAX_ASPECT} short sides. Crop it.",
            field,
        )
    if image.mode.startswith("I") or image.mode == "F":
        image = _narrowed(image)
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    if has_alpha:
        image = image.convert("RGBA")
    channels = torch.from_numpy(np.array(image if has_alpha else image.convert("RGB"))).permute(2, 0, 1)
    channels = channels.float().div_(255)  # (3 or 4, H, W)
    opaque = not has_alpha or bool((channels[3:] == 1).all())
    return Photo(channels[:3], None if opaque else channels[3:])


def pictures_in(folder: str | Path, field: str = "photos") -> list[Path]:
    """The picture files of a folder, by their names in order; others are passed over.

    Raises:
        InputError: it is no folder, or has none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{field} {str(folder)!r} is no folder; name one that holds pictures.", field)
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{field} {str(folder)!r} holds no picture; put some there ({known}).", field)
    return found


def read_mask(source: PictureSource, photo_size: tuple[int, int], field: str = "mask") -> Tensor:
    """Decodes the mask of a region: white where it is, black elsewhere, ``(H, W)``.

    Bool where all is black and white; float32 in [0, 1] where greys make soft edges.

    Raises:
        InputError: as for `read_photo`, or the mask's size is not ``photo_size`` (width, height), or it is not black
            and white at all (only the values 0 and 1, say).
    """
    image = _of_size(source, photo_size, field)
    if image.mode.startswith("I") or image.mode == "F":
        image = _narrowed(image)
    colours = np.array(image.convert("RGB"))  # alpha, if any, is no part of a mask
    if int(np.ptp(colours, axis=2).max()) > GREYISH:
        raise InputError(
            f"{field} has colours; send black, white and grey. A picture of VOC's labels is mask.classes.", field
        )
    values = np.array(Image.fromarray(colours).convert("L"))
    if 0 < values.max() < 128:
        raise InputError(
            f"{field} has no value above {values.max()}; its region must be white (255), the rest black (0).", field
        )
    if bool(((values == 0) | (values == 255)).all()):
        return torch.from_numpy(values == 255)
    return torch.from_numpy(values).float() / 255


def read_classes(source: PictureSource, photo_size: tuple[int, int], field: str = "mask") -> Tensor:
    """Decodes a picture of VOC's labels, ``(H, W)``, uint8: 0 for background, 1 to 20 for its classes.

    It is a palette's positions or grey values, as VOC's own PNG files have them; their 255, for what is left open, is
    background.

    Raises:
        InputError: as for `read_mask`, or a value is no label.
    """
    image = _of_size(source, photo_size, field)
    if image.mode not in ("P", "L"):
        raise InputError(
            f"{field} has the mode {image.mode}; send a PNG with a palette or in grey, of labels 0 to {VOC_LABELS}.",
            field,
        )
    values = np.array(image)
    values[values == 255] = 0
    if values.max() > VOC_LABELS:
        raise InputError(
            f"{field} has the value {values.max()}, which is no label; VOC's are 0 to {VOC_LABELS} (255 is left open).",
            field,
        )
    return torch.from_numpy(values)


def _of_size(source: PictureSource, photo_size: tuple[int, int], field: str) -> Image.Image:
    """A mask's picture, upright, of the photo's size."""
    image = upright(open_image(source, field), field)
    if image.size != photo_size:
        (w, h), (pw, ph) = image.size, photo_size
        raise InputError(f"{field} is {w}x{h} pixels and photo is {pw}x{ph}; send a mask of the photo's size.", field)
    return image


def open_image(source: PictureSource, field: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A fully decoded PIL image, its size checked before a pixel is decoded."""
    if isinstance(source, Image.Image):
        _check_pixels(source, field, max_pixels)
        return source
    data = _bytes(source, field)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of a bomb; the check below refuses it
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooLargeError(
            f"{field} has too many pixels; at most {max_pixels:,} are allowed. Resize it.", field
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedImageError(
            f"{field} is not an image of a known format ({_start(data)}); send one of {', '.join(FORMATS)}.", field
        ) from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise damaged(field, error) from error
    _check_pixels(image, field, max_pixels)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(field, error) from error
    return image


@contextmanager
def naming(source: PictureSource, field: str) -> Iterator[None]:
    """Lets a refusal of one of many photos say which it is; ``field`` is what it is one of."""
    try:
        yield
    except InputError as error:
        if error.field == "photo":
            raise type(error)(f"{name_of(source)}: {error.message}", field) from error
        raise


def name_of(source: PictureSource) -> str:
    """Its path, if it has one."""
    return str(source) if isinstance(source, str | Path) else "a picture"


def upright(image: Image.Image, field: str) -> Image.Image:
    """The image turned as its EXIF says, which may be damaged where the pixels are not."""
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(field, error) from error


def damaged(field: str, error: Exception) -> InputError:
    """The refusal of a file that begins like a picture and cannot be decoded."""
    return InputError(
        f"{field} is damaged or truncated ({error}). Save it again as PNG or JPEG and send it whole.", field
    )


def _bytes(source: str | Path | bytes | bytearray, field: str) -> bytes:
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise TooLargeError(f"{field} has more than {MAX_BYTES:,} bytes. Send a smaller file.", field)
            source = path.read_bytes()
        except OSError as error:
            raise InputError(f"{field} {str(path)!r} cannot be read: {error.strerror}.", field) from error
    if not source:
        raise InputError(f"{field} is empty (0 bytes); send an image file.", field)
    if len(source) > MAX_BYTES:
        raise TooLargeError(f"{field} has {len(source):,} bytes; at most {MAX_BYTES:,} are allowed.", field)
    return bytes(source)


def _check_pixels(image: Image.Image, field: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise TooLargeError(
            f"{field} is {width}x{height}, {width * height:,} pixels; at most {max_pixels:,} are allowed. Resize it.",
            field,
        )


def _start(data: bytes) -> str:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")):
        return "it looks like SVG or XML"
    return f"it starts with {data[:8].hex(' ')}"


def _narrowed(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits or floating point, as 8 bits: Pillow's own conversion clips instead of scaling."""
    with np.errstate(invalid="ignore"):  # some NaNs complain of being copied
        values = np.array(image).astype(np.float64)
    if image.mode == "F":
        values *= 255 if np.nanmax(values, initial=0) <= 1 else 1
    else:
        values *= 255 / 65535
    grey = Image.fromarray(np.nan_to_num(values).clip(0, 255).round().astype(np.uint8))
    if isinstance(transparent := image.info.get("transparency"), int):  # one value of the original depth is see-through
        grey.putalpha(Image.fromarray(np.where(np.array(image) == transparent, 0, 255).astype(np.uint8)))
    return grey


def resized(photo: Photo, long_side: int) -> Photo:
    """The photo with its long side at ``long_side`` pixels and its aspect ratio kept, by antialiased bicubic.

    Raises:
        InputError: its short side would have less than `MIN_SIDE` pixels.
    """
    size = fitted(photo.size, long_side)
    if size == photo.size:
        return photo
    planes = photo.pixels if photo.alpha is None else torch.cat((photo.pixels, photo.alpha))
    planes = F.interpolate(planes[None], size=size[::-1], mode="bicubic", antialias=True)[0].clamp_(0, 1)
    return Photo(planes[:3], None if photo.alpha is None else planes[3:])


def fitted(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) scaled to ``long_side``."""
    scale = long_side / max(size)
    width, height = (round(side * scale) for side in size)
    if min(width, height) < MIN_SIDE:
        least = -(-MIN_SIDE * max(size) // min(size))
        raise InputError(
            f"size is {long_side}, at which this photo is {width}x{height} pixels; each side needs at least "
            f"{MIN_SIDE}. Use a size from {least} on.",
            "size",
        )
    return width, height


def to_image(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """A PIL image of ``pixels``, RGB in [0, 1], ``(3, H, W)``, with ``alpha``, ``(1, H, W)``, put back."""
    planes = pixels if alpha is None else torch.cat((pixels, alpha.to(pixels)))
    rounded = planes.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(rounded.permute(1, 2, 0).contiguous().cpu().numpy())


def encode(image: Image.Image, media_type: str = "image/png", quality: int = 92) -> bytes:
    """``image`` as PNG, JPEG or WebP bytes; JPEG, which knows no alpha, puts it on white.

    Raises:
        InputError: another media type.
    """
    if media_type not in OUTPUTS:
        raise InputError(f"accept is {media_type!r}; choose one of {', '.join(OUTPUTS)}.", "accept")
    if OUTPUTS[media_type] == "JPEG" and image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, OUTPUTS[media_type], **({} if media_type == "image/png" else {"quality": quality}))
    return buffer.getvalue()
