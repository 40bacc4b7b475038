"""Logs of requests without the users' words."""

from __future__ import annotations

import traceback

from genartisan.config import RegionConfig, StyleConfig
from genartisan.method.style_images import ALL
from genartisan.serving.request_headers import REQUEST_START
from genartisan.validation import BACKGROUND, CLASSES, PORTRAIT

PUBLIC_NAMES = {
    *StyleConfig.model_fields, *RegionConfig.model_fields, BACKGROUND, PORTRAIT, ALL, CLASSES, "photo", "prompt",
    "style_image", "mask", "params", "preset", "seed", "preview_every", "body", "accept", "content-encoding",
    REQUEST_START,
}  # fmt: skip


def public_field(field: str | None) -> str | None:
    """An error's field with a * for each name that the user chose: ``regions.*.prompt``."""
    return None if field is None else ".".join(part if part in PUBLIC_NAMES else "*" for part in field.split("."))


def trace(error: BaseException) -> str:
    """An error's traceback and type without its message, which may quote the user."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    causes = "" if cause is None else f"{trace(cause)}\nwhile this was handled:\n"
    return f"{causes}{frames}{type(error).__module__}.{type(error).__qualname__}"
