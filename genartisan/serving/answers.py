"""Answers as a server writes them; `genartisan.serving.replies` reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from genartisan.errors import InputError
from genartisan.serving import events
from genartisan.serving.defaults import JSON
from genartisan.serving.request import StyleRequest

MOST_WARNINGS, WARNING_CHARACTERS = 5, 200  # in a header, whose size proxies limit


def in_header(warnings: Sequence[str]) -> str:
    """The first warnings, shortened, as a header's value; `genartisan.serving.replies.read_reply` reads it."""
    return json.dumps([warning[:WARNING_CHARACTERS] for warning in warnings[:MOST_WARNINGS]])


def answer(
    request: StyleRequest,
    name: str,
    picture: bytes,
    facts: dict[str, Any],
    max_bytes: int,
    *,
    is_cancelled: bool = False,
) -> bytes:
    """The picture; or JSON with it, in base64 under its name, and ``facts``; or the same as a stream's last event.

    Args:
        picture: encoded as ``request.picture_type``.
        max_bytes: what the server can send.
        is_cancelled: whether the last event is ``cancelled`` instead of ``result``.

    Raises:
        InputError: the answer is larger.
    """
    content = picture
    if request.media_type in (JSON, events.MEDIA_TYPE):
        fields = {"media_type": request.picture_type, name: base64.b64encode(picture).decode(), **facts}
        last = events.cancelled(fields) if is_cancelled else events.result(fields)
        content = json.dumps(fields).encode() if request.media_type == JSON else events.line(last)
    if len(content) > max_bytes:
        field = "size" if request.config.output_size is None else "output_size"
        raise InputError(
            f"The answer has {len(content):,} bytes; at most {max_bytes:,} can be sent. Lower {field}, or request "
            "image/jpeg.",
            field,
        )
    return content
