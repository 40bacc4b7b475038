"""The contact sheet of the drawn styles, a labelled row a style: `python -m genartisan.embedded.sheet PICTURE.jpg`."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from genartisan.embedded.brushes import Array
from genartisan.embedded.photos import content, load_photos
from genartisan.embedded.styles import STYLES, draw

SIDE, COLUMNS, LABEL = 128, 6, 20  # pixels, pictures a row, height of a row's label


def contact_sheet(seed: int = 5) -> Array:
    """RGB uint8: the contents on top, and under them each style drawn over the same contents."""
    photos, rng = load_photos(), np.random.default_rng(seed)
    contents = [content(photos, rng, SIDE) for _ in range(COLUMNS)]
    rows = [_row("photo", contents)]
    rows += [_row(name, [draw(name, photo, rng) for photo in contents]) for name in STYLES]
    return np.concatenate(rows)


def _row(name: str, pictures: list[Array]) -> Array:
    label = np.full((LABEL, SIDE * len(pictures), 3), 255, np.uint8)
    cv2.putText(label, name, (4, LABEL - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([label, np.round(np.concatenate(pictures, 1) * 255).astype(np.uint8)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the contact sheet of the embedded bundle's styles.")
    parser.add_argument("path", type=Path)
    picture = cv2.cvtColor(contact_sheet(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(parser.parse_args().path), picture, [cv2.IMWRITE_JPEG_QUALITY, 68])


if __name__ == "__main__":
    main()
