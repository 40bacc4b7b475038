"""The looks that the embedded CLIP distinguishes."""

from __future__ import annotations

from dataclasses import dataclass

from genartisan.drawing.colours import COLOURS as RAMPS
from genartisan.drawing.styles import STYLES

PHOTO = "photo"
TECHNIQUES = tuple(STYLES)
COLOURS = tuple(RAMPS)
CLASSES = (PHOTO, *TECHNIQUES)


@dataclass(frozen=True)
class Look:
    """A technique, a colour word, both, or neither (a photo)."""

    technique: str | None = None
    colour: str | None = None


LOOKS = (
    Look(),
    *(Look(name) for name in TECHNIQUES),
    *(Look(None, colour) for colour in COLOURS),
    *(Look(name, colour) for name in TECHNIQUES for colour in COLOURS),
)  # starts with CLASSES, in order
