"""How good a bundle's pictures are, as a document: a table of rows, aims and whether they were reached, the sheets."""

from __future__ import annotations

import json
import operator
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from genartisan.evaluation.measures import SIDE, placed
from genartisan.io.contact_sheet import as_jpeg, contact_sheet

SHEET_SIDE = 144  # pixels of a picture on the sheet
SHEET_BYTES = 900_000
BLOCKS = 2  # styles in a row of the sheet

UNITS = {"%": "{:.1%}", "MB": "{:.1f} MB", "s": "{:.2f} s", "": "{:.2f}", "fraction": "{:.3f}", "columns": "{:.0f}"}
RELATIONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}
COLUMNS = {
    "top1": ("judge's first", "≥", "%"),
    "top3": ("judge's first three", "≥", "%"),
    "edge_share": ("edge share, median", "≥", "fraction"),
    "edge_share_p10": ("edge share, 10th percentile", "≥", "fraction"),
    "portrait_vgg": ("portrait, VGG distance", "≤", "fraction"),
    "portrait_ssim": ("portrait, SSIM", "≥", "fraction"),
}  # what is measured of a row: its name, how a better value relates to a worse one, its unit
AIMS = (
    ("fast", "top1", 0.75), ("fast", "edge_share", 0.40), ("fast", "edge_share_p10", 0.34),
    ("draft", "top1", 0.55), ("draft", "edge_share", 0.38),
)  # fmt: skip
PORTRAIT_RATIO = 0.5  # of portrait distances, to clipstyler mode's
CALLED_PERSON = 0.03  # of the pixels of a photo without people
BUNDLE_MEGABYTES = 12
BY_STYLE = ("draft", "fast")  # rows that have a table style by style


@dataclass(frozen=True)
class Target:
    """Something measured and what it should be; ``value`` is None where it cannot be measured."""

    what: str
    value: float | None
    relation: str  # one of RELATIONS
    limit: float
    unit: str = ""  # one of UNITS

    @property
    def reached(self) -> bool | None:
        return None if self.value is None else RELATIONS[self.relation](self.value, self.limit)

    def as_dict(self) -> dict[str, Any]:
        target = f"{self.relation} {self.limit}"
        return {"what": self.what, "value": self.value, "target": target, "unit": self.unit, "reached": self.reached}

    def cells(self) -> tuple[str, str, str, str]:
        """What, the value, the target, and whether it was reached."""
        show = UNITS[self.unit].format
        answer = {True: "yes", False: "no", None: "not measured"}[self.reached]
        measured = "–" if self.value is None else show(self.value)
        return self.what, measured, f"{self.relation} {show(self.limit)}", answer

    def as_row(self) -> str:
        what, measured, target, answer = self.cells()
        return f"| {what} | {measured} | {target} | {'**no**' if answer == 'no' else answer} |"


def targets(results: dict[str, Any]) -> list[Target]:
    """The table of aims."""
    rows, without = results["rows"], [photo for photo in results["photos"] if photo["people"] is False]
    called = max((photo["called_person"] for photo in without), default=None)
    aims = []
    for name, column, limit in AIMS:
        label, relation, unit = COLUMNS[column]
        aims.append(Target(f"`{name}`: {label}", rows.get(name, {}).get(column), relation, limit, unit))
    baseline = rows.get("clipstyler")
    made = "" if baseline is None else f" ({baseline['size']} px, {baseline['steps']} steps)"
    for name in BY_STYLE:
        what = f"`{name}`: portrait, VGG distance over that of `clipstyler`{made}, the same photos and styles"
        aims.append(Target(what, portrait_ratio(results["pictures"], name), "≤", PORTRAIT_RATIO))
    worse = worse_columns(rows.get("fast"), rows.get("draft"))
    where = f": {', '.join(worse)}" if worse else ""
    return [
        *aims,
        Target(
            f"Columns in which `fast` is worse than `draft`{where}",
            None if worse is None else len(worse),
            "≤",
            0,
            "columns",
        ),
        Target("Most pixels called a person on a photo without one", called, "≤", CALLED_PERSON, "%"),
        Target("Bundle on disk", results["bundle"]["megabytes"], "≤", BUNDLE_MEGABYTES, "MB"),
    ]


