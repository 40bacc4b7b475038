"""Flicker of a panned still, stylised as a film (`genartisan frames`) and picture by picture.

    python benchmarks/flicker.py --size 512 --frames 12

A window moves over each of six photos by a fixed number of pixels per frame, so that only the camera moves. Flicker is
the mean absolute difference of colours, 0 to 1, between two pictures where they show the same thing: between
consecutive frames, where a pan by fractions of a pixel changes the photo itself, and between frames that are whole
pixels apart, away from the borders, where it does not. Writes a JSON file and a sheet of film frames above single
pictures to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from genartisan.cli.flags import add_device_flags
from genartisan.config import preset
from genartisan.evaluation.photos import default_photos
from genartisan.evaluation.provenance import command_of, provenance
from genartisan.io.contact_sheet import as_jpeg, contact_sheet
from genartisan.io.images import read_photo
from genartisan.method.frames import Film, flicker
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle

HERE = Path(__file__).resolve().parent
PROMPT, SEED = "The Starry Night by Vincent van Gogh", 0
PANS = ((3.0, 0.0), (-5.0, 2.0), (2.5, 0.0), (1.25, 0.75), (0.1, 0.0))  # pixels a frame, right and down
ROOM = 1.3  # the photo's side, in windows
MARGIN = 16  # pixels of the photo that stay out of view
EDGE = 90  # pixels from a border that are affected by it
MAX_BYTES = 190_000  # of the sheet


def main() -> None:
    arguments = parse()
    stylizer = Stylizer(Bundle.load(arguments.bundle), arguments.device, arguments.precision, styles={})
    photos, rows, sheet = default_photos(), [], list[list[tuple[str, Image.Image]]]()
    with tqdm(total=len(photos) * len(PANS), unit="film") as bar:
        for photo in photos:
            for pan in PANS:
                frames = windows(photo, pan, arguments.size, arguments.frames)
                pictures = stylised(stylizer, frames)
                if pan == PANS[0] and photo in photos[:2]:
                    sheet += [[(f"{name}, frame {n}", made[n]) for n in range(4)] for name, made in pictures.items()]
                rows += [{"photo": photo.name, "pan": pan, **measured(pan, frames, pictures)}]
                bar.update()
    result = {
        **provenance(command_of("benchmarks/flicker.py"), stylizer.device, SEED),
        "precision": stylizer.precision,
        "bundle": stylizer.bundle.name,
        "prompt": PROMPT,
        "medians": {str(pan): medians([row for row in rows if row["pan"] == pan]) for pan in PANS},
        "films": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    arguments.out.with_suffix(".jpg").write_bytes(as_jpeg(contact_sheet(sheet, side=220), MAX_BYTES))
    print(json.dumps(result["medians"], indent=1))
    print(arguments.out)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="long side of a frame in pixels")
    parser.add_argument("--frames", type=int, default=12, help="of each film, 4 at least")
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder")
    add_device_flags(parser)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "flicker.json")
    arguments = parser.parse_args()
    most = int(((ROOM - 1) * arguments.size - 2 * MARGIN) / max(abs(speed) for pan in PANS for speed in pan))
    if not 5 <= arguments.frames <= most:
        parser.error(f"frames is {arguments.frames}; at this size give 5 to {most}, or the camera leaves the photo.")
    if arguments.size < 512:
        parser.error(f"size is {arguments.size}; give at least 512, or there is nothing that sees no border.")
    return arguments


def windows(photo: Path, pan: tuple[float, float], size: int, count: int) -> list[Image.Image]:
    """The frames of a camera that pans over a photo."""
    with Image.open(photo) as opened:
        still = opened.convert("RGB")
    scale = ROOM * size / max(still.size)
    still = still.resize((round(still.width * scale), round(still.height * scale)), Image.Resampling.LANCZOS)
    width, height = (int(side / ROOM) // 8 * 8 for side in still.size)
    left, top = (MARGIN if speed >= 0 else whole - part - MARGIN for speed, whole, part in zip(
        pan, still.size, (width, height), strict=True
    ))  # fmt: skip
    corners = [(left + number * pan[0], top + number * pan[1]) for number in range(count)]
    return [
        still.transform((width, height), Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BICUBIC)
        for x, y in corners
    ]


def stylised(stylizer: Stylizer, frames: Sequence[Image.Image]) -> dict[str, list[Image.Image]]:
    """The frames stylised as a film, and one by one."""
    config = preset("draft", {"size": max(frames[0].size)})
    film = Film(stylizer, PROMPT, frames, config)
    return {
        "film": [film.draw(frame) for frame in frames],
        "alone": [stylizer(frame, PROMPT, config=config, seed=SEED).image for frame in frames],
    }


def measured(
    pan: tuple[float, float], frames: Sequence[Image.Image], pictures: dict[str, list[Image.Image]]
) -> dict[str, float]:
    """The flicker of the still, of the film and of the single pictures."""
    apart = next(n for n in range(1, 11) if all(round(n * speed, 9).is_integer() for speed in pan))
    values = {}
    for name, made in {"still": frames, **pictures}.items():
        planes = [read_photo(picture).pixels for picture in made]
        values[f"{name}, next frame"] = round(flicker(planes, shifts(pan, len(planes), 1)), 5)
        inside = [plane[:, EDGE:-EDGE, EDGE:-EDGE] for plane in planes]
        series = [inside[start::apart] for start in range(apart)]
        each = [flicker(some, shifts(pan, len(some), apart)) for some in series if len(some) > 1]
        if each:
            values[f"{name}, whole pixels apart, inside"] = round(statistics.mean(each), 5)
    return values


def shifts(pan: tuple[float, float], count: int, apart: int) -> list[tuple[int, int]]:
    """The shift of the picture between consecutive selected frames, in whole pixels."""
    at = [(round(-n * apart * pan[0]), round(-n * apart * pan[1])) for n in range(count)]
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(at)]


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0] if name not in ("photo", "pan")}


if __name__ == "__main__":
    main()
