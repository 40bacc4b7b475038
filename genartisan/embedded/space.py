"""The axes of the embedded CLIP: what each number of a style embedding stands for, and where a picture should lie.

A technique has an axis for its strokes and, where its colours are its own (fire is never blue), one for its palette; a
colour word has one. A picture with the colours of a style and none of its strokes therefore reaches only part of the
way to the text, and an optimisation that follows the text has to draw the strokes as well. With a single axis a style,
recolouring the photo is enough: any step along the axis, however small, points the right way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genartisan.embedded.colours import COLOURS as RAMPS
from genartisan.embedded.styles import STYLES

PHOTO = "photo"
TECHNIQUES = tuple(STYLES)
COLOURS = tuple(RAMPS)
# Techniques that take their colours from the photo; a colour word makes them that colour.
PHOTO_COLOURED = (
    "watercolor painting", "oil painting", "stained glass", "mosaic tiles", "pointillism", "pixel art", "comic book",
)  # fmt: skip
MONOCHROME = ("sketch with black pencil", "charcoal drawing", "ink wash painting", "woodcut")
PALETTES = tuple(name for name in TECHNIQUES if name not in (*PHOTO_COLOURED, *MONOCHROME))
PALETTE = {name: name for name in PALETTES} | dict.fromkeys(MONOCHROME, "grey")  # a technique's own colours
AXES = (PHOTO, *(f"strokes of {n}" for n in TECHNIQUES), *(f"palette of {n}" for n in PALETTES), *COLOURS)
CLASSES = (PHOTO, *TECHNIQUES)


@dataclass(frozen=True)
class Look:
    """What a picture shows: the strokes of a technique, the palette of a technique or a colour, each or neither."""

    strokes: str | None = None
    palette: str | None = None  # one of PALETTES or of COLOURS

    def vector(self) -> Tensor:
        """Where such a picture lies, a unit vector (D,)."""
        point = torch.zeros(len(AXES))
        if self.strokes is None:
            point[0] = 1.0 if self.palette is None else 0.75  # a photo in other colours is mostly a photo
        else:
            point[AXES.index(f"strokes of {self.strokes}")] = 0.8
            if self.palette is None and self.strokes in PALETTE:
                point[0] = 0.45  # the strokes alone, over the photo's colours
        if self.palette is not None:
            axis = self.palette if self.palette in COLOURS else f"palette of {self.palette}"
            point[AXES.index(axis)] = 0.6
        return F.normalize(point, dim=0)


def finished(technique: str, colour: str | None = None) -> Look:
    """A technique as drawn, in its own colours or in those of a colour word."""
    return Look(technique, colour or PALETTE.get(technique))


def wished(techniques: tuple[str, ...], colour: str | None = None) -> Tensor:
    """Where a sentence lies that asks for techniques, a colour or both, or for a photo: a unit vector (D,)."""
    if techniques:
        return F.normalize(torch.stack([finished(name, colour).vector() for name in techniques]).sum(0), dim=0)
    point = torch.zeros(len(AXES))
    point[AXES.index(colour or PHOTO)] = 1.0
    return point


_EVERY = (
    Look(),
    *(finished(name) for name in TECHNIQUES),
    *(Look(None, name) for name in (*PALETTES, *COLOURS)),
    *(Look(name) for name in PALETTE),
    *(finished(name, colour) for name in TECHNIQUES for colour in COLOURS),
)
LOOKS = tuple(dict.fromkeys(_EVERY))  # the first len(CLASSES) are CLASSES in order; a grey pencil sketch is one already


def look_vectors() -> Tensor:
    """The vectors of LOOKS, (len(LOOKS), D)."""
    return torch.stack([look.vector() for look in LOOKS])


def look_targets() -> tuple[Tensor, Tensor]:
    """Each look's strokes and colours apart, one-hot: (L, 1 + techniques), (L, 1 + palettes + colours).

    The first columns are a photo's: no strokes, and the photo's own colours.
    """
    strokes, colours = torch.zeros(len(LOOKS), len(CLASSES)), torch.zeros(len(LOOKS), 1 + len(PALETTES) + len(COLOURS))
    for row, look in enumerate(LOOKS):
        strokes[row, CLASSES.index(look.strokes or PHOTO)] = 1
        colours[row, 0 if look.palette is None else 1 + (*PALETTES, *COLOURS).index(look.palette)] = 1
    return strokes, colours