def portrait_ratio(pictures: Sequence[dict[str, Any]], row: str, other: str = "clipstyler") -> float | None:
    """The median portrait distance of a row over that of another, on the photos and styles that both have."""
    by_row: dict[str, dict[tuple[str, str], float]] = {row: {}, other: {}}
    for picture in pictures:
        if picture["row"] in by_row and "portrait_vgg" in picture:
            by_row[picture["row"]][picture["photo"], picture["style"]] = picture["portrait_vgg"]
    pairs = by_row[row].keys() & by_row[other].keys()
    if not pairs:
        return None
    of_row, of_other = (statistics.median(by_row[name][pair] for pair in pairs) for name in (row, other))
    return round(of_row / of_other, 4) if of_other > 0 else None


def worse_columns(row: dict[str, Any] | None, other: dict[str, Any] | None) -> list[str] | None:
    """The names of the columns in which a row is worse than another; None where one of them is missing."""
    if row is None or other is None:
        return None
    return [
        label
        for column, (label, relation, _) in COLUMNS.items()
        if None not in (row[column], other[column]) and not RELATIONS[relation](row[column], other[column])
    ]


def table_row(name: str, row: dict[str, Any], photos: int) -> str:
    """How the pictures of a row were made, and what was measured of them."""
    measures = [
        "–" if row[column] is None else UNITS[unit].format(row[column]) for column, (_, _, unit) in COLUMNS.items()
    ]
    patches = row["patches"] if row["steps"] else "–"
    cells = [f"`{name}`", f"{row['size']} px", row["steps"], patches, f"{photos} × {row['styles']}", *measures]
    return f"| {' | '.join(map(str, cells))} |"


def seconds_row(name: str, row: dict[str, Any]) -> str:
    """How long a picture of a row took, in all and by phase."""
    phases = ", ".join(f"{phase} {value:.2f}" for phase, value in row["seconds"].items() if phase != "total")
    return f"| `{name}` | {row['seconds']['total']:.2f} | {phases} | {'; '.join(row['made_on'])} |"


def style_rows(pictures: Sequence[dict[str, Any]], prompts: Mapping[str, str]) -> list[str]:
    """A line a style: how often it came first, among the first three, and what it was taken for instead."""
    lines = []
    for style in dict.fromkeys(picture["style"] for picture in pictures):
        of_style = [picture for picture in pictures if picture["style"] == style]
        others = Counter(picture["taken_for"] for picture in of_style if picture["taken_for"] != style)
        mistakes = ", ".join(f"{name} ({times})" for name, times in others.most_common())
        chance = statistics.mean(picture["probability"] for picture in of_style)
        first, three = placed(of_style, 1), placed(of_style, 3)
        lines.append(f"| {prompts[style]} | {first} | {three} | {chance:.2f} | {mistakes} |")
    return lines


def style_tables(results: dict[str, Any]) -> list[str]:
    """The rows of `BY_STYLE`, style by style."""
    photos, lines = len(results["photos"]), []
    for name in (name for name in BY_STYLE if name in results["rows"]):
        lines += [
            f"## Style by style: `{name}`",
            "",
            f"| Prompt | First, of {photos} | Among three, of {photos} | Mean probability | Taken for instead |",
            "|---|---|---|---|---|",
            *style_rows([each for each in results["pictures"] if each["row"] == name], results["prompts"]),
            "",
        ]
    return lines


def reduced(results: dict[str, Any]) -> list[str]:
    """A sentence for each row that has less than its preset."""
    lines = []
    for name, pairs in results["reductions"].items():
        less = ", ".join(f"{field} {now} instead of {full}" for field, (now, full) in pairs.items())
        lines.append(f"**Reduced:** `{name}` has {less}.")
    return lines


