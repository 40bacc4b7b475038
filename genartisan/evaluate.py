"""``genartisan evaluate --judge``: measures a bundle and the pictures it makes, and writes what it found.

The pictures stay in a working folder, so that judging them again, or going on after an interruption, costs little.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from torch import Tensor

from genartisan.bundle import sha256
from genartisan.checks import shown
from genartisan.config import StyleConfig, from_params, preset_name
from genartisan.errors import InputError
from genartisan.evaluation_jobs import Job, Machine, make_all
from genartisan.evaluation_measures import clip_figures, hardware, megabytes, seconds_to_load, seconds_to_stylise
from genartisan.evaluation_report import contact_sheet_of, markdown, targets
from genartisan.images import read_photo
from genartisan.judge import Judge
from genartisan.stylizer import Stylizer

EXTRAS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "cv2": "opencv-python-headless"}
PHOTOS = {
    "skimage": ("data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}  # photos that lie in wheels, people and things
OUTPUT, WORK = "docs/evaluation.md", "out/evaluation"
START_PAIRS = 8
START_STEP = 60  # at which the losses of the starts are compared
PAPER_CONFIG = StyleConfig(size=160, steps=START_STEP, patches=16)  # the paper's learning rate and schedule, small
STARTS = ("bundle", "identity", "random")


@dataclass(frozen=True)
class Settings:
    """What to evaluate.

    Attributes:
        machine: the bundle and where it runs.
        judge: folder of the judge.
        output: the Markdown file; its JSON lies beside it and its picture in ``pictures`` beside it.
        work: folder that keeps the pictures and their reports.
        styles: names of `genartisan.embedded.styles.STYLES`.
        photos: files.
        config: the settings of the judged pictures, with which the starts are compared too.
        paper_config: the settings of a second comparison of the starts.
        processes: that make pictures side by side.
        resume: keep the pictures that are made already.
        drawings: held-out drawings that CLIP is measured on.
        command: what the reader can type to repeat this.
    """

    machine: Machine
    judge: Path
    output: Path
    work: Path
    styles: tuple[str, ...]
    photos: tuple[Path, ...]
    config: StyleConfig
    paper_config: StyleConfig = PAPER_CONFIG
    seed: int = 0
    processes: int = 2
    resume: bool = False
    drawings: int = 1088
    command: str = "genartisan evaluate --judge"


def settings_from(options: Namespace, command: Sequence[str]) -> Settings:
    """The flags of the command line, checked.

    Raises:
        InputError: a package is missing, or a flag is out of range.
    """
    check_extras()
    if options.judge is None:
        raise InputError("evaluate has nothing to do; give photos, --compare or --judge.", "judge")
    for name in ("scenes", "ablation"):
        if getattr(options, name) is not None:
            raise InputError(f"{name} is for a comparison; give photos or --compare, or leave it out.", name)
    if options.processes < 1:
        raise InputError(f"processes is {options.processes}; it must be at least 1.", "processes")
    output = Path(options.output or OUTPUT)
    if output.suffix not in ("", ".md"):
        raise InputError(f"output {str(output)!r} ends in {output.suffix}; give a .md file or a folder.", "output")
    params = {name: getattr(options, name) for name in ("preset", "seed", "size", "steps")}
    config, seed = from_params({name: value for name, value in params.items() if value is not None})
    return Settings(
        machine=Machine.chosen(options),
        judge=Path(options.judge),
        output=output if output.suffix else output / Path(OUTPUT).name,
        work=Path(options.work or WORK),
        styles=chosen_styles(options.styles or ["all"]),
        photos=tuple(options.photos or default_photos()),
        config=config,
        seed=seed,
        processes=options.processes,
        resume=options.resume,
        command=shlex.join(command),
    )


def evaluate(settings: Settings) -> dict[str, Any]:
    """Measures, writes the Markdown table, the JSON with all results and the contact sheet; returns the results.

    Raises:
        InputError: a photo cannot be read, or the judge does not know a style.
        BundleError: the bundle or the judge is missing or damaged.
    """
    judge = Judge.load(settings.judge)
    unknown = [style for style in settings.styles if style not in judge.classes]
    if unknown:
        raise InputError(f"styles has {shown(unknown[0])}, which this judge does not know; train it again.", "styles")
    stylizer = settings.machine.stylizer()
    photos = {path: stylizer.regions(read_photo(path)) for path in settings.photos}
    if any(bool(regions.portrait.all()) for regions in photos.values()):
        raise InputError("photos holds one that shows nothing but people; the judge looks at backgrounds.", "photos")

    pictures = picture_jobs(settings)
    starts = {
        "judged": start_jobs(settings, settings.config) if settings.config.steps else [],  # or there are no losses
        "paper": start_jobs(settings, settings.paper_config, "paper_"),
    }
    of_starts = [job for pairs in starts.values() for pair in pairs for job in pair]
    made = make_all(
        list(dict.fromkeys([*pictures, *of_starts])),
        settings.work,
        settings.machine,
        processes=settings.processes,
        resume=settings.resume,
    )
    verdicts = []
    for job in pictures:
        picture = read_photo(job.picture(settings.work))
        verdicts.append(verdict(judge, job, picture.pixels, ~photos[job.photo].resized(picture.size).portrait))
    results = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "command": settings.command,
        "hardware": hardware(stylizer.device),
        "made": made,
        "settings": {
            "preset": preset_name(settings.config),
            "config": settings.config.model_dump(),
            "paper_config": settings.paper_config.model_dump(exclude={"start"}),
            "seed": settings.seed,
            "photos": [path.name for path in settings.photos],
            "styles": list(settings.styles),
        },
        "judge": {"classes": len(judge.classes), **judge.about.model_dump(include={"figures", "commit", "seed"})},
        "bundle": bundle_facts(settings, stylizer),
        "pictures": verdicts,
        "starts": {name: [compared(pair, settings.work) for pair in pairs] for name, pairs in starts.items()},
    }
    write(settings, results)
    return results


def bundle_facts(settings: Settings, stylizer: Stylizer) -> dict[str, Any]:
    """What is measured of the bundle itself."""
    photo, prompt = settings.photos[0], prompt_of(settings.styles[0])
    return {
        "name": stylizer.bundle.name,
        "sha256": settings.machine.bundle_hash,
        "megabytes": round(megabytes(settings.machine.bundle), 2),
        "seconds_to_load": round(seconds_to_load(settings.machine), 3),
        "seconds_to_stylise": round(seconds_to_stylise(stylizer, photo, prompt, settings.config, settings.seed), 2),
        "learned_start": stylizer.bundle.learned_start is not None,
        "clip": clip_figures(stylizer.bundle.clip, settings.drawings),
        "fcn": stylizer.bundle.manifest.networks["fcn"].figures,
    }


def picture_jobs(settings: Settings) -> list[Job]:
    """Every style over every photo."""
    return [
        Job(job_name(photo, style), photo, style, prompt_of(style), settings.config, settings.seed)
        for style in settings.styles
        for photo in settings.photos
    ]


def start_jobs(settings: Settings, config: StyleConfig, prefix: str = "") -> list[tuple[Job, ...]]:
    """Up to eight photo-style pairs, spread over all, each from every one of `STARTS`.

    The one that has the judged pictures' own settings is that picture, and not made again.
    """
    pairs = [(photo, style) for style in settings.styles for photo in settings.photos]
    step = max(1, len(pairs) // START_PAIRS) | 1  # odd: it would meet the same few of an even number of photos
    chosen = [pairs[index * step % len(pairs)] for index in range(min(START_PAIRS, len(pairs)))]
    jobs = []
    for photo, style in chosen:
        own = []
        for start in STARTS:
            changed, name = config.updated({"start": start}), job_name(photo, style)
            name = name if changed == settings.config else f"{prefix}start_{start}_{name}"
            own.append(Job(name, photo, style, prompt_of(style), changed, settings.seed))
        jobs.append(tuple(own))
    return jobs


def job_name(photo: Path, style: str) -> str:
    """A file name for a pair; two photos of one name differ in their hashes."""
    return f"{photo.stem}_{sha256(photo)[:6]}_{style.replace(' ', '_')}"


def verdict(judge: Judge, job: Job, picture: Tensor, background: Tensor) -> dict[str, Any]:
    """What the judge takes a picture for, and the place of the right style, 1 being the first."""
    ranking = judge.ranking(picture, background)
    names = [name for name, _ in ranking]
    return {
        "photo": job.photo.name,
        "style": job.style,
        "prompt": job.prompt,
        "file": job.picture(Path()).name,
        "place": names.index(job.style) + 1,
        "taken_for": names[0],
        "first_three": [[name, round(chance, 4)] for name, chance in ranking[:3]],
        "probability": round(dict(ranking)[job.style], 4),
    }


def compared(pair: tuple[Job, ...], work: Path) -> dict[str, Any]:
    """The total losses at `START_STEP`, or at the last step of a shorter run, and what they are of a random start's."""
    histories = [job.report(work)["history"][:START_STEP] for job in pair]
    losses = dict(zip(STARTS, (history[-1]["total"] for history in histories), strict=True))
    ratios = {start: round(loss / losses["random"], 4) for start, loss in losses.items()}
    return {"photo": pair[0].photo.name, "style": pair[0].style, "step": len(histories[0]), **losses, "ratios": ratios}


def prompt_of(style: str) -> str:
    """The sentence that asks for a style: the first of its captions, which is its common name."""
    from genartisan.embedded.captions import CAPTIONS

    return CAPTIONS[style][0]


def write(settings: Settings, results: dict[str, Any]) -> None:
    """The Markdown file, its JSON and its picture; the last two are named after it."""
    output = settings.output
    sheet = output.parent / "pictures" / f"{output.stem}.jpg"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_bytes(contact_sheet_of(results, settings.photos, settings.work))
    rows = targets(results)
    results["targets"] = [row.as_dict() for row in rows]
    output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    output.write_text(markdown(results, rows, sheet.relative_to(output.parent)), encoding="utf-8")


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
    from genartisan.embedded.styles import STYLES

    if list(names) == ["all"]:
        return tuple(STYLES)
    for name in names:
        if name not in STYLES:
            raise InputError(f"styles has {shown(name)}; give all or some of: {', '.join(STYLES)}.", "styles")
    return tuple(dict.fromkeys(names))
