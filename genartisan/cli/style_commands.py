"""The commands that make something to draw with, or draw with it: ``style``, ``frames`` and ``train-start``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from genartisan.cli.flags import (
    add_bundle_flag,
    add_device_flags,
    add_setting_flags,
    add_style_folder_flag,
    add_style_image_flag,
    add_stylizer_flags,
    load_stylizer,
    params_of,
    style_images_of,
)
from genartisan.cli.outputs import check_distinct, tell
from genartisan.config import StyleConfig, from_params
from genartisan.errors import BundleError, InputError
from genartisan.io.atomic import write_whole
from genartisan.training.style_head_settings import WRITTEN, Settings
from genartisan.validation import check_prompt

if TYPE_CHECKING:
    from genartisan.method.saved_style import SavedStyle, StyleFolder


def style(options: argparse.Namespace) -> None:
    """make, list, mix or remove saved styles: 100 numbers each, with which any photo is drawn in one pass."""
    from genartisan.method.saved_style import StyleFolder

    run = {"make": make, "list": show, "mix": mix, "remove": remove}[options.action]
    run(options, StyleFolder(options.style_folder))


def make(options: argparse.Namespace, styles: StyleFolder) -> None:
    from genartisan.method.style_training import of_words_and_pictures

    config, seed = from_params(params_of(options))
    if options.text is None and options.style_images:
        name = options.name or name_of(options.style_images[0].stem)
    else:
        name = options.name or name_of(check_prompt(options.text))
    if options.photos and options.style_images:
        raise InputError("photos are for a style of TEXT alone; leave out --photos, or --style-image.", "photos")
    refuse_to_overwrite(styles, name, options.force)
    check_writable(styles)
    if options.photos:
        saved = trained(options, config, seed)
    else:
        saved = of_words_and_pictures(load_stylizer(options), options.text, options.style_images, config)
    save(styles, name, saved)


def trained(options: argparse.Namespace, config: StyleConfig, seed: int) -> SavedStyle:
    """A style that is optimised over photos."""
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
    for warning in training.warnings:
        print(f"genartisan: warning: {warning}", file=sys.stderr)
    return saved


def show(options: argparse.Namespace, styles: StyleFolder) -> None:
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
    for message in damaged:
        print(f"genartisan: warning: {message}", file=sys.stderr)


def mix(options: argparse.Namespace, styles: StyleFolder) -> None:
    from genartisan.method.saved_style import find

    name = options.name or f"{options.first}-{options.second}-{options.share:g}"[-64:].lstrip("-._")
    refuse_to_overwrite(styles, name, options.force)
    save(styles, name, find(styles, options.first).mixed(find(styles, options.second), options.share))


def remove(options: argparse.Namespace, styles: StyleFolder) -> None:
    if options.name in list(styles):  # a damaged one can be removed, too
        styles.path(options.name).unlink()
    else:
        raise InputError(f"style is {options.name!r}; there is none of that name in {str(styles.folder)!r}.", "style")


def save(styles: StyleFolder, name: str, saved: SavedStyle) -> None:
    saved.save(styles.path(name))
    tell(f"{styles.path(name)}: use it as --style {name}")


def check_writable(styles: StyleFolder) -> None:
    """Refuses before minutes of work what could not be saved after them."""
    try:
        styles.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"style folder {str(styles.folder)!r} cannot be made: {error.strerror}.", "style") from error
    if not os.access(styles.folder, os.W_OK):
        raise InputError(f"style folder {str(styles.folder)!r} cannot be written to; name another.", "style")


def name_of(text: str) -> str:
    """A style's name from its sentence or its picture's file: "The Starry Night" is the-starry-night."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:64].rstrip("-")
    if not name:
        raise InputError(f"{text!r} has no letter a name could be made of; give --name.", "name")
    return name


def refuse_to_overwrite(styles: StyleFolder, name: str, force: bool) -> None:
    if styles.path(name).exists() and not force:
        raise InputError(f"style {name!r} exists already; give another --name, or --force to write over it.", "name")


