"""``genartisan evaluate``: makes the pictures of a study, measures them and writes its report.

Pictures and measures stay in a working folder, so an interrupted evaluation resumes where it stopped.
"""

from __future__ import annotations

from typing import Any, Protocol

from genartisan.errors import InputError
from genartisan.evaluation.comparison import Comparison
from genartisan.evaluation.jobs import Job, make_all
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.judged_table import JudgedTable
from genartisan.evaluation.provenance import provenance
from genartisan.evaluation.report import Target
from genartisan.evaluation.settings import ModeComparison, Settings
from genartisan.validation import shown


class Study(Protocol):
    """A kind of evaluation. It is made before any picture, so that bad input is refused at once."""

    @property
    def jobs(self) -> list[Job]:
        """The pictures to make."""

    def measure(self) -> dict[str, Any]:
        """The results, once the pictures are made."""

    def targets(self, results: dict[str, Any]) -> list[Target]:
        """What was aimed at, and what was reached."""

    def write(self, results: dict[str, Any]) -> None:
        """Writes the report and its pictures."""


def evaluate(settings: Settings) -> dict[str, Any]:
    """Makes and measures the pictures, writes the report and returns the results.

    Raises:
        InputError: a photo cannot be read, CLIP cannot read a style, or the judge does not know one.
        BundleError: the bundle or the judge is missing or damaged.
    """
    judge = load_judge(settings)
    stylizer = settings.spec.load()
    origin = provenance(settings.command, stylizer.device, settings.seed)
    study: Study
    if isinstance(settings.study, ModeComparison):
        study = Comparison(settings, settings.study, stylizer, judge)
    else:
        assert judge is not None  # Settings refuses judged rows without one
        study = JudgedTable(settings, settings.study, stylizer, judge)
    made = make_all(study.jobs, settings.work, settings.spec, processes=settings.processes, resume=settings.resume)
    results = {**origin, "made": made, "processes": settings.processes, **study.measure()}
    results["targets"] = [target.as_dict() for target in study.targets(results)]
    study.write(results)
    return results


def load_judge(settings: Settings) -> Judge | None:
    """The judge, if there is one.

    Raises:
        InputError: it does not know one of the styles.
    """
    if settings.judge is None:
        return None
    judge = Judge.load(settings.judge)
    for style in settings.study.styles:
        if style not in judge.classes:
            known = ", ".join(name for name in judge.classes if name != "photo")
            raise InputError(
                f"styles has {shown(style)}, which the judge does not know; give some of: {known}; or compare modes "
                "without --judge.",
                "styles",
            )
    return judge
