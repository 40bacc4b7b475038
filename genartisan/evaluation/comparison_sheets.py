"""The sheets of a comparison, after the paper's figures 7 and 12: the same photo in both modes, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torchvision.transforms.functional import adjust_contrast

from genartisan.evaluation.comparison_findings import RowPair
from genartisan.evaluation.comparison_measures import Row
from genartisan.evaluation.report import SHEET_BYTES, SHEET_SIDE, opened
from genartisan.io.atomic import write_whole
from genartisan.io.contact_sheet import as_jpeg, contact_sheet
from genartisan.io.images import read_photo, to_image

PHOTOS = 4  # on a sheet: its bytes are bounded
ABLATION_SIDE = 200  # pixels
Cell = tuple[str, Image.Image]


def comparison_sheet(
    pairs: Sequence[RowPair], photos: dict[str, Path], work: Path, contrast: float, path: Path
) -> None:
    """Two rows a photo, clipstyler mode above artisan mode, a column a style (figure 12).

    Args:
        photos: the file of each photo, by its subject in the rows.
    """
    rows = []
    for name in list(dict.fromkeys(one["subject"] for one, _ in pairs))[:PHOTOS]:
        own = [pair for pair in pairs if pair[0]["subject"] == name]
        for place in range(2):
            first = (f"{own[0][place]['photo']}\n{own[0][place]['setting']} mode", small_photo(photos[name]))
            rows.append([first, *(cell(pair[place], work, contrast) for pair in own)])
    write_whole(path, as_jpeg(contact_sheet(rows, SHEET_SIDE), SHEET_BYTES))


def ablation_sheet(
    rows: Sequence[Row], settings: Sequence[str], photos: dict[str, Path], work: Path, contrast: float, path: Path
) -> None:
    """A row a pair: the photo, and the picture in each of some settings (figure 7)."""
    lines = []
    for pair in dict.fromkeys(row["pair"] for row in rows if row["group"] == "ablation"):
        own = {row["setting"]: row for row in rows if row["pair"] == pair and row["group"] == "ablation"}
        first = own[settings[0]]
        pictures = [(setting + "\n", shown(work / own[setting]["file"], contrast)) for setting in settings]
        lines.append([(f"photo\n{first['style']}", small_photo(photos[first["subject"]])), *pictures])
    side = ABLATION_SIDE if len(settings) < 8 else SHEET_SIDE
    write_whole(path, as_jpeg(contact_sheet(lines, side), SHEET_BYTES))


def cell(row: Row, work: Path, contrast: float) -> Cell:
    """A picture over its style, and what the judge took it for if that is another style."""
    taken_for = row.get("judge_taken_for", row["style"])
    words = "" if taken_for == row["style"] else f"seen as {taken_for}"
    return f"{row['style']}\n{words}", shown(work / row["file"], contrast)


def shown(file: Path, contrast: float) -> Image.Image:
    """A small copy of a picture, its contrast raised as the finished picture has it."""
    picture: Image.Image = adjust_contrast(opened(file), contrast)
    return picture


def small_photo(file: Path) -> Image.Image:
    """A small copy of a photo, which may be in any format and turned by EXIF."""
    image = to_image(read_photo(file).pixels)
    image.thumbnail((2 * SHEET_SIDE, 2 * SHEET_SIDE))
    return image
