"""`style`, `frames` and `train-start`: saved styles, film, and style heads."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from genartisan.cli.console import print_summary, print_warnings
from genartisan.cli.flags import (
    add_bundle_flag,
    add_device_flags,
    add_json_flag,
    add_quiet_flag,
    add_setting_flags,
    add_style_folder_flag,
    add_style_image_flag,
    add_stylizer_flags,
    load_stylizer,
    params_of,
    style_images_of,
)
from genartisan.cli.outputs import check_distinct
from genartisan.config import StyleConfig, from_params
from genartisan.errors import BundleError, InputError
from genartisan.io.atomic import write_whole
from genartisan.training.style_head_settings import WRITTEN, Settings
from genartisan.validation import check_prompt

if TYPE_CHECKING:
    from genartisan.method.saved_style import SavedStyle, StyleFolder


def style(options: argparse.Namespace) -> None:
    """Make, list, mix or remove saved styles, each of 100 style numbers."""
    from genartisan.method.saved_style import StyleFolder

    action = {"make": make, "list": list_styles, "mix": mix, "remove": remove}[options.action]
    action(options, StyleFolder(options.style_folder))


def make(options: argparse.Namespace, styles: StyleFolder) -> None:
    from genartisan.method.style_training import of_words_and_pictures

    config, seed = from_params(params_of(options))
    if options.text is None and options.style_images:
        name = options.name or name_of(options.style_images[0].stem)
    else:
        name = options.name or name_of(check_prompt(options.text))
    if options.photos and options.style_images:
        raise InputError("photos cannot be combined with style_image; drop --photos or --style-image.", "photos")
    check_new(styles, name, options.force)
    check_writable(styles)
    if options.photos:
        saved = optimise(options, config, seed)
    else:
        saved = of_words_and_pictures(load_stylizer(options), options.text, options.style_images, config)
    save(styles, name, saved)


def optimise(options: argparse.Namespace, config: StyleConfig, seed: int) -> SavedStyle:
    """Optimises a style over photos."""
    from tqdm import tqdm

    from genartisan.io.images import pictures_in
    from genartisan.method.style_training import StyleTraining

    photos = [file for place in options.photos for file in (pictures_in(place) if place.is_dir() else [place])]
    training = StyleTraining(load_stylizer(options), check_prompt(options.text), photos, config, seed)
    with tqdm(training, total=training.total, unit="step", disable=options.quiet, file=sys.stderr) as bar:
        for count, step in enumerate(bar, start=1):
            if count % (10 * len(photos)) == 0:
                bar.set_postfix({name: f"{value:.4g}" for name, value in step.losses.items()}, refresh=False)
    saved = training.result()
    print_warnings(training.warnings)
    return saved


def list_styles(options: argparse.Namespace, styles: StyleFolder) -> None:
    abouts, damaged = {}, []
    for name in styles:
        try:
            abouts[name] = styles[name].about
        except BundleError as error:
            damaged.append(error.message)
    if options.json:
        print(json.dumps({name: about.model_dump() for name, about in abouts.items()}, indent=2))
    else:
        row = "{:<24} {:<10} {:>8} {:>6}  {}".format
        print(row("name", "bundle", "pictures", "photos", "style"))
        for name, about in abouts.items():
            print(row(name, about.bundle, about.pictures, about.photos, about.described))
    print_warnings(damaged)


def mix(options: argparse.Namespace, styles: StyleFolder) -> None:
    from genartisan.method.saved_style import find

    name = options.name or f"{options.first}-{options.second}-{options.share:g}"[-64:].lstrip("-._")
    check_new(styles, name, options.force)
    save(styles, name, find(styles, options.first).mixed(find(styles, options.second), options.share))


def remove(options: argparse.Namespace, styles: StyleFolder) -> None:
    if options.name in list(styles):  # damaged ones included
        styles.path(options.name).unlink()
    else:
        raise InputError(f"style {options.name!r} does not exist in {str(styles.folder)!r}.", "style")


def save(styles: StyleFolder, name: str, saved: SavedStyle) -> None:
    saved.save(styles.path(name))
    print_summary(f"{styles.path(name)}: use it as --style {name}")


def check_writable(styles: StyleFolder) -> None:
    """Refuses a folder that a style could not be saved to."""
    try:
        styles.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"style folder {str(styles.folder)!r} cannot be made: {error.strerror}.", "style") from error
    if not os.access(styles.folder, os.W_OK):
        raise InputError(f"style folder {str(styles.folder)!r} is not writable; choose another.", "style")


def name_of(text: str) -> str:
    """A style's name derived from its text or file name: "The Starry Night" becomes the-starry-night."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].rstrip("-")
    if not name:
        raise InputError(f"name cannot be derived from {text!r}, which has no a-z or 0-9; pass --name.", "name")
    return name


def check_new(styles: StyleFolder, name: str, force: bool) -> None:
    if styles.path(name).exists() and not force:
        raise InputError(f"style {name!r} already exists; choose another --name, or pass --force.", "name")


