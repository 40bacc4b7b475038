"""``genartisan evaluate --judge``: one table that says how good a bundle's pictures are, and the sheets that show it.

The pictures stay in a working folder, so that judging them again, or going on after an interruption, costs little.
"""

from __future__ import annotations

import importlib.util
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genartisan.config import StyleConfig, preset
from genartisan.errors import InputError
from genartisan.evaluation.jobs import Job, Machine, make_all
from genartisan.evaluation.judge import Judge
from genartisan.evaluation.measures import Reference, bundle_facts, measure, summary
from genartisan.evaluation.measures import verdict as verdict  # for benchmarks
from genartisan.evaluation.provenance import provenance
from genartisan.evaluation.report import as_json, contact_sheet_of, markdown, targets
from genartisan.io.atomic import write_whole
from genartisan.io.images import read_photo
from genartisan.method.stylizer import Stylizer
from genartisan.method.targets import FeatureExtractor
from genartisan.networks.bundle import sha256
from genartisan.validation import check_seed, shown

EXTRAS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "cv2": "opencv-python-headless"}
PHOTOS = {
    "skimage": ("data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}  # photos that lie in wheels, people and things
PEOPLE = "astronaut.png"  # the only one of them that shows any
OUTPUT, WORK = "docs/evaluation.md", "out/evaluation"
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "draft": ("draft", {}),
    "fast": ("fast", {}),
    "paper": ("paper", {}),
    "clipstyler": ("paper", {"mode": "clipstyler"}),
}  # a preset, and what is changed of it
REDUCIBLE = ("size", "steps", "patches")  # of the rows that are made with the paper's settings


@dataclass(frozen=True)
class Row:
    """A row of the table: all styles over all photos, with the same settings."""

    config: StyleConfig
    styles: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What to evaluate.

    Attributes:
        machine: the bundle and where it runs.
        judge: folder of the judge.
        output: the Markdown file; its JSON lies beside it and its sheets in ``pictures`` beside it.
        work: folder that keeps the pictures and their reports.
        rows: by name; the styles are names of `genartisan.drawing.styles.STYLES`.
        photos: files.
        processes: that make pictures side by side.
        resume: keep the pictures that are made already.
        command: what the reader can type to repeat this.
    """

    machine: Machine
    judge: Path
    output: Path
    work: Path
    rows: Mapping[str, Row]
    photos: tuple[Path, ...]
    seed: int = 0
    processes: int = 2
    resume: bool = False
    command: str = "genartisan evaluate --judge"

    @property
    def styles(self) -> tuple[str, ...]:
        """Those of all rows."""
        return tuple(dict.fromkeys(style for row in self.rows.values() for style in row.styles))

    def jobs(self, name: str) -> list[Job]:
        """The pictures of a row: every style over every photo."""
        row = self.rows[name]
        return [
            Job(f"{name}_{job_name(photo, style)}", photo, style, prompt_of(style), row.config, self.seed)
            for style in row.styles
            for photo in self.photos
        ]


def settings_from(options: Namespace, command: Sequence[str]) -> Settings:
    """The flags of the command line, checked.

    Raises:
        InputError: a package is missing, or a flag is out of range.
    """
    check_extras()
    if options.processes < 1:
        raise InputError(f"processes is {options.processes}; it must be at least 1.", "processes")
    output = Path(options.output or OUTPUT)
    if output.suffix not in ("", ".md"):
        raise InputError(f"output {str(output)!r} ends in {output.suffix}; give a .md file or a folder.", "output")
    reduced = {name: getattr(options, f"paper_{name}") for name in (*REDUCIBLE, "styles")}
    return Settings(
        machine=Machine.chosen(options),
        judge=Path(options.judge),
        output=output if output.suffix else output / Path(OUTPUT).name,
        work=Path(options.work or WORK),
        rows=chosen_rows(
            options.rows or list(ROWS),
            chosen_styles(options.styles or ["all"]),
            {name: value for name, value in reduced.items() if value is not None},
        ),
        photos=tuple(dict.fromkeys(options.photos or default_photos())),
        seed=check_seed(options.seed),
        processes=options.processes,
        resume=options.resume,
        command=shlex.join(command),
    )


def chosen_rows(names: Sequence[str], styles: tuple[str, ...], reduced: Mapping[str, Any]) -> dict[str, Row]:
    """The rows of those names.

    Args:
        reduced: settings, and ``styles``, that the rows with the paper's settings have instead of their own.

    Raises:
        InputError: there is no such row, or a setting is refused.
    """
    for name in names:
        if name not in ROWS:
            raise InputError(f"rows has {shown(name)}; give some of: {', '.join(ROWS)}.", "rows")
    changes = dict(reduced)
    fewer = chosen_styles(changes.pop("styles", styles))
    missing = [style for style in fewer if style not in styles]
    if missing:
        raise InputError(f"paper_styles has {shown(missing[0])}, which --styles leaves out; add it.", "paper_styles")
    if reduced and not any(ROWS[name][0] == "paper" for name in names):
        field = f"paper_{next(iter(reduced))}"
        raise InputError(f"{field} is for the rows paper and clipstyler; add one to --rows, or leave it out.", field)
    chosen = {name: row for name, row in ROWS.items() if name in names}
    return {
        name: Row(preset(base, mode | changes), fewer) if base == "paper" else Row(preset(base, mode), styles)
        for name, (base, mode) in chosen.items()
    }


def evaluate(settings: Settings) -> dict[str, Any]:
    """Measures, writes the Markdown table, the JSON with all results and the contact sheets; returns the results.

    Raises:
        InputError: a photo cannot be read, or the judge does not know a style.
        BundleError: the bundle or the judge is missing or damaged.
    """
    judge = Judge.load(settings.judge)
    unknown = [style for style in settings.styles if style not in judge.classes]
    if unknown:
        raise InputError(f"styles has {shown(unknown[0])}, which this judge does not know; train it again.", "styles")
    stylizer = settings.machine.stylizer()
    origin = provenance(settings.command, stylizer.device, settings.seed)
    references = {path: reference(path, stylizer) for path in settings.photos}
    if any(bool(each.regions.portrait.all()) for each in references.values()):
        raise InputError("photos holds one that shows nothing but people; the judge looks at backgrounds.", "photos")

    jobs = {name: settings.jobs(name) for name in settings.rows}
    made = make_all(
        [job for of_row in jobs.values() for job in of_row],
        settings.work,
        settings.machine,
        processes=settings.processes,
        resume=settings.resume,
    )
    extractor = FeatureExtractor(stylizer.bundle, stylizer.dtype)
    pictures, rows = list[dict[str, Any]](), {}
    for name, row in settings.rows.items():
        bar = tqdm(jobs[name], unit="picture", desc=f"measures of {name}")
        of_row = [{"row": name, **measure(job, settings.work, references[job.photo], judge, extractor)} for job in bar]
        rows[name] = summary(row.config, of_row, [job.report(settings.work) for job in jobs[name]])
        pictures += of_row
    results = {
        **origin,
        "made": made,
        "processes": settings.processes,
        "bundle": bundle_facts(settings.machine, stylizer),
        "judge": {"classes": len(judge.classes), **judge.about.model_dump(include={"figures", "commit", "seed"})},
        "photos": [
            {"photo": path.name, "people": each.people, "called_person": round(each.called_person, 4)}
            for path, each in references.items()
        ],
        "prompts": {style: prompt_of(style) for style in settings.styles},
        "configs": {name: row.config.model_dump() for name, row in settings.rows.items()},
        "reductions": reductions(settings),
        "rows": rows,
        "pictures": pictures,
    }
    write(settings, results)
    return results


def reference(path: Path, stylizer: Stylizer) -> Reference:
    """A photo to measure pictures against; of those in the wheels it is known which one shows people."""
    photo = read_photo(path)
    return Reference(photo, stylizer.regions(photo), path.name == PEOPLE if path in default_photos() else None)


def reductions(settings: Settings) -> dict[str, dict[str, list[int]]]:
    """What rows have less of than their presets, or of styles than other rows: how much, and instead of how much."""
    found = {}
    for name, row in settings.rows.items():
        full = preset(*ROWS[name])
        pairs = {field: [getattr(row.config, field), getattr(full, field)] for field in REDUCIBLE}
        pairs["styles"] = [len(row.styles), len(settings.styles)]
        found[name] = {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
    return {name: pairs for name, pairs in found.items() if pairs}


def job_name(photo: Path, style: str) -> str:
    """A file name for a pair; two photos of one name differ in their hashes."""
    return f"{photo.stem}_{sha256(photo)[:6]}_{style.replace(' ', '_')}"


def prompt_of(style: str) -> str:
    """The sentence that asks for a style: the first of its captions, which is its common name."""
    from genartisan.drawing.captions import CAPTIONS

    return CAPTIONS[style][0]


def write(settings: Settings, results: dict[str, Any]) -> None:
    """The Markdown file, its JSON and a sheet for each row, all named after it."""
    output = settings.output
    folder = output.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {}
    for name in settings.rows:
        sheet = folder / f"{output.stem}-{name}.jpg"
        pictures = [picture for picture in results["pictures"] if picture["row"] == name]
        files = [job.picture(settings.work) for job in settings.jobs(name)]
        write_whole(sheet, contact_sheet_of(settings.photos, list(zip(pictures, files, strict=True))))
        sheets[name] = sheet.relative_to(output.parent)
    aims = targets(results)
    results["targets"] = [aim.as_dict() for aim in aims]
    write_whole(output.with_suffix(".json"), as_json(results))
    write_whole(output, markdown(results, aims, sheets))


def check_extras(needed: Mapping[str, str] = EXTRAS) -> None:
    """Refuses where packages are missing; by default those that hold the photos and draw the styles.

    Args:
        needed: packages by their modules.

    Raises:
        InputError: one is missing.
    """
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"evaluate needs {', '.join(missing)}, not installed; get it with: pip install 'genartisan[train]'."
        )


def default_photos() -> tuple[Path, ...]:
    """The six real photos that lie inside the wheels of scikit-image and scikit-learn."""
    found = []
    for module, names in PHOTOS.items():
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise InputError(f"photos of {EXTRAS[module]} are wanted, which is not installed; give --photos.", "photos")
        found += [Path(spec.origin).parent / name for name in names]
    return tuple(found)


def chosen_styles(names: Sequence[str]) -> tuple[str, ...]:
    """The styles of those names, or every one for ``all``.

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