def markdown(results: dict[str, Any], aims: Sequence[Target], sheets: Mapping[str, Path]) -> str:
    """The whole document; ``sheets`` are where the pictures of each row lie, seen from it."""
    hardware, rows, photos = results["hardware"], results["rows"], results["photos"]
    header = [
        "",
        "Size",
        "Steps",
        "Patches",
        "Photos × styles",
        *(label[0].upper() + label[1:] for label, _, _ in COLUMNS.values()),
    ]
    called = ", ".join(f"{each['photo']} {each['called_person']:.1%}" for each in photos)
    return "\n".join([
        "# Evaluation",
        "",
        "Written by the command below; do not edit.",
        "",
        f"    {results['command']}",
        "",
        f"Bundle `{results['bundle']['name']}` ({results['bundle']['sha256'][:12]}), commit {results['commit']}, seed "
        f"{results['seed']}, {results['date'][:10]}.",
        f"{hardware['processor']}, {hardware['threads']} threads, on {hardware['device']}; {hardware['system']}, "
        f"Python {hardware['python']}, PyTorch {hardware['torch']}.",
        "",
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(table_row(name, row, len(photos)) for name, row in rows.items()),
        "",
        *reduced(results),
        "`draft`, `fast` and `paper` are the presets; `clipstyler` is `paper` in clipstyler mode, the baseline. The "
        "judge is a network of another kind than the bundle's CLIP, trained on its own drawings and used for nothing "
        f"but measuring; on held-out drawings it is right {results['judge']['figures']['held_out_accuracy']:.1%} of "
        "the time. It sees the background only: people are painted grey. A plain photo is one of its classes. The edge "
        "share is how much of the edges of a picture's background lies on the quarter of it where the photo has its "
        "own: chance is 0.25, a photo against itself has about 0.55 to 0.8. Portraits are compared with the photo: the "
        f"less VGG distance and the more SSIM, the better. Edges and portraits are measured at {SIDE} px.",
        "",
        "## Aims",
        "",
        "| What | Measured | Aim | Reached |",
        "|---|---|---|---|",
        *(aim.as_row() for aim in aims),
        "",
        f"Pixels called a person: {called}. What is known of CLIP and FCN alone stands in the model card.",
        "",
        "## Seconds a picture",
        "",
        "| | Median | Of each phase | Made on |",
        "|---|---|---|---|",
        *(seconds_row(name, row) for name, row in rows.items()),
        "",
        f"By the pictures' own reports; up to {results['processes']} pictures were made side by side.",
        "",
        *style_tables(results),
        "## The pictures",
        "",
        *(f"`{name}`:\n\n![Every style over every photo]({sheet.as_posix()})\n" for name, sheet in sheets.items()),
    ])  # fmt: skip


def as_json(results: dict[str, Any]) -> str:
    """The results, with one line for each entry, and one for each picture."""
    lines = []
    for name, value in results.items():
        entry = json.dumps(value)
        if name == "pictures":
            entry = "[\n  " + ",\n  ".join(json.dumps(picture) for picture in value) + "\n ]"
        lines.append(f" {json.dumps(name)}: {entry}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def contact_sheet_of(photos: Sequence[Path], pictures: Sequence[tuple[dict[str, Any], Path]]) -> bytes:
    """A JPEG of a row's pictures under their photos; where the judge was wrong the caption says how.

    Args:
        pictures: what was measured of each, and its file: style by style, in the order of the photos.
    """
    styles = [pictures[first : first + len(photos)] for first in range(0, len(pictures), len(photos))]
    blocks = min(BLOCKS, len(styles))
    lines = [[("photo", opened(path)) for path in photos] * blocks]
    for first in range(0, len(styles), blocks):
        some = [each for style in styles[first : first + blocks] for each in style]
        lines.append([(caption_of(picture), opened(file)) for picture, file in some])
    return as_jpeg(contact_sheet(lines, SHEET_SIDE), SHEET_BYTES)


def caption_of(picture: dict[str, Any]) -> str:
    """The style, and under it what the judge took the picture for if that is another one."""
    wrong = "" if picture["place"] == 1 else f"taken for {picture['taken_for']}"
    return f"{picture['style']}\n{wrong}"


def opened(path: Path) -> Image.Image:
    """A small copy of a picture file; the full size of all would need a lot of memory."""
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((2 * SHEET_SIDE, 2 * SHEET_SIDE))
    return small
