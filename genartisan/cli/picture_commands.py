"""`stylize` and `segment`: one picture, made locally."""

from __future__ import annotations

import argparse
import json
import logging
import sys

from genartisan.cli.console import print_summary, print_warnings
from genartisan.cli.flags import (
    add_bundle_flag,
    add_device_flags,
    add_graphs_flag,
    add_output_flags,
    add_photo_argument,
    add_quiet_flag,
    add_request_flags,
    add_stylizer_flags,
    files_read,
    load_stylizer,
    masks_of,
    params_of,
    photo_of,
    style_images_of,
)
from genartisan.cli.outputs import STDOUT, check_outputs, media_type_of, write
from genartisan.config import from_params
from genartisan.validation import PERSON, PORTRAIT


def stylize(options: argparse.Namespace) -> None:
    """Stylise a photo by a text, a picture or a saved style."""
    from tqdm import tqdm

    config, seed = from_params(params_of(options))
    media_type = media_type_of(options.output, options.format)
    report = [] if options.report is None else [("report", options.report)]
    check_outputs(files_read(options), [("output", options.output), *report], options.overwrite)
    photo = checked_photo(options)
    from genartisan.io.images import encode

    stylizer = load_stylizer(options)
    if not options.quiet:  # with full-size networks the search for style numbers takes a minute
        logging.getLogger("genartisan.method.style_encoder").setLevel(logging.INFO)
    steps = stylizer.steps(
        photo,
        options.text,
        config=config,
        mask=masks_of(options),
        style_image=style_images_of(options),
        seed=seed,
    )
    with tqdm(total=config.steps, unit="step", disable=options.quiet or not config.steps, file=sys.stderr) as bar:
        for step in steps:
            if bar.update():  # the bar was redrawn; reading the losses of every step would slow a GPU
                bar.set_postfix({name: f"{value:.4g}" for name, value in step.losses.items()})
    result = steps.result()
    write(options.output, encode(result.image, media_type))
    if options.report is not None:
        write(options.report, (json.dumps(result.report, indent=2) + "\n").encode(), "report")
    print_warnings(result.report["warnings"])
    if options.output not in STDOUT:
        print_summary(options.output, to_stderr=options.report in STDOUT)


def segment(options: argparse.Namespace) -> None:
    """Write the mask of people, or of another region, for --mask."""
    media_type = media_type_of(options.output, options.format)
    check_outputs([("photo", options.photo)], [("output", options.output)])
    source = checked_photo(options)
    from genartisan.io.images import encode, read_photo
    from genartisan.method.regions import NAMES

    photo, name = read_photo(source), PORTRAIT if options.region == PERSON else options.region
    regions = load_stylizer(options).regions(photo, names=tuple(dict.fromkeys((*NAMES, name))))
    image = regions.overlay(photo) if options.overlay else regions.as_mask(name)
    write(options.output, encode(image, media_type))
    share = regions.pixels()[regions.names.index(name)] / regions.labels.numel()
    print_warnings(photo.warnings)
    if not share:
        print_warnings([f"no {name} was found; draw a mask yourself, white where it is, and pass it with --mask"])
    print_summary(f"{options.output}: {share:.1%} of the photo is {name}", to_stderr=options.output in STDOUT)


def checked_photo(options: argparse.Namespace) -> str | bytes:
    """The photo, which is refused before PyTorch and the networks are loaded, which takes seconds.

    Raises:
        InputError: it cannot be read, or is no picture.
    """
    from genartisan.io.decode import size_of

    photo = photo_of(options)
    size_of(photo, "photo")
    return photo


def add_stylize_flags(parser: argparse.ArgumentParser) -> None:
    """Input, output, settings and networks of `stylize`."""
    add_request_flags(parser)
    add_stylizer_flags(parser)
    add_graphs_flag(parser)
    parser.add_argument("--report", metavar="R.json", help="write settings, losses, timings … as JSON")
    add_quiet_flag(parser)


def add_segment_flags(parser: argparse.ArgumentParser) -> None:
    """Input, output and region of `segment`."""
    add_photo_argument(parser)
    add_output_flags(parser, "MASK")
    parser.add_argument("--region", default=PORTRAIT, metavar="NAME", help=f"a class of the FCN (default: {PORTRAIT})")
    parser.add_argument("--overlay", action="store_true", help="write the photo with its regions tinted, not a mask")
    add_bundle_flag(parser)
    add_device_flags(parser)
