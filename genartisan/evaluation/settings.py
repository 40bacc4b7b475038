"""What to evaluate, checked: the judged table of a bundle's presets, or a comparison of both modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from genartisan.config import StyleConfig, preset
from genartisan.drawing.captions import CAPTIONS
from genartisan.errors import InputError
from genartisan.evaluation import PROCESSES
from genartisan.evaluation.jobs import StylizerSpec
from genartisan.method.text import by_region
from genartisan.networks.factory import VOC_CLASSES
from genartisan.validation import BACKGROUND, PORTRAIT, check_prompt, shown

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "draft": ("draft", {}),
    "fast": ("fast", {}),
    "paper": ("paper", {}),
    "clipstyler": ("paper", {"mode": "clipstyler"}),
}  # a preset, and what is changed in it
REDUCIBLE = ("size", "steps", "patches")  # in the rows with the paper's settings
COMPARED_STYLES = (
    "the starry night by vincent van gogh", "the scream by edvard munch",
    "the great wave off kanagawa by katsushika hokusai", "fire", "watercolor painting", "sketch with black pencil",
    "mosaic tiles", "neon light",
)  # fmt: skip  # the paper's three, and five that are far from them and from one another
SCENES = 4  # drawn selfies, and as many tour photos, where no photos are given
ABLATION_PAIRS = 4


@dataclass(frozen=True)
class Row:
    """A row of the judged table: every photo in every style with the same settings."""

    config: StyleConfig
    styles: tuple[str, ...]


@dataclass(frozen=True)
class JudgedRows:
    """The rows of the judged table by name; the styles are names of `genartisan.drawing.styles.STYLES`."""

    document: ClassVar = Path("docs/evaluation.md")
    work: ClassVar = Path("out/evaluation")
    rows: Mapping[str, Row]

    @property
    def styles(self) -> tuple[str, ...]:
        """Those of all rows."""
        return tuple(dict.fromkeys(style for row in self.rows.values() for style in row.styles))

    def reductions(self) -> dict[str, dict[str, list[int]]]:
        """By row, the settings and styles that it has fewer of than its preset or the other rows: [actual, full]."""
        reduced = {}
        for name, row in self.rows.items():
            full = preset(*ROWS[name])
            pairs = {field: [getattr(row.config, field), getattr(full, field)] for field in REDUCIBLE}
            pairs["styles"] = [len(row.styles), len(self.styles)]
            reduced[name] = {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
        return {name: pairs for name, pairs in reduced.items() if pairs}


@dataclass(frozen=True)
class ModeComparison:
    """Both modes side by side.

    Attributes:
        styles: sentences, or names of `genartisan.drawing.styles.STYLES`; a judge has to know them.
        config: the settings of the pictures, in either mode.
        scenes: drawn selfies, and as many drawn tour photos, besides the photos.
        ablation: number of pairs that are also made with controls left out.
    """

    document: ClassVar = Path("docs/comparison.md")
    work: ClassVar = Path("out/comparison")
    styles: tuple[str, ...]
    config: StyleConfig
    scenes: int = 0
    ablation: int = ABLATION_PAIRS

    def __post_init__(self) -> None:
        check_least(self, scenes=0, ablation=0)


@dataclass(frozen=True)
class Settings:
    """What to evaluate.

    Attributes:
        spec: the bundle and where it runs.
        study: what is made and measured.
        photos: files; FCN segments their people.
        judge: folder of the judge; None, in a comparison only: no verdicts.
        output: the Markdown file, or a folder for it; its other files lie beside it, its pictures in ``pictures``.
        work: folder of the pictures, their reports and measures.
        processes: that make pictures side by side.
        resume: reuse the pictures and measures in ``work``.
        command: what to type to repeat this.

    Raises:
        InputError: a value is out of range.
    """

    spec: StylizerSpec
    study: JudgedRows | ModeComparison
    photos: tuple[Path, ...]
    judge: Path | None
    output: Path
    work: Path
    seed: int = 0
    processes: int = PROCESSES
    resume: bool = False
    command: str = "genartisan evaluate"

    def __post_init__(self) -> None:
        check_least(self, processes=1)
        if self.judge is None and isinstance(self.study, JudgedRows):
            raise InputError("judge is missing; the judged table needs one.", "judge")
        if self.output.suffix not in ("", ".md"):
            raise InputError(
                f"output {str(self.output)!r} ends in {self.output.suffix}; give a .md file or a folder.", "output"
            )

    @property
    def document(self) -> Path:
        """The Markdown file."""
        return self.output if self.output.suffix else self.output / self.study.document.name


def check_least(settings: Settings | ModeComparison, **least: int) -> None:
    for name, limit in least.items():
        if (value := getattr(settings, name)) < limit:
            raise InputError(f"{name} is {value}; it must be at least {limit}.", name)


def judged_rows(
    names: Sequence[str] = tuple(ROWS), styles: Sequence[str] = ("all",), reduced: Mapping[str, Any] | None = None
) -> JudgedRows:
    """The rows of those names in those styles.

    Args:
        reduced: settings, and ``styles``, that the rows with the paper's settings have instead of their own.

    Raises:
        InputError: there is no such row or style, or a setting is refused.
    """
    for name in names:
        if name not in ROWS:
            raise InputError(f"rows has {shown(name)}; give some of: {', '.join(ROWS)}.", "rows")
    all_styles, changes = drawn_styles(styles), dict(reduced or {})
    if changes and not any(ROWS[name][0] == "paper" for name in names):
        field = f"paper_{next(iter(changes))}"
        raise InputError(f"{field} is for the rows paper and clipstyler; add one to --rows, or leave it out.", field)
    paper_styles = drawn_styles(changes.pop("styles", all_styles))
    missing = [style for style in paper_styles if style not in all_styles]
    if missing:
        raise InputError(f"paper_styles has {shown(missing[0])}, which --styles leaves out; add it.", "paper_styles")
    rows = {}
    for name, (base, mode) in ROWS.items():
        if name in names:
            paper = base == "paper"
            rows[name] = Row(preset(base, mode | changes if paper else mode), paper_styles if paper else all_styles)
    return JudgedRows(rows)


def drawn_styles(names: Sequence[str]) -> tuple[str, ...]:
    """Styles by name, or every one for ``all``.

    Raises:
        InputError: a name is no style.
    """
    from genartisan.drawing.styles import STYLES

    if list(names) == ["all"]:
        return tuple(STYLES)
    for name in names:
        if name not in STYLES:
            raise InputError(f"styles has {shown(name)}; give all or some of: {', '.join(STYLES)}.", "styles")
    return tuple(dict.fromkeys(names))


def compared_styles(names: Sequence[str]) -> tuple[str, ...]:
    """Style names or sentences, or every drawn style for ``all``.

    Raises:
        InputError: one is no prompt, or has parts for regions.
    """
    if list(names) == ["all"]:
        return drawn_styles(names)
    try:
        styles = tuple(dict.fromkeys(check_prompt(name) for name in names))
        regional = [style for style in styles if by_region(style, {BACKGROUND, PORTRAIT, *VOC_CLASSES[1:]})]
    except InputError as error:
        raise InputError(f"styles has an invalid prompt: {error.message}", "styles") from error
    if regional:
        raise InputError(f"styles has {shown(regional[0])}; give styles of the whole photo, not of regions.", "styles")
    return styles


def prompt_of(style: str) -> str:
    """The prompt for a style: the common name of a drawn one, which is its first caption, or else the style itself."""
    return CAPTIONS[style][0] if style in CAPTIONS else style
