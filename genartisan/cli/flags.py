"""Flags shared by several commands, and a parser with one-line errors."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from genartisan.cli.console import STREAM, read_stdin
from genartisan.config import DEFAULT_PRESET, PRESETS, StyleConfig, assignments
from genartisan.errors import InputError
from genartisan.serving.defaults import READY_WITHIN, STATE
from genartisan.validation import PORTRAIT, REGION_NAME, check_mask_name, merged, shown

if TYPE_CHECKING:  # importing torch takes a second, which `--help` and `request` need not wait for
    from genartisan.method.stylizer import Stylizer


TEXT_WITH_DASH = re.compile(r"unrecognized arguments: (?!--)-")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` instead of printing its usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As in argparse, and also accepts an optional TEXT, or PHOTOs, after options."""
        options, rest = super().parse_known_args(args, namespace)
        words = [word for word in rest if word != "--"]
        literal = [*args][[*args].index("--") :] if args is not None and "--" in args else []
        if not words or any(word.startswith("-") and word not in literal for word in words):
            return options, rest
        if getattr(options, "photo", None) == []:
            options.photo, rest = [Path(word) for word in words], []
        elif len(words) == 1 and getattr(options, "text", "") is None:
            options.text, rest = words[0], []
        return options, rest

    def error(self, message: str) -> NoReturn:
        hint = "; put a TEXT that begins with a dash last, after --" if TEXT_WITH_DASH.search(message) else ""
        raise InputError(f"{message}{hint}; see `{self.prog} --help`.")


def add_timeout_flag(parser: argparse.ArgumentParser, default: float, purpose: str) -> None:
    """--timeout, in seconds."""
    purpose = f"seconds {purpose} (default: {default:g})"
    parser.add_argument("--timeout", type=seconds, default=default, metavar="S", help=purpose)


def add_state_flag(parser: argparse.ArgumentParser) -> None:
    """--state: the folder of one server."""
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=f"state and logs (default: {STATE})")


def add_key_flag(parser: argparse.ArgumentParser) -> None:
    """--key-file, for a server that was not started from here."""
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE",
        help="TorchServe's key_file.json (default: GENARTISAN_KEY_FILE, or that of the server in .serve)",
    )  # fmt: skip


def add_model_actions(parser: argparse.ArgumentParser) -> None:
    """The actions of `models` and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, purpose: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=purpose, description=purpose)
        add_json_flag(sub)
        sub.add_argument(
            "--timeout", type=seconds, metavar="S",
            help=f"seconds to wait for a worker to start (default: {READY_WITHIN:g}) or to finish its request",
        )  # fmt: skip
        add_state_flag(sub)
        return sub

    action("list", "list versions, their workers and waiting requests")
    sub = action("register", "serve an archive of the store beside the present versions")
    sub.add_argument("archive", help="file name, such as genartisan-2.0.mar")
    sub.add_argument("--workers", type=int, default=1, metavar="N", help="of the version (default: 1)")
    sub = action("scale", "set the number of workers of a version")
    sub.add_argument("workers", type=int)
    sub.add_argument("--version", dest="model_version", metavar="V", help="default: the default version")
    sub.add_argument("--drafts", action="store_true", help="of the workers for drafts and explanations")
    sub = action("default", "make a version answer requests that name none")
    sub.add_argument("model_version", metavar="VERSION")
    sub = action("remove", "stop serving a version once its requests are answered; keeps the archive")
    sub.add_argument("model_version", metavar="VERSION")


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """PHOTO, TEXT, -o and the settings: what `stylize` and `request` share."""
    add_photo_argument(parser)
    parser.add_argument(
        "text", nargs="?",
        help='style, such as "Watercolor painting"; optional with --style-image or --style; put one that begins with a '
        "dash last, after --",
    )  # fmt: skip
    add_output_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="allow OUT to replace the photo")
    parser.add_argument(
        "--mask", dest="masks", action="append", default=[], metavar="[NAME=]FILE",
        help="mask of the photo's size, white on people, or on the region NAME; classes=FILE: VOC labels",
    )  # fmt: skip
    add_style_image_flag(parser)
    add_setting_flags(parser)


def add_photo_argument(parser: argparse.ArgumentParser) -> None:
    """PHOTO, read by `photo_of`."""
    parser.add_argument("photo", help="picture file; - is standard input")


def add_output_flags(parser: argparse.ArgumentParser, metavar: str = "OUT") -> None:
    """-o and --format, read by `genartisan.cli.outputs.media_type_of`."""
    parser.add_argument("-o", "--output", required=True, metavar=metavar, help=".png, .jpg or .webp file; - is stdout")
    parser.add_argument("--format", metavar="F", help=f"png, jpg or webp (default: the suffix of {metavar}; png for -)")


def add_style_image_flag(parser: argparse.ArgumentParser) -> None:
    """--style-image, read by `style_images_of`."""
    parser.add_argument(
        "--style-image", dest="style_images", action="append", default=[], metavar="[NAME=]FILE",
        help="picture whose style to use, alone or with TEXT; NAME=FILE: in the region NAME only",
    )  # fmt: skip


def add_setting_flags(parser: argparse.ArgumentParser, default: str = DEFAULT_PRESET, seed: bool = True) -> None:
    """The settings, on top of the preset ``default``; read by `params_of`."""
    parser.add_argument("--preset", default=default, help=f"{', '.join(PRESETS)} (default: {default})")
    if seed:
        parser.add_argument("--seed", type=number, default=0, metavar="N", help="random seed (default: 0)")
    else:
        parser.set_defaults(seed=0)
    fields = StyleConfig.model_fields
    parser.add_argument("--style", metavar="NAME", help=fields["style"].description)
    parser.add_argument("--mode", help="artisan (preserves people) or clipstyler (the baseline)")
    steps = fields["steps"]
    parser.add_argument("--steps", type=number, metavar="N", help=f"{steps.description} (paper: {steps.default})")
    parser.add_argument("--size", type=number, metavar="N", help=fields["size"].description)
    parser.add_argument("--output-size", type=number, metavar="N", help=fields["output_size"].description)
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="any setting, such as regions.portrait.weight=0.1; `genartisan schema` lists them",
    )  # fmt: skip


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """Progress and previews while a server works."""
    parser.add_argument("--stream", action="store_true", help="show a progress bar")
    parser.add_argument("--previews", type=Path, metavar="DIR", help="save previews here; implies --stream")
    every = "steps between previews (default: a quarter of all, at most 10)"
    parser.add_argument("--preview-every", type=number, metavar="N", help=every)
    add_quiet_flag(parser)


def add_quiet_flag(parser: argparse.ArgumentParser) -> None:
    """--quiet."""
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_bundle_flag(parser: argparse.ArgumentParser) -> None:
    """--bundle."""
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder (default: embedded)")


def add_style_folder_flag(parser: argparse.ArgumentParser) -> None:
    """--style-folder."""
    parser.add_argument(
        "--style-folder", type=Path, metavar="DIR", help="folder of saved styles (default: ~/.cache/genartisan/styles)"
    )


def add_stylizer_flags(parser: argparse.ArgumentParser) -> None:
    """Networks, saved styles and device, read by `load_stylizer`."""
    add_bundle_flag(parser)
    add_style_folder_flag(parser)
    add_device_flags(parser)


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """--device and --precision."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16 (default: auto)")


