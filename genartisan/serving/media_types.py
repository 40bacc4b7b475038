"""The media types of an answer, and which one an ``Accept`` header prefers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genartisan.errors import InputError
from genartisan.io.images import OUTPUTS
from genartisan.serving.defaults import JSON
from genartisan.serving.events import MEDIA_TYPE as EVENTS

MEDIA_TYPES = (*OUTPUTS, JSON, EVENTS)  # in our order of preference, for wildcards


def media_types(accept: str | None) -> tuple[str, str]:
    """The media types of the answer and of the picture in it.

    In JSON and in a stream, the picture has the picture type that the header prefers, or is a PNG.

    Raises:
        InputError: the header accepts none of `MEDIA_TYPES`.
    """
    media_type = choose_media_type(accept)
    if media_type is None:
        raise InputError(f"accept is {(accept or '')[:80]}; choose one of {', '.join(MEDIA_TYPES)}.", "accept")
    if media_type in OUTPUTS:
        return media_type, media_type
    return media_type, choose_media_type(accept, tuple(OUTPUTS)) or "image/png"


def choose_media_type(accept: str | None, offers: Sequence[str] = MEDIA_TYPES) -> str | None:
    """The media type among ``offers`` that an ``Accept`` header prefers (RFC 9110, §12.5.1); None if it accepts none.

    Without a header, the first.
    """
    ranges = [_range(part) for part in (accept or "*/*").lower().split(",") if part.strip()] or [("*/*", 1.0)]
    ranked = []
    for order, offered in enumerate(offers):
        # The most specific range that matches a type gives its quality: image/png before image/* before */*.
        matching = [
            (precision, -position, quality)
            for position, (name, quality) in enumerate(ranges)
            for precision, pattern in enumerate(("*/*", offered.split("/")[0] + "/*", offered))
            if name == pattern
        ]
        if matching and max(matching)[2] > 0:
            _, position, quality = max(matching)
            ranked.append((quality, position, -order, offered))
    return max(ranked)[-1] if ranked else None


def _range(part: str) -> tuple[str, float]:
    """``image/*;q=0.8`` as its name and quality; a malformed quality counts as 1."""
    name, *parameters = (piece.strip() for piece in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    return name, float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 1.0
