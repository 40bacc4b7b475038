"""What an evaluation found, for people: targets and whether they were reached, style by style, and all pictures."""

from __future__ import annotations

import operator
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from genartisan.sheets import as_jpeg, contact_sheet

SHEET_SIDE = 144  # pixels of a picture on the sheet
SHEET_BYTES = 1_500_000
BLOCKS = 2  # styles in a row of the sheet

UNITS = {"%": "{:.1%}", "MB": "{:.1f} MB", "s": "{:.2f} s", "": "{:.2f}"}
RELATIONS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


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
    """The table of targets."""
    bundle, settings, pictures = results["bundle"], results["settings"], results["pictures"]
    clip = bundle["clip"] or {}
    size, count = settings["config"]["size"], len(pictures)
    seconds = f"One picture, preset `{settings['preset']}`, {size} px, {results['hardware']['threads']} threads"
    made = f"{len(settings['photos'])} photos × {len(settings['styles'])} styles, background"
    starts = results["starts"]["judged"]
    names = {"bundle": "learned", "identity": "identity"} if bundle["learned_start"] else {"identity": "identity"}
    leads = [
        Target(
            f"Total loss at step {starts[0]['step']}, {name} start over random start, median of {len(starts)} pairs",
            median_ratio(starts, start),
            "≤",
            0.8,
        )
        for start, name in names.items()
        if starts
    ]
    return [
        Target("CLIP: held-out drawings whose style's text is the nearest", clip.get("retrieval"), "≥", 0.9, "%"),
        Target("CLIP: sentences in unseen phrases, style understood", clip.get("texts"), "≥", 0.95, "%"),
        Target("CLIP: words in unseen orders, style understood", clip.get("word_orders"), "≥", 0.95, "%"),
        segmentation("held-out drawn scenes", bundle["fcn"].get("drawn_scenes"), 0.85),
        segmentation("the astronaut photo, never trained on", bundle["fcn"].get("astronaut"), 0.75),
        Target(f"Judge names the right style, {made}", placed(pictures, 1) / count, "≥", 0.7, "%"),
        Target("Judge has the right style among its first three", placed(pictures, 3) / count, "≥", 0.85, "%"),
        *leads,
        Target("Bundle on disk", bundle["megabytes"], "≤", 15, "MB"),
        Target("Loading the bundle, PyTorch imported", bundle["seconds_to_load"], "<", 1, "s"),
        Target(seconds, bundle["seconds_to_stylise"], "<", 45, "s"),
    ]


def median_ratio(pairs: Sequence[dict[str, Any]], start: str) -> float:
    """The median over photo-style pairs of a start's loss over that of a random start."""
    return float(statistics.median(pair["ratios"][start] for pair in pairs))


def segmentation(where: str, ious: dict[str, float] | None, limit: float) -> Target:
    """The row of a mean IoU, over people and background; that of the people alone is told too."""
    if ious is None:
        return Target(f"FCN: mean IoU on {where}", None, "≥", limit)
    return Target(f"FCN: mean IoU on {where} (people alone: {ious['person_iou']:.2f})", ious["mean_iou"], "≥", limit)


def placed(pictures: Sequence[dict[str, Any]], within: int) -> int:
    """How many pictures have the right style among the judge's first ones."""
    return sum(picture["place"] <= within for picture in pictures)


def style_rows(pictures: Sequence[dict[str, Any]], styles: Sequence[str]) -> list[str]:
    """A row a style: how often it came first, among the first three, and what it was taken for instead."""
    rows = []
    for style in styles:
        own = [picture for picture in pictures if picture["style"] == style]
        others = Counter(picture["taken_for"] for picture in own if picture["taken_for"] != style)
        mistakes = ", ".join(f"{name} ({times})" for name, times in others.most_common())
        chance = statistics.mean(picture["probability"] for picture in own)
        rows.append(f"| {own[0]['prompt']} | {placed(own, 1)} | {placed(own, 3)} | {chance:.2f} | {mistakes} |")
    return rows


def markdown(results: dict[str, Any], rows: Sequence[Target], sheet: Path) -> str:
    """The whole document; ``sheet`` is where the pictures lie, seen from it."""
    settings, hardware, judge = results["settings"], results["hardware"], results["judge"]
    config, paper, figures = settings["config"], settings["paper_config"], judge["figures"]
    learned, identity = (median_ratio(results["starts"]["paper"], start) for start in ("bundle", "identity"))
    photos = len(settings["photos"])
    compared = (
        "Starts are compared in the judged pictures' own settings, with the same patches for all. With the paper's "
        "learning rate and schedule instead"
        if config["steps"]
        else "A draft has no losses to compare starts by. With the paper's learning rate and schedule"
    )
    return "\n".join([
        "# Evaluation",
        "",
        "Written by the command below; do not edit.",
        "",
        f"    {results['command']}",
        "",
        f"Bundle `{results['bundle']['name']}` ({results['bundle']['sha256'][:12]}), {results['date']}.",
        f"{hardware['processor']}, {hardware['threads']} threads, on {hardware['device']}; {hardware['system']}, "
        f"Python {hardware['python']}, PyTorch {hardware['torch']}.",
        f"Judged pictures: preset `{settings['preset']}`, mode {config['mode']}, {config['size']} px, "
        f"{config['steps']} steps, seed {settings['seed']}.",
        f"Photos: {', '.join(settings['photos'])}.",
        "",
        "| What | Measured | Target | Reached |",
        "|---|---|---|---|",
        *(row.as_row() for row in rows),
        "",
        f"{compared} ({paper['size']} px, {paper['patches']} patches) the medians are "
        f"{learned:.2f} and {identity:.2f}, and no target is set. CLIP is measured on new drawings over photos that no "
        "training saw, and the figures of the FCN are those that its training measured on the weights of the bundle. "
        "Seconds are of one run, with nothing else running and without a warm-up.",
        "",
        "## Style by style",
        "",
        "The judge is a network of another kind than the bundle's CLIP, trained on its own drawings, and used for "
        f"nothing but this table. On held-out drawings it is right {figures['held_out_accuracy']:.1%} of the time. It "
        "sees the background only: people are painted grey. A plain photo is one of its classes.",
        "",
        f"| Prompt | First, of {photos} | Among three, of {photos} | Mean probability | Taken for instead |",
        "|---|---|---|---|---|",
        *style_rows(results["pictures"], settings["styles"]),
        "",
        "## The pictures",
        "",
        f"![Every style over every photo]({sheet.as_posix()})",
        "",
    ])  # fmt: skip


def contact_sheet_of(results: dict[str, Any], photos: Sequence[Path], work: Path) -> bytes:
    """A JPEG of all pictures under their photos, at most 1.5 MB; where the judge was wrong the caption says how."""
    styles = results["settings"]["styles"]
    blocks = min(BLOCKS, len(styles))
    top = [("photo", opened(path)) for path in photos]
    rows = [top * blocks]
    for first in range(0, len(styles), blocks):
        some = styles[first : first + blocks]
        own = [picture for style in some for picture in results["pictures"] if picture["style"] == style]
        rows.append([(caption_of(picture), opened(work / picture["file"])) for picture in own])
    return as_jpeg(contact_sheet(rows, SHEET_SIDE), SHEET_BYTES)


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