def frames(options: argparse.Namespace) -> None:
    """Stylise the frames of a film, one pass each, without flicker."""
    from tqdm import tqdm

    from genartisan.io.images import encode, pictures_in
    from genartisan.method.frames import Film, check_alike

    config, _ = from_params(params_of(options))
    pictures = pictures_in(options.folder, "frames")
    names = Counter(picture.stem for picture in pictures)
    if duplicate := next((name for name, count in names.items() if count > 1), None):
        raise InputError(f"frames include two pictures named {duplicate!r}; rename one.", "frames")
    out = options.output
    if out.exists() and (not out.is_dir() or out.resolve() == options.folder.resolve()):
        raise InputError(f"output {str(out)!r} is not a folder, or is that of the frames; choose another.", "output")
    if other := next((path for path in out.glob("*.png") if path.stem not in names), None):
        raise InputError(f"output contains {str(other)!r}, of another film; choose an empty folder.", "output")
    reads = [("frames", path) for path in pictures]
    reads += [("style_image", path) for path in (style_images_of(options) or {}).values()]
    check_distinct(reads, [("output", out / f"{picture.stem}.png") for picture in pictures])
    check_alike(pictures)
    film = Film(load_stylizer(options), options.text, pictures, config, style_image=style_images_of(options))
    out.mkdir(parents=True, exist_ok=True)
    for picture in tqdm(pictures, unit="frame", disable=options.quiet, file=sys.stderr):
        write_whole(out / f"{picture.stem}.png", encode(film.draw(picture)))
    print_warnings(film.warnings)
    print_summary(str(out))


def train_start(options: argparse.Namespace) -> None:
    """Train a style head, so that a bundle needs no search for the style numbers of a sentence."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("train-start needs matplotlib; install it with: pip install 'genartisan[train]'.")
    from genartisan.io.images import pictures_in
    from genartisan.training.style_head_trainer import train

    settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
    reads = [("photos", path) for path in pictures_in(options.photos)]
    reads += [] if options.texts is None else [("texts", options.texts)]
    check_distinct(reads, [("out", options.out / name) for name in WRITTEN])
    curve = train(settings)
    first, last = curve[0], curve[-1]
    print_summary(f"held-out patch loss: {first['patch']:g} in the photos' mean style, {last['patch']:g} in the head's")
    print_summary(f"{options.out}: use it as --bundle {options.out}")


def add_style_actions(parser: argparse.ArgumentParser) -> None:
    """The actions of `style` and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, purpose: str, writes: bool = False) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=purpose, description=purpose)
        if name != "make":  # add_stylizer_flags adds it there
            add_style_folder_flag(sub)
        if writes:
            sub.add_argument("--name", help="name of the style (default: derived from its text or file)")
            sub.add_argument("--force", action="store_true", help="replace a style of that name")
        return sub

    sub = action("make", "save the style of a text, of pictures, or of both", True)
    sub.add_argument("text", nargs="?", help='style, such as "Watercolor painting"; optional with --style-image')
    sub.add_argument(
        "--style-image", dest="style_images", action="append", default=[], type=Path, metavar="FILE",
        help="a picture of the style; several are averaged",
    )  # fmt: skip
    sub.add_argument(
        "--photos", nargs="+", type=Path, default=[], metavar="DIR",
        help="optimise the style of TEXT over these photos or folders of photos; takes minutes",
    )  # fmt: skip
    add_setting_flags(sub)
    add_stylizer_flags(sub)
    add_quiet_flag(sub)
    add_json_flag(action("list", "list saved styles"))
    sub = action("mix", "interpolate between two styles", writes=True)
    sub.add_argument("first")
    sub.add_argument("second")
    sub.add_argument("share", type=float, help="share of the second, 0 to 1")
    action("remove", "delete a style").add_argument("name")


def add_frames_flags(parser: argparse.ArgumentParser) -> None:
    """Input, output and settings of `frames`."""
    parser.add_argument("folder", type=Path, help="folder of frames: pictures of one size, ordered by name")
    parser.add_argument("text", nargs="?", help="style; optional with --style-image or --style")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the PNG files")
    add_style_image_flag(parser)
    add_setting_flags(parser, default="draft", seed=False)
    add_stylizer_flags(parser)
    add_quiet_flag(parser)


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Data, length and output of `train-start`."""
    add_bundle_flag(parser)
    add_device_flags(parser)
    parser.add_argument("--photos", required=True, type=Path, metavar="DIR", help="folder of photos, ideally hundreds")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the new bundle")
    texts = "one sentence per line (default: a thousand generated ones)"
    parser.add_argument("--texts", type=Path, metavar="FILE", help=texts)
    for name, purpose in (
        ("steps", "optimiser steps of four pictures each"),
        ("size", "side of these pictures in pixels"),
        ("examine_every", "steps between evaluations on held-out pairs"),
    ):
        default = getattr(Settings, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{purpose} (default: {default})")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in OUT")
