"""The settings of a picture inside its PNG file, in a text chunk, and back.

Chunks are copied and read as they are; no pixel is decoded and nothing is decompressed, so a hostile file costs no more
than its bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from genartisan.config import from_params
from genartisan.errors import InputError
from genartisan.serving.duplicate_fields import load_json
from genartisan.validation import check_prompt, shown

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"genartisan"
MAX_SETTINGS = 16 * 1024  # bytes of the chunk
FIELD = "settings"
PARAMS = {"preset", "seed", "size", "output_size", "keep_colors", "style_image_share", "regions"}
NAMES = {"prompt", "style_image", "mask", "params"}


@dataclass(frozen=True)
class PictureSettings:
    """What a picture was made with, as far as the page has a control for it.

    Attributes:
        prompt: the style in words; None for a style picture alone.
        params: of the request.
        style_image, mask: whether the request had a style picture or a corrected mask, which are not in the file.
    """

    prompt: str | None
    params: dict[str, Any] = field(default_factory=dict)
    style_image: bool = False
    mask: bool = False

    @property
    def pictures(self) -> dict[str, bool]:
        """What is not in the file, and whether the picture had it."""
        return {"a style picture": self.style_image, "a corrected mask": self.mask}


def with_settings(png: bytes, settings: PictureSettings) -> bytes:
    """A PNG file with ``settings`` in it; the pixels stay as they are."""
    text = json.dumps(vars(settings)).encode("ascii")
    header_end = len(SIGNATURE) + 25  # IHDR has 13 bytes of data
    return png[:header_end] + _chunk(b"tEXt", KEYWORD + b"\0" + text) + png[header_end:]


def read_settings(png: bytes) -> PictureSettings:
    """The settings in a PNG file that the page made.

    Raises:
        InputError: it is no such file, or they are damaged, unknown or out of range.
    """
    if not png.startswith(SIGNATURE):
        raise InputError("The file is no PNG; drop a picture that this page made.", FIELD)
    text = next((data for kind, data in _chunks(png) if kind == b"tEXt" and data.startswith(KEYWORD + b"\0")), None)
    if text is None:
        raise InputError("The picture has no settings in it: another program has made it or saved it anew.", FIELD)
    if len(text) > MAX_SETTINGS:
        raise InputError(f"The settings have {len(text):,} bytes; at most {MAX_SETTINGS:,} are read.", FIELD)
    try:
        values = load_json(text.partition(b"\0")[2].decode("ascii"))
    except (ValueError, RecursionError, InputError) as error:
        raise InputError("The settings in the picture are damaged.", FIELD) from error
    return _checked(values)


def _checked(values: Any) -> PictureSettings:
    """Settings from parsed JSON."""
    if not isinstance(values, dict) or not isinstance(values.get("params"), dict):
        raise InputError("The settings in the picture are damaged.", FIELD)
    params = values["params"]
    regions = params.get("regions", {})
    if not isinstance(regions, dict) or not all(isinstance(region, dict) for region in regions.values()):
        raise InputError("The settings in the picture are damaged.", FIELD)
    unknown = [*(values.keys() - NAMES), *(params.keys() - PARAMS), *(regions.keys() - {"portrait", "background"})]
    unknown += [name for region in regions.values() for name in region.keys() - {"strength"}]
    if unknown:
        raise InputError(f"The picture has a setting that this page lacks: {shown(sorted(unknown)[0])}.", FIELD)
    try:
        from_params(params)
        prompt = None if values.get("prompt") is None else check_prompt(values["prompt"])
    except InputError as error:
        raise InputError(f"The settings in the picture are invalid: {error.message}", FIELD) from error
    return PictureSettings(prompt, params, values.get("style_image") is True, values.get("mask") is True)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Types and contents of the chunks before the pixels; ends at the first damaged one."""
    position = len(SIGNATURE)
    while position + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        data = png[position + 8 : position + 8 + length]
        if kind == b"IDAT" or len(data) < length:
            return
        yield kind, data
        position += 12 + length


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
