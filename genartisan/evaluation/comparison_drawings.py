"""Which sheets and charts a comparison has, and what each of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genartisan.evaluation import comparison_charts as charts
from genartisan.evaluation import comparison_sheets
from genartisan.evaluation.comparison_findings import medians_by_setting, of_kind, pairs_of
from genartisan.evaluation.comparison_jobs import ALL, CONTROLS, GLOBAL_ABLATION, NONE
from genartisan.evaluation.comparison_measures import Row

KINDS = {
    "selfies": ("selfie", "Selfies", (8, 9)),
    "tour": ("tour photo", "Tour photos", (10, 11)),
    "none": ("no people", "Photos without people", None),
}  # in a file's name: the kind, its name, and the paper's figures of it


@dataclass(frozen=True)
class Drawing:
    """Where sheets and charts come from and go to.

    Attributes:
        output: the document; they lie in ``pictures`` beside it and are named after it.
        work: folder of the pictures.
        photos: their files, by their subjects in the rows.
        contrast: of the pictures as they are shown.
    """

    output: Path
    work: Path
    photos: dict[str, Path]
    contrast: float

    def file(self, name: str) -> Path:
        return self.output.parent / "pictures" / f"{self.output.stem}-{name}"


def draw_all(rows: Sequence[Row], drawing: Drawing) -> dict[str, tuple[Path, str]]:
    """Draws every sheet and chart; their files and captions by name."""
    drawn = {**drawn_of_kinds(rows, drawing), **drawn_of_ablation(rows, drawing)}
    if with_people := of_kind(pairs_of(rows), "selfie", "tour photo"):
        file = drawing.file("preservation.png")
        charts.preservation_chart(with_people, file)
        words = f"What is kept of people and background: means and deviations over {len(with_people)} pairs."
        drawn["preservation"] = file, words
    return drawn


def drawn_of_kinds(rows: Sequence[Row], drawing: Drawing) -> dict[str, tuple[Path, str]]:
    """For each kind of photo that there is: the sheet, and of those with people the losses."""
    drawn: dict[str, tuple[Path, str]] = {}
    for name, (kind, many, figures) in KINDS.items():
        own = of_kind(pairs_of(rows), kind)
        if not own:
            continue
        file = drawing.file(f"{name}.jpg")
        comparison_sheets.comparison_sheet(own, drawing.photos, drawing.work, drawing.contrast, file)
        drawn[name] = file, f"{many}: clipstyler mode above, artisan mode below (after figure 12)."
        if figures is None:
            continue
        lines, bars = drawing.file(f"lines-{name}.png"), drawing.file(f"bars-{name}.png")
        charts.line_chart(own, f"{many}: losses by style", lines)
        charts.bar_chart(own, f"{many}: mean losses", bars)
        words = f"{many}: each loss by style, the mean over the photos and a dot for each (after figure {figures[0]})."
        drawn[f"lines-{name}"] = lines, words
        words = f"{many}: the mean of each loss and its deviation over {len(own)} pairs (after figure {figures[1]})."
        drawn[f"bars-{name}"] = bars, words
    return drawn


def drawn_of_ablation(rows: Sequence[Row], drawing: Drawing) -> dict[str, tuple[Path, str]]:
    """The ablation's chart and its two sheets; nothing where no pair was taken apart."""
    medians = medians_by_setting(rows, list(charts.ABLATION_PANELS))
    if not medians:
        return {}
    chart = drawing.file("ablation.png")
    charts.ablation_chart(medians, chart)
    controls = (NONE, *(f"{c} alone" for c in CONTROLS.values()), ALL, *(f"all but {c}" for c in CONTROLS.values()))
    drawn = {"ablation": (chart, "The ablation: medians over the pairs.")}
    for name, settings, words in (
        ("ablation-global", GLOBAL_ABLATION, "With and without the global loss, in both modes (after figure 7)."),
        ("ablation-controls", controls, "The four patch controls: none, each alone, all, and all but each."),
    ):
        file = drawing.file(f"{name}.jpg")
        comparison_sheets.ablation_sheet(rows, settings, drawing.photos, drawing.work, drawing.contrast, file)
        drawn[name] = file, words
    return drawn
