"""The sheet of docs/regions.md: strengths, a text for each region, a blend, kept colours, on the sample photo.

python benchmarks/regions_sheet.py docs/pictures/regions.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genartisan.config import preset
from genartisan.io.atomic import write_whole
from genartisan.io.contact_sheet import as_jpeg, contact_sheet
from genartisan.io.files import SAMPLE
from genartisan.io.images import read_photo, resized, to_image
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle

SIZE, SEED = 512, 0
WAVE = "The Great Wave off Kanagawa by Katsushika Hokusai"
SIDE, MOST = 300, 400_000  # pixels of a picture on the sheet; bytes of the sheet


def people(strength: float) -> tuple[str, str, dict[str, Any]]:
    """Caption, prompt and settings of a picture with so much style on people."""
    return f"people's strength {strength:g}", WAVE, {"regions": {"portrait": {"strength": strength}}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path, help="the JPEG to write")
    arguments = parser.parse_args()
    stylizer = Stylizer(Bundle.load("embedded"), device="cpu")
    photo = resized(read_photo(SAMPLE), SIZE)
    firsts = [("photo", to_image(photo.pixels)), ("the regions", stylizer.regions(photo).overlay(photo))]
    two = "person: pencil sketch; background: stained glass"
    rows: list[list[tuple[str, str, dict[str, Any]]]] = [
        [people(0.0), people(0.25), people(0.5), people(1.0)],
        [
            (two.replace("; ", ";\n"), two, {}),
            ("0.5 fire + 0.5 oil painting", "0.5 fire + 0.5 oil painting", {}),
            ("woodcut, colours kept", "woodcut", {"keep_colors": True}),
            ("neon light, background's strength 0.5", "neon light", {"regions": {"background": {"strength": 0.5}}}),
        ],
    ]
    sheet = [
        [first]
        + [
            (caption, stylizer(SAMPLE, prompt, config=preset("draft", changes), seed=SEED).image)
            for caption, prompt, changes in row
        ]
        for first, row in zip(firsts, rows, strict=True)
    ]
    write_whole(arguments.sheet, as_jpeg(contact_sheet(sheet, SIDE), MOST))
    print(arguments.sheet)


if __name__ == "__main__":
    main()
