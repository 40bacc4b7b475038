"""The styles that the page offers as thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "thumbnails"


@dataclass(frozen=True)
class Style:
    """A style of the gallery.

    Attributes:
        label: below its thumbnail.
        prompt: the style text, one that the embedded bundle knows.
    """

    label: str
    prompt: str

    @property
    def thumbnail(self) -> Path:
        """Its picture, a square JPEG; `genartisan.drawing.thumbnails` makes it."""
        return FOLDER / f"{self.label.lower().replace(' ', '_')}.jpg"


STYLES = (
    Style("Watercolor", "Watercolor painting"),
    Style("Great Wave", "The Great Wave off Kanagawa by Katsushika Hokusai"),
    Style("Starry Night", "The Starry Night by Vincent van Gogh"),
    Style("The Scream", "The Scream by Edvard Munch"),
    Style("Oil painting", "Oil painting"),
    Style("Pencil sketch", "Sketch with black pencil"),
    Style("Charcoal", "Charcoal drawing"),
    Style("Ink wash", "Ink wash painting"),
    Style("Stained glass", "Stained glass"),
    Style("Mosaic", "Mosaic tiles"),
    Style("Pop art", "Pop art"),
    Style("Comic book", "Comic book"),
    Style("Cubism", "Cubism"),
    Style("Pointillism", "Pointillism"),
    Style("Woodcut", "Woodcut"),
    Style("Pixel art", "Pixel art"),
    Style("Neon light", "Neon light"),
    Style("Cyberpunk", "Cyberpunk"),
    Style("Fire", "Fire"),
    Style("Green crystal", "Green crystal"),
    Style("Autumn leaves", "Autumn leaves"),
    Style("Snow and ice", "Snow and ice"),
    Style("Golden", "Golden"),
    Style("Desert sand", "Desert sand"),
    Style("Stone wall", "Stone wall"),
    Style("Blueprint", "Blueprint"),
)
PROMPTS = {style.label: style.prompt for style in STYLES}
LABELS = {style.prompt.lower(): style.label for style in STYLES}


def label_of(prompt: str | None) -> str | None:
    """The label of the style with this text; None if the gallery has none."""
    return LABELS.get(" ".join((prompt or "").split()).lower())
