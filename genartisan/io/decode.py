"""Encoded bytes as a PIL image: which formats are admitted, and what bounds the work of their decoders.

Bytes and pixels are bounded first, from the header. A decoder that asks for its bytes piece by piece, as those of JPEG,
PNG, GIF, BMP and PPM do, is stopped when its time is over or when it reads the same bytes over and over. WebP's and
libtiff's decoders take all at once, and their work is bounded by the pixels. AVIF's and HEIC's is not, and they
run in a process of their own (`genartisan.io.subprocess_decoder`).
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
from genartisan.io import subprocess_decoder

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # what is read; of an animation, the first frame
MAX_PIXELS = 64_000_000  # of a photo: 64 megapixels, 192 MB decoded
MAX_BYTES = 64 * 1024 * 1024  # of an encoded photo
SECONDS = 10.0  # of a core for one picture: several times what 64 megapixels take in any format
READINGS = 4  # how often a decoder may read the whole file: twice is usual
SCANS_AT_ONCE = 1024  # bytes of a JPEG between two looks at the clock: a progressive one has a scan in a hundred
PLAIN = (b"P1", b"P2", b"P3")  # PPM in digits, which Pillow reads in quadratic time
TILE_WIDTH, TILE_LENGTH = 322, 323  # TIFF's tags
TILED = 2  # how many times `MAX_PIXELS` all tiles together may have

PictureSource = str | Path | bytes | bytearray | Image.Image


class Bounded(io.BytesIO):
    """A picture's bytes, which end with an error when reading them has taken too long.

    Raises:
        TooLargeError: at a read, after `SECONDS` of this thread on a core, or more than `READINGS` of all bytes.
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
    """The refusal of a picture that is small and costs much."""
    return TooLargeError(f"{field} takes too long to decode. Save it again as an ordinary PNG or JPEG.", field)


def readable() -> tuple[str, ...]:
    """The names of all formats that are read here."""
    return (*FORMATS, *subprocess_decoder.readable())


def opened(source: PictureSource, field: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A PIL image whose size and format are known and admitted; its pixels may still be encoded (`loaded`).

    Raises:
        InputError: no such file, empty or damaged.
        TooLargeError: more than ``max_pixels`` or `MAX_BYTES`, or its header takes too long.
        UnsupportedImageError: not one of `readable`.
    """
    if isinstance(source, Image.Image):
        image = source
    else:
        data = _bytes(source, field)
        if kind := subprocess_decoder.kind_of(data):
            with _in_subprocess(kind, field):
                check_pixels(subprocess_decoder.size_of(data, kind), field, max_pixels)
                image = subprocess_decoder.decoded(data, kind)
        else:
            image = _opened(data, field)
    check_pixels(image.size, field, max_pixels)
    return image


def loaded(image: Image.Image, field: str) -> Image.Image:
    """The same with its pixels decoded.

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
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise damaged(field, error) from error
    return image


def size_of(source: str | Path | bytes, field: str) -> tuple[int, int]:
    """(width, height) in pixels as stored, from a picture's header.

    Raises:
        InputError: as `opened`, but for too many pixels.
    """
    data = _bytes(source, field)
    if kind := subprocess_decoder.kind_of(data):
        with _in_subprocess(kind, field):
            return subprocess_decoder.size_of(data, kind)
    return _opened(data, field).size


def damaged(field: str, error: object) -> InputError:
    """The refusal of a file that begins like a picture and cannot be decoded."""
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
            f"{field} is a plain PPM, in digits ({data[:2].decode()}); save it as a binary one, or as PNG.", field
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of a bomb; the pixels are checked next
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
    if image.format in ("JPEG", "MPO"):
        image.decodermaxblock = SCANS_AT_ONCE
    return image


def _check_tiles(image: Image.Image, field: str) -> None:
    """Refuses a TIFF whose tiles, which libtiff decodes whole, reach far beyond the picture."""
    width, length = (image.tag_v2.get(tag) for tag in (TILE_WIDTH, TILE_LENGTH))  # type: ignore[attr-defined]
    if width is None and length is None:
        return
    if not (isinstance(width, int) and isinstance(length, int) and width > 0 and length > 0):
        raise damaged(field, f"its tiles are {width}x{length}")
    tiles = -(-image.width // width) * -(-image.height // length)
    if tiles * width * length > TILED * MAX_PIXELS:
        raise damaged(field, f"its {tiles} tiles have {width}x{length} pixels each")


@contextmanager
def _in_subprocess(kind: str, field: str) -> Iterator[None]:
    """Words for what goes wrong in the other process; none is started for a format that is not read here."""
    if kind not in readable():
        names = {
            "AVIF": "AVIF, which this Pillow does not read",
            "HEIF": "HEIC, which is read where genartisan[heif] is installed",
        }
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
