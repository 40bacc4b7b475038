"""The flags of `evaluate`, some of them for the judged table only and some for a comparison, and their settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from genartisan.cli.flags import add_graphs_flag, number
from genartisan.config import PRESETS, StyleConfig, preset
from genartisan.errors import InputError
from genartisan.evaluation import PROCESSES

if TYPE_CHECKING:
    from genartisan.evaluation.settings import JudgedRows, ModeComparison, Settings

COMPARISON_FLAGS = {"preset": "fast", "size": None, "steps": None, "scenes": None, "ablation": None}  # with defaults
JUDGE_FLAGS = dict.fromkeys(("rows", "paper_size", "paper_steps", "paper_patches", "paper_styles"))
EMBEDDED = "embedded"  # the judge that comes with the package


def add_evaluation_flags(parser: argparse.ArgumentParser) -> None:
    """What to compare or judge, and where the results go."""
    parser.add_argument("photo", nargs="*", type=Path, metavar="PHOTO", help="compare both modes on it; before flags")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT",
        help="a .md file, or a folder (default: docs/comparison.md; with --judge alone docs/evaluation.md)",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="stores the pictures (default: out/comparison or out/evaluation)"
    )
    parser.add_argument(
        "--judge",
        nargs="?",
        const=EMBEDDED,
        metavar="DIR",
        help="judge the styles, with another judge than ours if given",
    )
    parser.add_argument(
        "--styles",
        nargs="+",
        metavar="STYLE",
        help="names of styles or, without a judge, any sentences; all: every style",
    )
    parser.add_argument("--photos", nargs="+", type=Path, metavar="FILE", help="instead of six that come inside wheels")
    parser.add_argument("--seed", type=number, default=0)
    help_ = f"that make pictures (default: {PROCESSES})"
    parser.add_argument("--processes", type=int, default=PROCESSES, metavar="N", help=help_)
    parser.add_argument("--resume", action="store_true", help="reuse the pictures that are already made")
    add_graphs_flag(parser)

    judged = parser.add_argument_group("with --judge alone")
    judged.add_argument("--rows", nargs="+", metavar="ROW", help="of draft, fast, paper, clipstyler (default: all)")
    for name in ("size", "steps", "patches"):
        help_ = f"{name} of the rows paper and clipstyler, to save time; the report says so"
        judged.add_argument(f"--paper-{name}", type=number, metavar="N", help=help_)
    judged.add_argument("--paper-styles", nargs="+", metavar="STYLE", help="fewer styles for those two rows")

    compared = parser.add_argument_group("of a comparison")
    compared.add_argument(
        "--compare", action="store_true", help="compare both modes, by default on the photos and scenes"
    )
    compared.add_argument("--scenes", type=int, metavar="N", help="drawn selfies, and as many tour photos")
    compared.add_argument("--ablation", type=int, metavar="N", help="pairs that are also made with controls left out")
    default = COMPARISON_FLAGS["preset"]
    compared.add_argument("--preset", default=default, help=f"{', '.join(PRESETS)} (default: {default})")
    for name in ("size", "steps"):
        compared.add_argument(f"--{name}", type=number, metavar="N", help=StyleConfig.model_fields[name].description)


def check_evaluation_flags(options: argparse.Namespace) -> bool:
    """Whether to compare both modes rather than to make the judged table.

    Raises:
        InputError: neither is chosen, or a flag is for the other.
    """
    compares = bool(options.photo or options.compare)
    if not compares and options.judge is None:
        raise InputError("evaluate has nothing to do; give photos, --compare or --judge.", "judge")
    for name, default in (JUDGE_FLAGS if compares else COMPARISON_FLAGS).items():
        if getattr(options, name) != default:
            remedy = "give --judge alone" if compares else "give photos or --compare, or choose --rows"
            kind = "the judge's table" if compares else "a comparison"
            raise InputError(f"{name} is for {kind}; {remedy}, or leave it out.", name)
    return compares


def evaluation_settings(options: argparse.Namespace, command: str) -> Settings:
    """The settings that the flags give.

    Raises:
        InputError: a package is missing, or a flag is out of range.
    """
    from genartisan.evaluation.photos import EXTRAS, check_extras, default_photos

    compares = check_evaluation_flags(options)
    check_extras({**EXTRAS, "matplotlib": "matplotlib"} if compares else EXTRAS)
    from genartisan.evaluation import judge  # these modules need the extras
    from genartisan.evaluation.jobs import StylizerSpec
    from genartisan.evaluation.settings import Settings
    from genartisan.validation import check_seed

    study = _comparison(options) if compares else _judged_rows(options)
    photos = tuple(dict.fromkeys([*options.photo, *(options.photos or ())]))
    return Settings(
        spec=StylizerSpec(options.bundle, options.device, options.precision, options.graphs),
        study=study,
        photos=photos or default_photos(),
        judge=judge.EMBEDDED if options.judge == EMBEDDED else options.judge and Path(options.judge),
        output=options.output or study.document,
        work=options.work or study.work,
        seed=check_seed(options.seed),
        processes=options.processes,
        resume=options.resume,
        command=command,
    )


def _judged_rows(options: argparse.Namespace) -> JudgedRows:
    from genartisan.evaluation.settings import REDUCIBLE, ROWS, judged_rows

    reduced = {name: getattr(options, f"paper_{name}") for name in (*REDUCIBLE, "styles")}
    return judged_rows(
        options.rows or tuple(ROWS),
        options.styles or ("all",),
        {name: value for name, value in reduced.items() if value is not None},
    )


def _comparison(options: argparse.Namespace) -> ModeComparison:
    from genartisan.evaluation.settings import ABLATION_PAIRS, COMPARED_STYLES, SCENES, ModeComparison, compared_styles

    changes = {name: getattr(options, name) for name in ("size", "steps") if getattr(options, name) is not None}
    return ModeComparison(
        styles=COMPARED_STYLES if options.styles is None else compared_styles(options.styles),
        config=preset(options.preset, changes),
        scenes=(0 if options.photo or options.photos else SCENES) if options.scenes is None else options.scenes,
        ablation=ABLATION_PAIRS if options.ablation is None else options.ablation,
    )
