"""The flags of `evaluate`, of which some are for the judge alone and some for a comparison."""

from __future__ import annotations

import argparse
from pathlib import Path

from genartisan.cli.flags import add_graphs_flag, number
from genartisan.config import PRESETS, StyleConfig
from genartisan.errors import InputError

COMPARISON_FLAGS = {"preset": "fast", "size": None, "steps": None, "scenes": None, "ablation": None}  # with defaults
JUDGE_FLAGS = dict.fromkeys(("rows", "paper_size", "paper_steps", "paper_patches", "paper_styles"))


def add_evaluation_flags(parser: argparse.ArgumentParser) -> None:
    """What to compare or judge, and where the results go."""
    parser.add_argument("photo", nargs="*", type=Path, metavar="PHOTO", help="to be made in both modes; put them first")
    parser.add_argument(
        "-o", "--output", metavar="OUT",
        help="a .md file, or a folder (default: docs/comparison.md; of --judge alone docs/evaluation.md)",
    )  # fmt: skip
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keeps the pictures (default: out/comparison or out/evaluation)"
    )
    parser.add_argument(
        "--judge", nargs="?", const="tests/judge", metavar="DIR", help="let a judge name the styles (tests/judge)"
    )
    parser.add_argument(
        "--styles",
        nargs="+",
        metavar="STYLE",
        help="names of styles, or, without a judge, any sentences; all: every style",
    )
    parser.add_argument("--photos", nargs="+", type=Path, metavar="FILE", help="instead of six that come in wheels")
    parser.add_argument("--seed", type=number, default=0)
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="that make pictures (default: 2)")
    parser.add_argument("--resume", action="store_true", help="keep the pictures that are made already")
    add_graphs_flag(parser)

    judged = parser.add_argument_group("with --judge alone")
    judged.add_argument("--rows", nargs="+", metavar="ROW", help="of draft, fast, paper, clipstyler (default: all)")
    for name in ("size", "steps", "patches"):
        help_ = f"{name} of the rows paper and clipstyler, to save time; the report says so"
        judged.add_argument(f"--paper-{name}", type=number, metavar="N", help=help_)
    judged.add_argument("--paper-styles", nargs="+", metavar="STYLE", help="fewer styles for those two rows")

    compared = parser.add_argument_group("of a comparison")
    compared.add_argument(
        "--compare", action="store_true", help="compare both modes; without photos six that come in wheels and scenes"
    )
    compared.add_argument("--scenes", type=int, metavar="N", help="drawn selfies, and as many tour photos")
    compared.add_argument("--ablation", type=int, metavar="N", help="pairs that are compared with controls left out")
    default = COMPARISON_FLAGS["preset"]
    compared.add_argument("--preset", default=default, help=f"{', '.join(PRESETS)} (default: {default})")
    for name in ("size", "steps"):
        compared.add_argument(f"--{name}", type=number, metavar="N", help=StyleConfig.model_fields[name].description)


def check_evaluation_flags(options: argparse.Namespace) -> bool:
    """Whether `evaluate` is to compare both modes; otherwise it is to judge pictures.

    Raises:
        InputError: it is to do neither, or a flag is for the other.
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
