"""``python -m genartisan.demo``: the sample photo through a running TorchServe, and a sheet of what came back."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from genartisan import client, serve
from genartisan.archive import archive, digest_of
from genartisan.bundle import EMBEDDED, Bundle
from genartisan.errors import GenartisanError
from genartisan.images import read_photo, to_image
from genartisan.sheets import contact_sheet
from genartisan.stylizer import Stylizer

PHOTO = EMBEDDED / "astronaut.jpg"  # NASA, public domain
PROMPTS = (
    "The Starry Night by Vincent van Gogh",
    "The Great Wave off Kanagawa by Katsushika Hokusai",
    "The Scream by Edvard Munch",
)
MODES = ("artisan", "clipstyler")
# Preset fast on a small picture: six of them in a minute on two cores.
SETTINGS = {
    "preset": "fast", "size": 256, "steps": 40, "learning_rate": 5e-4, "halve_every": 20, "patch_size": 96,
}  # fmt: skip
SEED = 0
STATE = ".serve/demo"  # apart from a server that `make serve` has started


def main() -> int:
    """Makes what is missing in ``demo/`` and says where it is."""
    try:
        sheet = make(Path("demo"))
    except GenartisanError as error:
        print(f"demo: {error.message}", file=sys.stderr)
        return 2
    print(f"The sheet: {sheet}")
    return 0


def make(folder: Path) -> Path:
    """The demo's pictures and their contact sheet, in ``folder``; those that this very archive made are kept."""
    folder.mkdir(exist_ok=True)
    mar = archive("embedded", "model_store")
    note = folder / "made_by.txt"
    made_by = str(digest_of(mar))
    if not note.is_file() or note.read_text() != made_by:
        for path, _, _ in jobs(folder):
            path.unlink(missing_ok=True)
        note.write_text(made_by)
    missing = [job for job in jobs(folder) if not job[0].is_file()]
    if missing:
        request_all(missing)
    return draw(folder)


def jobs(folder: Path) -> list[tuple[Path, str, str]]:
    """(file, prompt, mode) of each picture."""
    names = {prompt: prompt.lower().replace(" ", "_") for prompt in PROMPTS}
    return [(folder / f"{names[prompt]}-{mode}.png", prompt, mode) for mode in MODES for prompt in PROMPTS]


def request_all(missing: list[tuple[Path, str, str]]) -> None:
    """Starts a server, asks it for the pictures and stops it, whatever happens."""
    server = serve.start("model_store", state=STATE, say=print)
    try:
        for path, prompt, mode in tqdm(missing, unit="picture", file=sys.stdout):
            params = {**SETTINGS, "mode": mode, "seed": SEED}
            partial = path.with_suffix(".partial")  # a file that is there is whole
            reply = client.request(PHOTO, prompt, params=params, url=server.url, key_file=server.keys)
            partial.write_bytes(reply.content)
            partial.replace(path)
    finally:
        serve.stop(STATE, say=print)


def draw(folder: Path) -> Path:
    """The sheet: photo and region map in the first column, then a column a prompt and a row a mode."""
    photo = read_photo(PHOTO)
    regions = Stylizer(Bundle.load("embedded"), device="cpu").regions(photo)
    rows = [[("photo", to_image(photo.pixels))], [("tinted: people, styled less", regions.overlay(photo))]]
    for path, prompt, mode in jobs(folder):
        with Image.open(path) as picture:
            rows[MODES.index(mode)].append((f"{prompt}\n{mode}", picture.copy()))
    sheet = folder / "sheet.png"
    contact_sheet(rows).save(sheet)
    return sheet


if __name__ == "__main__":
    sys.exit(main())
