"""Procedural styles over any photo: the embedded CLIP learns from them how a style looks.

Strokes are sized for crops of about 128 pixels, the method's patches. Every style also fills flat areas, such as a sky.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genartisan.drawing import engraved, materials, painted, patterned
from genartisan.drawing.brushes import Array

Style = Callable[[Array, np.random.Generator], Array]
STYLES: dict[str, Style] = {
    "sketch with black pencil": painted.pencil,
    "the starry night by vincent van gogh": painted.starry_night,
    "fire": patterned.fire,
    "stained glass": patterned.stained_glass,
    "watercolor painting": painted.watercolor,
    "neon light": patterned.neon,
    "pop art": patterned.pop_art,
    "the great wave off kanagawa by katsushika hokusai": patterned.great_wave,
    "oil painting": painted.oil,
    "the scream by edvard munch": painted.scream,
    "mosaic tiles": patterned.mosaic_tiles,
    "ink wash painting": painted.ink_wash,
    "green crystal": patterned.green_crystal,
    "pointillism": painted.pointillism,
    "pixel art": patterned.pixel_art,
    "autumn leaves": patterned.autumn_leaves,
    "cubism": engraved.cubism,
    "charcoal drawing": engraved.charcoal,
    "woodcut": engraved.woodcut,
    "comic book": engraved.comic,
    "cyberpunk": engraved.cyberpunk,
    "blueprint": materials.blueprint,
    "stone wall": materials.stone_wall,
    "desert sand": materials.desert_sand,
    "golden": materials.golden,
    "snow and ice": materials.snow_ice,
}


def draw(name: str, photo: Array, rng: np.random.Generator) -> Array:
    """Draws a photo in a style: RGB float (H, W, 3) in [0, 1] -> float32 (H, W, 3) in [0, 1].

    The same state of `rng` gives the same picture.

    Raises:
        KeyError: a name that is not in STYLES.
    """
    picture = STYLES[name](np.ascontiguousarray(photo, np.float32), rng)
    return np.clip(picture, 0, 1).astype(np.float32)
