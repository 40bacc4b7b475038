"""The contact sheet of the drawn styles and the colour words: `python -m genartisan.drawing.style_sheet PICTURE.jpg`.

Each square shows the same four contents: as photos, then in every style, then four styles in every colour.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from genartisan.drawing.brushes import Array
from genartisan.drawing.colours import COLOURS, recolour
from genartisan.drawing.photos import content, load_photos
from genartisan.drawing.styles import STYLES, draw
from genartisan.io.atomic import write_whole
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.images import encode

SIDE, COLUMNS = 96, 6  # pixels of a picture, of which a square shows two by two; squares per row
COLOURED = ("fire", "watercolor painting", "mosaic tiles", "stained glass")


def style_sheet(seed: int = 4) -> Image.Image:
    """Every style over the same four contents and, on separate rows, the colour words."""
    photos, rng = load_photos(), np.random.default_rng(seed)
    contents = [content(photos, rng, SIDE, share_drawn=0) for _ in range(4)]
    styles = [_square("photos", contents)]
    styles += [_square(name, [draw(name, photo, rng) for photo in contents]) for name in STYLES]
    pictures = [draw(name, photo, rng) for name, photo in zip(COLOURED, contents, strict=True)]
    colours = [_square(word, [recolour(picture, word, rng, share=0.9) for picture in pictures]) for word in COLOURS]
    return contact_sheet([*_rows(styles), *_rows(colours)], side=2 * SIDE)


def _square(name: str, pictures: list[Array]) -> tuple[str, Image.Image]:
    """A wrapped name and four pictures, two by two."""
    square = np.concatenate([np.concatenate(pictures[:2], 1), np.concatenate(pictures[2:], 1)])
    return textwrap.fill(name, 28), Image.fromarray(np.round(square * 255).astype(np.uint8))


def _rows(squares: list[tuple[str, Image.Image]]) -> list[list[tuple[str, Image.Image]]]:
    return [squares[first : first + COLUMNS] for first in range(0, len(squares), COLUMNS)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the contact sheet of the embedded bundle's styles and colours.")
    parser.add_argument("path", type=Path)
    write_whole(parser.parse_args().path, encode(style_sheet(), "image/jpeg", quality=68))


if __name__ == "__main__":
    main()
