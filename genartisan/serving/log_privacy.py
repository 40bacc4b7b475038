"""Logs of requests without the users' words; tracebacks without them are in `genartisan.serving.tracebacks`."""

from __future__ import annotations

from genartisan.config import RegionConfig, StyleConfig
from genartisan.method.style_images import ALL
from genartisan.serving.request_headers import REQUEST_ID, REQUEST_START
from genartisan.validation import BACKGROUND, CLASSES, PORTRAIT

PUBLIC_NAMES = {
    *StyleConfig.model_fields, *RegionConfig.model_fields, BACKGROUND, PORTRAIT, ALL, CLASSES, "photo", "prompt",
    "style_image", "mask", "params", "preset", "seed", "preview_every", "body", "accept", "content-encoding",
    REQUEST_START, REQUEST_ID,
}  # fmt: skip


def public_field(field: str | None) -> str | None:
    """An error's field with a * for each name that the user chose: ``regions.*.prompt``."""
    return None if field is None else ".".join(part if part in PUBLIC_NAMES else "*" for part in field.split("."))
