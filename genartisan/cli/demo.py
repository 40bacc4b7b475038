"""``python -m genartisan.cli.demo``: stylises the sample photo through TorchServe and lays out a contact sheet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from tqdm import tqdm

from genartisan.cli.console import print_summary, resilient_streams
from genartisan.errors import GenartisanError
from genartisan.io.atomic import write_whole
from genartisan.io.contact_sheet import contact_sheet
from genartisan.io.files import SAMPLE
from genartisan.io.images import encode, read_photo, to_image
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import Bundle
from genartisan.serving import client, serve
from genartisan.serving.archive import archive
from genartisan.serving.archive_check import digest_of


class Picture(NamedTuple):
    """A picture of the sheet: file name, caption, and request."""

    name: str
    caption: str
    prompt: str
    params: dict[str, Any]


STARRY, WAVE = "The Starry Night by Vincent van Gogh", "The Great Wave off Kanagawa by Katsushika Hokusai"
TWO = "person: Pencil sketch; background: Stained glass"
PICTURES = (
    Picture("starry_night", "The Starry Night", STARRY, {"preset": "fast"}),
    Picture("watercolor", "Watercolor painting", "Watercolor painting", {"preset": "fast"}),
    Picture("great_wave", "The Great Wave off Kanagawa", WAVE, {"preset": "draft"}),
    Picture("woodcut", "Woodcut", "Woodcut", {"preset": "draft"}),
    Picture("clipstyler", "The Starry Night, mode clipstyler", STARRY, {"preset": "draft", "mode": "clipstyler"}),
    Picture("two_texts", TWO, TWO, {"preset": "draft"}),
    Picture("blend", "0.5 fire + 0.5 oil painting", "0.5 fire + 0.5 oil painting", {"preset": "draft"}),
    Picture("pencil", "Pencil sketch, colours kept", "Pencil sketch", {"preset": "draft", "keep_colors": True}),
)
SEED = 0
SIDE = 320  # pixels, of a picture on the sheet
STATE = "demo/.serve"  # so that a server started by `make serve` is left alone


def main() -> int:
    """Makes the missing pictures in ``demo/`` and the sheet; returns the exit status."""
    with resilient_streams():
        try:
            sheet = make(Path("demo"))
        except (GenartisanError, OSError) as error:
            print(f"demo: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        print_summary(f"contact sheet: {sheet}")
        return 0


def make(folder: Path) -> Path:
    """Makes the pictures and their contact sheet; pictures by the same archive are reused."""
    folder.mkdir(exist_ok=True)
    mar = archive("embedded", "model_store")
    note = folder / "made_by.txt"
    made_by = digest_of(mar)
    if not note.is_file() or note.read_text() != made_by:
        for picture in PICTURES:
            (folder / f"{picture.name}.png").unlink(missing_ok=True)
        write_whole(note, made_by)
    missing = [picture for picture in PICTURES if not (folder / f"{picture.name}.png").is_file()]
    if missing:
        request_all(missing, folder)
    return draw(folder)


def request_all(missing: list[Picture], folder: Path) -> None:
    """Starts a server, requests the pictures, and always stops it."""
    server = serve.start("model_store", state=STATE, say=print_summary)
    try:
        for picture in tqdm(missing, unit="picture", file=sys.stderr):
            params = {**picture.params, "seed": SEED}
            reply = client.request(SAMPLE, picture.prompt, params=params, url=server.url, key_file=server.keys)
            write_whole(folder / f"{picture.name}.png", reply.content)
    finally:
        serve.stop(STATE, say=print_summary)


def draw(folder: Path) -> Path:
    """Draws the contact sheet: photo and region map in the first column, then the pictures in two rows."""
    photo = read_photo(SAMPLE)
    regions = Stylizer(Bundle.load("embedded"), device="cpu").regions(photo)
    rows = [[("photo", to_image(photo.pixels))], [("tinted: people, styled less", regions.overlay(photo))]]
    for number, picture in enumerate(PICTURES):
        with Image.open(folder / f"{picture.name}.png") as image:
            rows[2 * number // len(PICTURES)].append((picture.caption, image.copy()))
    sheet = folder / "sheet.png"
    write_whole(sheet, encode(contact_sheet(rows, SIDE)))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
