"""`stylize` and `segment`: the commands that make one picture here."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from genartisan.cli.flags import (
    add_bundle_flag,
    add_device_flags,
    add_graphs_flag,
    add_output_flags,
    add_photo_argument,
    add_request_flags,
    add_stylizer_flags,
    files_read,
    load_stylizer,
    masks_of,
    params_of,
    photo_of,
    style_images_of,
)
from genartisan.cli.outputs import STDOUT, check_outputs, media_type_of, tell, write
from genartisan.config import from_params
from genartisan.validation import PERSON, PORTRAIT


def stylize(options: argparse.Namespace) -> None:
    """PHOTO [TEXT] -o OUT: one picture, with a progress bar."""
    from tqdm import tqdm

    from genartisan.io.images import encode

    config, seed = from_params(params_of(options))
    media_type = media_type_of(options.output, options.format)
    report = [] if options.report is None else [("report", options.report)]
    check_outputs(files_read(options), [("output", options.output), *report], options.overwrite)
    stylizer = load_stylizer(options)
    if not options.quiet:  # a search of style numbers takes a minute with full-size networks
        logging.getLogger("genartisan.method.style_encoder").setLevel(logging.INFO)
    steps = stylizer.steps(
        photo_of(options),
        options.text,
        config=config,
        mask=masks_of(options),
        style_image=style_images_of(options),
        seed=seed,
    )
    with tqdm(total=config.steps, unit="step", disable=options.quiet or not config.steps, file=sys.stderr) as bar:
        for step in steps:
            if bar.update():  # it was drawn: a few times a second. Reading the losses of every step would slow a GPU
                bar.set_postfix({name: f"{value:.4g}" for name, value in step.losses.items()})
    result = steps.result()
    write(options.output, encode(result.image, media_type))
    if options.report is not None:
        write(options.report, (json.dumps(result.report, indent=2) + "\n").encode(), "report")
    for warning in result.report["warnings"]:
        print(f"genartisan: warning: {warning}", file=sys.stderr)
    if options.output not in STDOUT:
        tell(options.output, options.report)


def segment(options: argparse.Namespace) -> None:
    """PHOTO -o MASK: where the people are, or another class, as a mask that ``--mask`` takes."""
    from genartisan.io.images import encode, read_photo
    from genartisan.method.regions import NAMES

    media_type = media_type_of(options.output, options.format)
    check_outputs([("photo", options.photo)], [("output", options.output)])
    photo, name = read_photo(photo_of(options)), PORTRAIT if options.region == PERSON else options.region
    regions = load_stylizer(options).regions(photo, names=tuple(dict.fromkeys((*NAMES, name))))
    image = regions.overlay(photo) if options.overlay else regions.as_mask(name)
    write(options.output, encode(image, media_type))
    share = regions.pixels()[regions.names.index(name)] / regions.labels.numel()
    for warning in photo.warnings:
        print(f"genartisan: warning: {warning}", file=sys.stderr)
    tell(f"{options.output}: {share:.1%} of the photo is {name}", options.output)


def add_stylize_flags(parser: argparse.ArgumentParser) -> None:
    """What to make, where from and with which networks."""
    add_request_flags(parser)
    add_stylizer_flags(parser)
    add_graphs_flag(parser)
    parser.add_argument("--report", metavar="R.json", help="write what was done and measured")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_segment_flags(parser: argparse.ArgumentParser) -> None:
    """What to look for, and how to show it."""
    add_photo_argument(parser)
    add_output_flags(parser, "MASK")
    parser.add_argument("--region", default=PORTRAIT, metavar="NAME", help=f"a class of FCN's (default: {PORTRAIT})")
    parser.add_argument(
        "--overlay", action="store_true", help="the photo with the regions tinted, to look at, instead of a mask"
    )
    add_bundle_flag(parser)
    add_device_flags(parser)
