"""Decoding untrusted picture files: admitted formats and limits.

Bytes and pixels are checked first, from the header. Decoders that read piece by piece (JPEG, PNG, GIF, BMP, PPM) are
stopped when they exceed their time or reread the file too often. WebP and libtiff read everything at once; the pixel
limit bounds their work. AVIF and HEIC have no such bound and run in a subprocess (`genartisan.io.subprocess_decoder`).
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from genartisan.errors import InputError, TooLargeError, UnsupportedImageError
from genartisan.io import cicp, subprocess_decoder

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # of an animation, the first frame
MAX_PIXELS = 64_000_000  # per photo; 192 MB decoded
MAX_BYTES = 64 * 1024 * 1024  # per encoded photo
SECONDS = 10.0  # CPU time per picture: several times what 64 megapixels take in any format
READINGS = 4  # times a decoder may read the whole file; two are usual
JPEG_BLOCK = 1024  # bytes read between two checks of the time: a progressive JPEG may have a scan per 100 bytes
PLAIN = (b"P1", b"P2", b"P3")  # ASCII PPM, which Pillow reads in quadratic time
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF tags
MAX_TILED = 2  # pixels of all tiles together, in multiples of `MAX_PIXELS`

PictureSource = str | Path | bytes | bytearray | Image.Image


class Bounded(io.BytesIO):
    """A picture's bytes; reading fails once the decoder has taken too long.

    Raises:
        TooLargeError: in `read`, after `SECONDS` of this thread's CPU time or more than `READINGS` of all bytes.
    """

    def __init__(self, data: bytes, field: str) -> None:
        super().__init__(data)
        self._field, self._until = field, time.thread_time() + SECONDS
        self._left = READINGS * len(data) + MAX_BYTES // 64

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self._left -= len(piece)
        if self._left < 0 or time.thread_time() > self._until:
            raise too_slow(self._field)
        return piece


def too_slow(field: str) -> TooLargeError:
    """The error for a picture within the size limits that takes too long."""
    return TooLargeError(f"{field} takes too long to decode. Save it again as an ordinary PNG or JPEG.", field)


def readable() -> tuple[str, ...]:
    """The supported formats, including those of optional decoders."""
    return (*FORMATS, *subprocess_decoder.readable())


def opened(source: PictureSource, field: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens a picture and checks its size and format; its pixels may still be encoded (see `loaded`).

    Raises:
        InputError: missing, empty or damaged file.
        TooLargeError: more than ``max_pixels`` or `MAX_BYTES`, or the header takes too long.
        UnsupportedImageError: not one of the `readable` formats.
    """
    if isinstance(source, Image.Image):
        image = source
    else:
        data = _bytes(source, field)
        if kind := subprocess_decoder.kind_of(data):
            with _in_subprocess(kind, field):
                check_pixels(subprocess_decoder.size_of(data, kind), field, max_pixels)
                image = subprocess_decoder.decoded(data, kind)
            if not image.info["icc_profile"] and (code_points := cicp.of_heif(data)):
                image.info["cicp"] = code_points
        else:
            image = _opened(data, field)
    check_pixels(image.size, field, max_pixels)
    return image


def loaded(image: Image.Image, field: str) -> Image.Image:
    """Decodes the pixels of an opened image.

    Raises:
        InputError: damaged or truncated.
        TooLargeError: it takes too long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except (MemoryError, InputError):
        raise
    except Exception as error:  # decoders raise errors of any type on damaged files
        raise damaged(field, error) from error
    return image


def size_of(source: str | Path | bytes, field: str) -> tuple[int, int]:
    """(width, height) in pixels as stored, read from the header.

    Raises:
        InputError: as `opened`, except for too many pixels.
    """
    data = _bytes(source, field)
    if kind := subprocess_decoder.kind_of(data):
        with _in_subprocess(kind, field):
            return subprocess_decoder.size_of(data, kind)
    return _opened(data, field).size


def damaged(field: str, error: object) -> InputError:
    """The error for a file that starts like a picture but cannot be decoded."""
    return InputError(
        f"{field} is damaged or truncated ({error}). Save it again as PNG or JPEG and send it whole.", field
    )


def check_pixels(size: tuple[int, int], field: str, max_pixels: int) -> None:
    """Refuses more pixels than ``max_pixels``."""
    width, height = size
    if width * height > max_pixels:
        raise TooLargeError(
            f"{field} is {width}x{height}, {width * height:,} pixels; at most {max_pixels:,} are allowed. Resize it.",
            field,
        )


def _opened(data: bytes, field: str) -> Image.Image:
    if data.startswith(PLAIN):
        raise UnsupportedImageError(
            f"{field} is an ASCII PPM ({data[:2].decode()}); save it as a binary one or as PNG.", field
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decompression bombs: `check_pixels` comes next
            image = Image.open(Bounded(data, field), formats=FORMATS)
            if image.format == "TIFF":
                _check_tiles(image, field)
    except Image.DecompressionBombError as error:
        raise TooLargeError(
            f"{field} has too many pixels; at most {MAX_PIXELS:,} are allowed. Resize it.", field
        ) from error
    except UnidentifiedImageError as error:
        raise UnsupportedImageError(
            f"{field} is not an image of a known format ({_start(data)}); send one of {', '.join(readable())}.", field
        ) from error
    except (MemoryError, InputError):
        raise
    except Exception as error:
        raise damaged(field, error) from error
    if image.format == "PNG" and (code_points := cicp.of_png(data)):
        image.info["cicp"] = code_points
    if image.format in ("JPEG", "MPO"):
        image.decodermaxblock = JPEG_BLOCK
    return image


def _check_tiles(image: Image.Image, field: str) -> None:
    """Refuses a TIFF whose tiles, which libtiff decodes in full, extend far beyond the picture."""
    width, length = (image.tag_v2.get(tag) for tag in (TILE_WIDTH, TILE_LENGTH))  # type: ignore[attr-defined]
    if width is None and length is None:
        return
    if not (isinstance(width, int) and isinstance(length, int) and width > 0 and length > 0):
        raise damaged(field, f"its tiles are {width}x{length}")
    tiles = -(-image.width // width) * -(-image.height // length)
    if tiles * width * length > MAX_TILED * MAX_PIXELS:
        raise damaged(field, f"its {tiles} tiles have {width}x{length} pixels each")


@contextmanager
def _in_subprocess(kind: str, field: str) -> Iterator[None]:
    """Translates the subprocess decoder's errors; refuses formats without an installed decoder."""
    if kind not in readable():
        names = {"AVIF": "AVIF, which this Pillow cannot read", "HEIF": "HEIC, which needs genartisan[heif]"}
        raise UnsupportedImageError(f"{field} is {names[kind]}; send one of {', '.join(readable())}.", field)
    try:
        yield
    except TimeoutError as error:
        raise too_slow(field) from error
    except ValueError as error:
        raise damaged(field, error) from error


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


def _start(data: bytes) -> str:
    head = data[:256].lstrip().lower()
    if head.startswith((b"<svg", b"<?xml")):
        return "it looks like SVG or XML"
    return f"it starts with {data[:8].hex(' ')}"
