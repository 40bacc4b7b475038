"""``genartisan evaluate PHOTO … --compare``: both modes side by side, and whether the paper's claim holds.

Every photo is made in every style in both modes, and all six of the paper's losses are measured of both pictures by the
same crops; with what is kept of the people and, if there is a judge, what it sees in the background. Pictures and
numbers stay in a working folder, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genartisan.config import StyleConfig, from_params, preset_name
from genartisan.errors import InputError
from genartisan.evaluation import perceptual
from genartisan.evaluation.comparison_drawings import Drawing, draw_all
from genartisan.evaluation.comparison_findings import findings, targets
from genartisan.evaluation.comparison_jobs import Entry, Pair, ablated, ablation_pairs, compared
from genartisan.evaluation.comparison_measures import Measures, columns
from genartisan.evaluation.comparison_report import blocks_of
from genartisan.evaluation.comparison_subjects import Subject, drawn, found_in
from genartisan.evaluation.evaluate import EXTRAS, check_extras, default_photos, prompt_of
from genartisan.evaluation.jobs import Machine, make_all
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.provenance import provenance
from genartisan.evaluation.six_losses import measuring
from genartisan.io.atomic import write_whole
from genartisan.io.documents import as_html, as_markdown
from genartisan.method.stylizer import Stylizer
from genartisan.method.text import by_region
from genartisan.networks.bundle import sha256
from genartisan.networks.factory import VOC_CLASSES
from genartisan.validation import BACKGROUND, PORTRAIT, check_prompt, shown

STYLES = (
    "the starry night by vincent van gogh", "the scream by edvard munch",
    "the great wave off kanagawa by katsushika hokusai", "fire", "watercolor painting", "sketch with black pencil",
    "mosaic tiles", "neon light",
)  # fmt: skip  # the paper's three, and five that are far from them and from one another
SCENES = 4  # selfies, and as many tour photos, that are drawn where no photos are given
ABLATION = 4  # pairs that are taken apart
OUTPUT, WORK = "docs/comparison.md", "out/comparison"


@dataclass(frozen=True)
class Settings:
    """What to compare.

    Attributes:
        machine: the bundle and where it runs.
        output: the Markdown file; CSV, JSON and HTML lie beside it and the pictures in ``pictures`` beside it.
        work: folder that keeps the pictures, their reports and numbers.
        photos: files, whose people FCN finds.
        scenes: selfies, and as many tour photos, that are drawn besides.
        styles: sentences, or names of `genartisan.drawing.styles.STYLES`; with a judge, such as it knows.
        config: the settings of the pictures; the mode is set by the comparison.
        judge: its folder, or None for no verdicts.
        ablation: pairs that are taken apart.
        processes: that make pictures side by side.
        resume: keep the pictures that are made and the numbers that are measured already.
        command: what the reader can type to repeat this.
    """

    machine: Machine
    output: Path
    work: Path
    photos: tuple[Path, ...]
    scenes: int
    styles: tuple[str, ...]
    config: StyleConfig
    judge: Path | None = None
    ablation: int = ABLATION
    seed: int = 0
    processes: int = 2
    resume: bool = False
    command: str = "genartisan evaluate --compare"


def settings_from(options: Namespace, command: Sequence[str]) -> Settings:
    """The flags of the command line, checked.

    Raises:
        InputError: a package is missing, or a flag is out of range.
    """
    check_extras({**EXTRAS, "matplotlib": "matplotlib"})
    for name, least in (("processes", 1), ("scenes", 0), ("ablation", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"{name} is {value}; it must be at least {least}.", name)
    output = Path(options.output or OUTPUT)
    if output.suffix not in ("", ".md"):
        raise InputError(f"output {str(output)!r} ends in {output.suffix}; give a .md file or a folder.", "output")
    params = {name: getattr(options, name) for name in ("preset", "seed", "size", "steps")}
    config, seed = from_params({name: value for name, value in params.items() if value is not None})
    photos = tuple(dict.fromkeys([*options.photo, *(options.photos or ())]))
    scenes = options.scenes if options.scenes is not None else 0 if photos else SCENES
    return Settings(
        machine=Machine.chosen(options),
        output=output if output.suffix else output / Path(OUTPUT).name,
        work=Path(options.work or WORK),
        photos=photos or default_photos(),
        scenes=scenes,
        styles=chosen_styles(options.styles),
        config=config,
        judge=None if options.judge is None else Path(options.judge),
        ablation=ABLATION if options.ablation is None else options.ablation,
        seed=seed,
        processes=options.processes,
        resume=options.resume,
        command=shlex.join(command),
    )


def chosen_styles(names: Sequence[str] | None) -> tuple[str, ...]:
    """The styles of those names or sentences; None for `STYLES`, ``all`` for every style that is drawn.

    Raises:
        InputError: one is no sentence.
    """
    from genartisan.drawing.styles import STYLES as ALL_STYLES

    if names is None:
        return STYLES
    if list(names) == ["all"]:
        return tuple(ALL_STYLES)
    try:
        styles = tuple(dict.fromkeys(check_prompt(name) for name in names))
        of_regions = [style for style in styles if by_region(style, {BACKGROUND, PORTRAIT, *VOC_CLASSES[1:]})]
    except InputError as error:
        raise InputError(f"styles holds what is none: {error.message}", "styles") from error
    if of_regions:
        raise InputError(f"styles holds {shown(of_regions[0])}; compare styles that are of the whole photo.", "styles")
    return styles


def compare(settings: Settings) -> dict[str, Any]:
    """Makes and measures all pictures, writes the documents, and returns the results.

    Raises:
        InputError: a photo cannot be read, a style means nothing to the bundle's CLIP, or the judge does not know one.
        BundleError: the bundle or the judge is missing or damaged.
    """
    judge = None if settings.judge is None else loaded_judge(settings.judge, settings.styles)
    stylizer = settings.machine.stylizer()
    origin = provenance(settings.command, stylizer.device, settings.seed)
    subjects = found_in(settings.photos, stylizer, settings.work / "masks")
    warnings = warnings_of(stylizer, subjects[0].photo, settings)
    if settings.scenes:
        subjects += drawn(settings.scenes, settings.config.size, settings.seed, settings.work / "scenes")
    pairs = [Pair(subject, style, sentence(style)) for subject in subjects for style in settings.styles]
    entries = entries_of(settings, pairs)
    made = make_all(
        [entry.job for entry in entries],
        settings.work,
        settings.machine,
        processes=settings.processes,
        resume=settings.resume,
    )
    distances, not_measured = perceptual.distances()
    measures = Measures(
        settings.machine,
        stylizer,
        judge,
        None if settings.judge is None else sha256(settings.judge / "judge.safetensors"),
        distances,
        settings.config.size,
        settings.config.contrast,
    )
    rows = measures.rows(entries, settings.work, settings.resume)
    results = {
        **origin,
        "made": made,
        "bundle": {"name": stylizer.bundle.name, "sha256": settings.machine.bundle_hash},
        "settings": {
            "preset": preset_name(settings.config),
            "config": settings.config.model_dump(exclude={"mode"}),
            "measured_with": measuring(settings.config.size, "clipstyler").model_dump(exclude={"mode"}),
            "seed": settings.seed,
            "photos": [facts_of(subject) for subject in subjects],
            "styles": list(settings.styles),
            "warnings": warnings,
        },
        "judge": None if judge is None else judge.about.model_dump(include={"figures", "commit", "seed"}),
        "not_measured": not_measured,
        "findings": findings(rows),
        "pictures": rows,
    }
    results["targets"] = [target.as_dict() for target in targets(results)]
    write(settings, results, {subject.name: subject.photo for subject in subjects})
    return results


def entries_of(settings: Settings, pairs: Sequence[Pair]) -> list[Entry]:
    """Every picture to make. Without a step there is nothing that the controls could act on."""
    taken_apart = ablation_pairs(pairs, settings.ablation) if settings.config.steps else []
    return [
        *compared(pairs, settings.config, settings.seed),
        *ablated(taken_apart, settings.config, settings.seed),
    ]


def loaded_judge(folder: Path, styles: Sequence[str]) -> Judge:
    """The judge.

    Raises:
        InputError: it does not know one of the styles.
    """
    judge = Judge.load(folder)
    for style in styles:
        if style not in judge.classes:
            known = ", ".join(name for name in judge.classes if name != "photo")
            raise InputError(
                f"styles has {shown(style)}, which this judge does not know; leave out --judge, or "
                f"give some of: {known}.",
                "styles",
            )
    return judge


def sentence(style: str) -> str:
    """What asks for a style: the common name of one that is drawn, else the words themselves."""
    from genartisan.drawing.captions import CAPTIONS

    return prompt_of(style) if style in CAPTIONS else style


def warnings_of(stylizer: Stylizer, photo: Path, settings: Settings) -> list[str]:
    """What the bundle's CLIP cannot read of the styles.

    Raises:
        InputError: it reads nothing in one of them.
    """
    found = []
    config = StyleConfig(mode="clipstyler", size=settings.config.size, steps=1, patches=1)
    for style in settings.styles:
        run = stylizer.steps(photo, sentence(style), config=config).run
        found += [f"{style}: {remark}" for remark in run.warnings if remark.startswith("prompt")]
    return found


def facts_of(subject: Subject) -> dict[str, Any]:
    return {
        "photo": subject.photo.name,
        "kind": subject.kind,
        "people": round(subject.people, 4),
        "mask": "true" if subject.true else "FCN",
    }


def write(settings: Settings, results: dict[str, Any], photos: dict[str, Path]) -> None:
    """Sheets, charts, Markdown, CSV, JSON and HTML; all are named after the Markdown file.

    Args:
        photos: their files, by their subjects in the rows.
    """
    output = settings.output
    (output.parent / "pictures").mkdir(parents=True, exist_ok=True)
    drawing = Drawing(output, settings.work, photos, settings.config.contrast)
    blocks = blocks_of(results, draw_all(results["pictures"], drawing))
    write_whole(output.with_suffix(".json"), json.dumps(results, indent=1) + "\n")
    text = io.StringIO()
    table = csv.DictWriter(text, columns(results["pictures"]), lineterminator="\n")
    table.writeheader()
    table.writerows({name: cell(value) for name, value in row.items()} for row in results["pictures"])
    write_whole(output.with_suffix(".csv"), text.getvalue())
    write_whole(output, as_markdown(blocks, output.parent))
    write_whole(output.with_suffix(".html"), as_html("Artisan mode against clipstyler mode", blocks))


def cell(value: Any) -> Any:
    """A value of the table; what a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
