"""What of a request may stand in the log of a server that is not to log what users write."""

from __future__ import annotations

import traceback

from genartisan.config import RegionConfig, StyleConfig
from genartisan.method.style_images import ALL
from genartisan.serving.request_headers import REQUEST_START
from genartisan.validation import BACKGROUND, CLASSES, PORTRAIT

OURS = {
    *StyleConfig.model_fields, *RegionConfig.model_fields, BACKGROUND, PORTRAIT, ALL, CLASSES, "photo", "prompt",
    "style_image", "mask", "params", "preset", "seed", "preview_every", "body", "accept", "content-encoding",
    REQUEST_START,
}  # fmt: skip


def public_field(field: str | None) -> str | None:
    """An error's field with a * for each part that the user named: ``regions.*.prompt``."""
    return None if field is None else ".".join(part if part in OURS else "*" for part in field.split("."))


def trace(error: BaseException) -> str:
    """Where an error came from and of which type it is, without its words: they may quote the user's."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else f"{trace(cause)}\nwhile this was handled:\n"
    return f"{before}{frames}{type(error).__module__}.{type(error).__qualname__}"
