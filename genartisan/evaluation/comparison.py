"""Both modes side by side: whether the paper's claim holds.

Every photo is made in every style in both modes. All six of the paper's losses are measured of both pictures with the
same crops, besides what is preserved of the people and, with a judge, its verdict on the background.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genartisan.config import StyleConfig, preset_name
from genartisan.evaluation.comparison_measures import Measures, measuring_config
from genartisan.evaluation.comparison_report import blocks_of
from genartisan.evaluation.figures import Figures
from genartisan.evaluation.findings import findings, targets
from genartisan.evaluation.jobs import Job
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.pairs import Entry, Pair, ablated, ablation_pairs, compared
from genartisan.evaluation.photos import Subject, drawn_scenes, segmented
from genartisan.evaluation.preservation import perceptual_distances
from genartisan.evaluation.report import Target, write_copies, write_report
from genartisan.evaluation.settings import ModeComparison, Settings, prompt_of
from genartisan.io.files import sha256
from genartisan.method.stylizer import Stylizer


class Comparison:
    """The study of `ModeComparison`.

    Raises:
        InputError: a photo cannot be read, or CLIP cannot read a style.
    """

    def __init__(self, settings: Settings, study: ModeComparison, stylizer: Stylizer, judge: Judge | None) -> None:
        self.settings, self.study, self.stylizer, self.judge = settings, study, stylizer, judge
        self.subjects = segmented(settings.photos, stylizer, settings.work / "masks")
        self.warnings = prompt_warnings(stylizer, self.subjects[0].photo, study)
        if study.scenes:
            self.subjects += drawn_scenes(study.scenes, study.config.size, settings.seed, settings.work / "scenes")
        pairs = [Pair(subject, style, prompt_of(style)) for subject in self.subjects for style in study.styles]
        self.entries = entries_of(study, pairs, settings.seed)

    @property
    def jobs(self) -> list[Job]:
        return [entry.job for entry in self.entries]

    def measure(self) -> dict[str, Any]:
        settings, config = self.settings, self.study.config
        distances, not_measured = perceptual_distances()
        judge_hash = None if settings.judge is None else sha256(settings.judge / "judge.safetensors")
        measures = Measures(
            settings.spec, self.stylizer, self.judge, judge_hash, distances, config.size, config.contrast
        )  # fmt: skip
        rows = measures.rows(self.entries, settings.work, settings.resume)
        return {
            "bundle": {"name": self.stylizer.bundle.name, "sha256": settings.spec.bundle_hash},
            "settings": {
                "preset": preset_name(config),
                "config": config.model_dump(exclude={"mode"}),
                "measured_with": measuring_config(config.size, "clipstyler").model_dump(exclude={"mode"}),
                "seed": settings.seed,
                "photos": [facts_of(subject) for subject in self.subjects],
                "styles": list(self.study.styles),
                "warnings": self.warnings,
            },
            "judge": None if self.judge is None else self.judge.about.model_dump(include={"figures", "commit", "seed"}),
            "not_measured": not_measured,
            "findings": findings(rows),
            "pictures": rows,
        }

    def targets(self, results: dict[str, Any]) -> list[Target]:
        return targets(results)

    def write(self, results: dict[str, Any]) -> None:
        """Sheets, charts, Markdown, JSON, CSV and HTML, all named after the Markdown file."""
        document = self.settings.document
        photos = {subject.name: subject.photo for subject in self.subjects}
        figures = Figures(document, self.settings.work, photos, self.study.config.contrast)
        blocks = blocks_of(results, figures.draw_all(results["pictures"]))
        write_report(document, blocks, results)
        write_copies(document, blocks, results)


def entries_of(study: ModeComparison, pairs: list[Pair], seed: int) -> list[Entry]:
    """Every picture to make; without a step there is nothing for the controls of an ablation to act on."""
    chosen = ablation_pairs(pairs, study.ablation) if study.config.steps else []
    return [*compared(pairs, study.config, seed), *ablated(chosen, study.config, seed)]


def prompt_warnings(stylizer: Stylizer, photo: Path, study: ModeComparison) -> list[str]:
    """What the bundle's CLIP cannot read of the styles.

    Raises:
        InputError: it reads nothing in one of them.
    """
    warnings = []
    config = StyleConfig(mode="clipstyler", size=study.config.size, steps=1, patches=1)
    for style in study.styles:
        run = stylizer.steps(photo, prompt_of(style), config=config).run
        warnings += [f"{style}: {warning}" for warning in run.warnings if warning.startswith("prompt")]
    return warnings


def facts_of(subject: Subject) -> dict[str, Any]:
    return {
        "photo": subject.photo.name,
        "kind": subject.kind,
        "people": round(subject.people, 4),
        "mask": "exact" if subject.exact else "FCN",
    }