def add_graphs_flag(parser: argparse.ArgumentParser) -> None:
    """--graphs."""
    parser.add_argument("--graphs", action="store_true", help="on a GPU, capture a step as a CUDA graph and replay it")


def load_stylizer(options: argparse.Namespace) -> Stylizer:
    """The stylizer described by the flags."""
    from genartisan.method.saved_style import StyleFolder
    from genartisan.method.stylizer import Stylizer
    from genartisan.networks.bundle import Bundle

    styles = StyleFolder(getattr(options, "style_folder", None))
    graphs = getattr(options, "graphs", False)
    return Stylizer(Bundle.load(options.bundle), options.device, options.precision, graphs=graphs, styles=styles)


def params_of(options: argparse.Namespace) -> dict[str, Any]:
    """The flags as the ``params`` of a request, unchecked."""
    names = ("style", "mode", "steps", "size", "output_size")
    flags = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return merged({"preset": options.preset, "seed": options.seed, **flags}, assignments(options.settings))


def photo_of(options: argparse.Namespace) -> str | bytes:
    """The path of the photo, or the bytes of standard input.

    Raises:
        InputError: nothing is piped in.
    """
    return read_stdin() if options.photo == STREAM else str(options.photo)


def files_read(options: argparse.Namespace) -> list[tuple[str, str | Path]]:
    """The files named by the flags of `add_request_flags`, with their fields."""
    pictures = {"mask": masks_of(options), "style_image": style_images_of(options)}
    others = [(field, file) for field, files in pictures.items() for file in (files or {}).values()]
    return [("photo", options.photo), *others]


def masks_of(options: argparse.Namespace) -> dict[str, Path] | None:
    """The mask files by region.

    Raises:
        InputError: a region has two, or an invalid name.
    """
    return _by_region(options.masks, "mask", PORTRAIT, check_mask_name)


def style_images_of(options: argparse.Namespace) -> dict[str, Path] | None:
    """The style pictures by region.

    Raises:
        InputError: as `masks_of`.
    """
    if not options.style_images:
        return None
    from genartisan.method.style_images import ALL, FIELD, check_style_image_name

    return _by_region(options.style_images, FIELD, ALL, check_style_image_name)


def _by_region(
    pairs: Sequence[str], field: str, default: str, check: Callable[[object], str]
) -> dict[str, Path] | None:
    """Parses ``["sky=sky.png"]``; a file without a region belongs to ``default``."""
    files = dict[str, Path]()
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not equals or not REGION_NAME.fullmatch(name):  # a file name that contains =
            name, file = default, pair
        name = check(name)
        if name in files:
            raise InputError(f"{field} of {name} is given twice; give it once.", field)
        if not file:
            raise InputError(f"{field} {shown(pair)} names no file; write NAME=FILE, as in sky=sky.png.", field)
        files[name] = Path(file)
    return files or None


def number(text: str) -> int | float | str:
    """A number if it is one; anything else is left to the settings' own check, which names field and range."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def seconds(text: str) -> float:
    """A timeout; sockets accept no infinite one."""
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and at most 1000000")
    return value
