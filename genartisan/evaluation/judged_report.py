"""The report of the judged table: its rows, its aims, and the two fast presets style by style."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genartisan.evaluation.report import RELATIONS, UNITS, Target, about_judge, aims, origin
from genartisan.io.documents import Block, Heading, Picture, Table, Text

SIDE = 384  # pixels, the long side at which edges and people are compared, whatever the size of the picture
COLUMNS = {
    "top1": ("judge's first", "≥", "%"),
    "top3": ("judge's first three", "≥", "%"),
    "edge_share": ("edge share, median", "≥", "fraction"),
    "edge_share_p10": ("edge share, 10th percentile", "≥", "fraction"),
    "portrait_vgg": ("portrait, VGG distance", "≤", "fraction"),
    "portrait_ssim": ("portrait, SSIM", "≥", "fraction"),
}  # measures of a row: label, how a better value relates to a worse one, unit
AIMS = (
    ("fast", "top1", 0.75), ("fast", "edge_share", 0.40), ("fast", "edge_share_p10", 0.34),
    ("draft", "top1", 0.55), ("draft", "edge_share", 0.38),
)  # fmt: skip
PORTRAIT_RATIO = 0.5  # of portrait distances, to clipstyler mode's
CALLED_PERSON = 0.03  # of the pixels of a photo without people
BUNDLE_MEGABYTES = 12
BY_STYLE = ("draft", "fast")  # rows that have a table style by style


def targets(results: dict[str, Any]) -> list[Target]:
    """The aims for the presets, the regions and the bundle."""
    rows, without = results["rows"], [photo for photo in results["photos"] if photo["people"] is False]
    called = max((photo["called_person"] for photo in without), default=None)
    of_rows = []
    for name, column, limit in AIMS:
        label, relation, unit = COLUMNS[column]
        of_rows.append(Target(f"{name}: {label}", rows.get(name, {}).get(column), relation, limit, unit))
    baseline = rows.get("clipstyler")
    made = "" if baseline is None else f" ({baseline['size']} px, {baseline['steps']} steps)"
    for name in BY_STYLE:
        what = f"{name}: portrait, VGG distance over clipstyler's{made}, same photos and styles"
        of_rows.append(Target(what, portrait_ratio(results["pictures"], name), "≤", PORTRAIT_RATIO))
    worse = worse_columns(rows.get("fast"), rows.get("draft"))
    where = f": {', '.join(worse)}" if worse else ""
    return [
        *of_rows,
        Target(
            f"Columns in which fast is worse than draft{where}",
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


def placed(pictures: Sequence[dict[str, Any]], within: int) -> int:
    """The number of pictures with the right style among the judge's first ``within``."""
    return sum(picture["place"] <= within for picture in pictures)


def blocks_of(results: dict[str, Any], sheets: Mapping[str, Path]) -> list[Block]:
    """The whole document; ``sheets`` are the pictures of each row in one file."""
    photos = results["photos"]
    called = ", ".join(f"{each['photo']} {each['called_person']:.1%}" for each in photos)
    return [
        *origin("Evaluation", results),
        row_table(results),
        *reductions(results),
        Text(
            "draft, fast and paper are the presets; clipstyler is paper in clipstyler mode, the baseline. "
            f"{about_judge(results['judge'])} A plain photo is one of its classes. Edge share: how much of a "
            "background's edges lies on the quarter of it with the photo's strongest edges; chance is 0.25, a photo "
            "against itself has about 0.55 to 0.8. Portraits are compared with the photo: less VGG distance and more "
            f"SSIM are better. Both are measured at {SIDE} px."
        ),
        *aims(targets(results)),
        Text(f"Pixels called a person: {called}. What is known of CLIP and FCN alone is in the model card."),
        Heading("Seconds a picture"),
        seconds_table(results["rows"]),
        Text(
            f"From the reports of the pictures; up to {results['processes']} pictures were made side by side, "
            "and beside whatever else the machine did."
        ),
        *style_table(results),
        Heading("The pictures"),
        Text("Every style over every photo."),
        *(Picture(sheet, name) for name, sheet in sheets.items()),
    ]


def row_table(results: dict[str, Any]) -> Table:
    """How the pictures of each row were made, and what was measured of them."""
    labels = (label[0].upper() + label[1:] for label, _, _ in COLUMNS.values())
    lines = []
    for name, row in results["rows"].items():
        patches = row["patches"] if row["steps"] else "–"
        made = (name, f"{row['size']} px", row["steps"], patches, f"{len(results['photos'])} × {row['styles']}")
        measures = ("–" if row[c] is None else UNITS[unit].format(row[c]) for c, (_, _, unit) in COLUMNS.items())
        lines.append(tuple(map(str, (*made, *measures))))
    return Table(("", "Size", "Steps", "Patches", "Photos × styles", *labels), tuple(lines))


def reductions(results: dict[str, Any]) -> list[Block]:
    """A sentence for each row that has less than its preset."""
    sentences = list[Block]()
    for name, pairs in results["reductions"].items():
        less = ", ".join(f"{field} {actual} instead of {full}" for field, (actual, full) in pairs.items())
        sentences.append(Text(f"Reduced: {name} has {less}."))
    return sentences


def seconds_table(rows: dict[str, Any]) -> Table:
    """How long a picture of each row took, in all and by phase."""
    lines = []
    for name, row in rows.items():
        phases = ", ".join(f"{phase} {value:.2f}" for phase, value in row["seconds"].items() if phase != "total")
        lines.append((name, f"{row['seconds']['total']:.2f}", phases, "; ".join(row["made_on"])))
    return Table(("", "Median", "Of each phase", "Made on"), tuple(lines))


def style_table(results: dict[str, Any]) -> list[Block]:
    """The rows of `BY_STYLE`, style by style: how often the judge is right, and what it takes pictures for instead."""
    names, of = [name for name in BY_STYLE if name in results["rows"]], len(results["photos"])
    if not names:
        return []
    pictures = {name: [picture for picture in results["pictures"] if picture["row"] == name] for name in names}
    columns = ["Prompt"]
    for name in names:
        columns += [f"{name}: first / among three, of {of}", f"{name}: taken for"]
    styles = dict.fromkeys(picture["style"] for name in names for picture in pictures[name])
    mistaken = {picture["style"] for name in names for picture in pictures[name] if picture["place"] > 1}
    lines = tuple(
        (results["prompts"][style], *(cell for name in names for cell in style_cells(pictures[name], style)))
        for style in styles
        if style in mistaken
    )
    rest = ", ".join(results["prompts"][style] for style in styles if style not in mistaken)
    always = [Text(f"First in every picture: {rest}.")] if rest else []
    return [Heading("Style by style"), *([Table(tuple(columns), lines)] if lines else []), *always]


def style_cells(pictures: Sequence[dict[str, Any]], style: str) -> tuple[str, str]:
    """How often a style came first and among the first three, and what it was taken for instead."""
    of_style = [picture for picture in pictures if picture["style"] == style]
    others = Counter(picture["taken_for"] for picture in of_style if picture["taken_for"] != style)
    mistakes = ", ".join(f"{name} ({times})" for name, times in others.most_common())
    return f"{placed(of_style, 1)} / {placed(of_style, 3)}", mistakes