def frames(options: argparse.Namespace) -> None:
    """FOLDER [TEXT] -o OUT: every picture of a folder in one style, in one pass each, without flicker."""
    from tqdm import tqdm

    from genartisan.io.images import encode, pictures_in
    from genartisan.method.frames import Film, check_alike

    config, _ = from_params(params_of(options))
    pictures = pictures_in(options.folder, "frames")
    names = Counter(picture.stem for picture in pictures)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise InputError(f"frames hold two pictures named {twice!r}, for one PNG file. Rename one.", "frames")
    out = options.output
    if out.exists() and (not out.is_dir() or out.resolve() == options.folder.resolve()):
        raise InputError(f"output {str(out)!r} is no folder, or that of the frames; name another.", "output")
    if other := next((path for path in out.glob("*.png") if path.stem not in names), None):
        raise InputError(f"output holds {str(other)!r}, of another film; name a new folder, or empty it.", "output")
    reads = [("frames", path) for path in pictures]
    reads += [("style_image", path) for path in (style_images_of(options) or {}).values()]
    check_distinct(reads, [("output", out / f"{picture.stem}.png") for picture in pictures])
    check_alike(pictures)
    film = Film(load_stylizer(options), options.text, pictures, config, style_image=style_images_of(options))
    out.mkdir(parents=True, exist_ok=True)
    for picture in tqdm(pictures, unit="frame", disable=options.quiet, file=sys.stderr):
        write_whole(out / f"{picture.stem}.png", encode(film.draw(picture)))
    for warning in film.warnings:
        print(f"genartisan: warning: {warning}", file=sys.stderr)
    tell(str(out))


def train_start(options: argparse.Namespace) -> None:
    """--photos DIR --out DIR: a style head for a bundle, with which it draws drafts of a sentence without a search."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("train-start draws its curve with matplotlib; get it with: pip install 'genartisan[train]'.")
    from genartisan.io.images import pictures_in
    from genartisan.training.style_head_trainer import train

    settings = Settings(
        bundle=options.bundle,
        photos=options.photos,
        out=options.out,
        texts=options.texts,
        steps=options.steps,
        size=options.size,
        examine_every=options.examine_every,
        seed=options.seed,
        resume=options.resume,
        device=options.device,
        precision=options.precision,
    )
    reads = [("photos", path) for path in pictures_in(options.photos)]
    reads += [] if options.texts is None else [("texts", options.texts)]
    check_distinct(reads, [("out", options.out / name) for name in WRITTEN])
    curve = train(settings)
    first, last = curve[0], curve[-1]
    tell(f"held-out patch loss: {first['patch']:g} in the photos' mean style, {last['patch']:g} in the sentences'")
    tell(f"{options.out}: use it as --bundle {options.out}")


def add_style_actions(parser: argparse.ArgumentParser) -> None:
    """What `style` can do, each with its own arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, purpose: str, writes: bool = False) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=purpose, description=purpose)
        if name != "make":  # which has it among others
            add_style_folder_flag(sub)
        if writes:
            sub.add_argument("--name", help="of the style (default: made from its words)")
            sub.add_argument("--force", action="store_true", help="write over a style of that name")
        return sub

    sub = action("make", "the style of a sentence, of pictures, or of both; with --photos optimised over these", True)
    sub.add_argument("text", nargs="?", help='such as "Watercolor painting"; may be left out with --style-image')
    sub.add_argument(
        "--style-image", dest="style_images", action="append", default=[], type=Path, metavar="FILE",
        help="a picture of the style; several count alike",
    )  # fmt: skip
    sub.add_argument(
        "--photos", nargs="+", type=Path, default=[], metavar="DIR",
        help="folders or files of photos on which the style of TEXT is to look best; takes minutes",
    )  # fmt: skip
    add_setting_flags(sub)
    add_stylizer_flags(sub)
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    sub = action("list", "the styles that are saved")
    sub.add_argument("--json", action="store_true", help="for programs")
    sub = action("mix", "a style between two", writes=True)
    sub.add_argument("first")
    sub.add_argument("second")
    sub.add_argument("share", type=float, help="of the second, 0 to 1")
    action("remove", "delete a style").add_argument("name")


def add_frames_flags(parser: argparse.ArgumentParser) -> None:
    """The folders and how to draw."""
    parser.add_argument("folder", type=Path, help="of the frames, pictures of one size, in the order of their names")
    parser.add_argument("text", nargs="?", help="the style; may be left out with --style-image or --style")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="a folder, for PNG files")
    add_style_image_flag(parser)
    add_setting_flags(parser, default="draft", seed=False)
    add_stylizer_flags(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """What to learn from, and for how long."""
    add_bundle_flag(parser)
    add_device_flags(parser)
    parser.add_argument("--photos", required=True, type=Path, metavar="DIR", help="a folder of photos: hundreds")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the new bundle, its curve and drafts")
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="a sentence a line (default: a thousand made-up ones)"
    )
    for flag, default, text in (
        ("--steps", Settings.steps, "of four pictures each"),
        ("--size", Settings.size, "of these pictures, in pixels"),
        ("--examine-every", Settings.examine_every, "steps between two examinations of held-out drafts"),
    ):
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
