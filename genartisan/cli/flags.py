"""The flags that several commands share, and a parser whose errors are ours."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from genartisan.cli.console import STREAM, read_stdin
from genartisan.config import DEFAULT_PRESET, PRESETS, PREVIEW_EVERY, StyleConfig, assignments
from genartisan.errors import InputError
from genartisan.serving.defaults import READY_WITHIN, STATE
from genartisan.validation import PORTRAIT, REGION_NAME, check_mask_name, merged, shown

if TYPE_CHECKING:  # torch takes a second to import, which `--help` and `request` need not wait for
    from genartisan.method.stylizer import Stylizer


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours; argparse's own are several lines."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As argparse's own; but an optional TEXT, or PHOTOs, may stand after options, where argparse has given up."""
        options, left = super().parse_known_args(args, namespace)
        words = [word for word in left if word != "--"]
        literal = [*args][[*args].index("--") :] if args is not None and "--" in args else []
        if not words or any(word.startswith("-") and word not in literal for word in words):
            return options, left
        if getattr(options, "photo", None) == []:
            options.photo, left = [Path(word) for word in words], []
        elif len(words) == 1 and getattr(options, "text", "") is None:
            options.text, left = words[0], []
        return options, left

    def error(self, message: str) -> NoReturn:
        hint = "; a TEXT that begins with a dash comes last, after --" if ": -" in message else ""
        raise InputError(f"{message}{hint}; see `{self.prog} --help`.")


def add_timeout_flag(parser: argparse.ArgumentParser, default: float, purpose: str) -> None:
    """How long to wait."""
    purpose = f"seconds {purpose} (default: {default:g})"
    parser.add_argument("--timeout", type=seconds, default=default, metavar="S", help=purpose)


def add_state_flag(parser: argparse.ArgumentParser) -> None:
    """Where a server's notes and logs are; one folder, one server."""
    parser.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=f"notes and logs (default: {STATE})")


def add_key_flag(parser: argparse.ArgumentParser) -> None:
    """The server's key; the environment may name it, too, and of a server started from here it is known."""
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE",
        help="TorchServe's key_file.json (default: GENARTISAN_KEY_FILE, or that of a server started from here)",
    )  # fmt: skip


def add_model_actions(parser: argparse.ArgumentParser) -> None:
    """What `models` can do, each with its own arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, purpose: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=purpose, description=purpose)
        sub.add_argument("--json", action="store_true", help="for programs")
        sub.add_argument(
            "--timeout", type=seconds, metavar="S",
            help=f"seconds that a worker may take to be ready (default: {READY_WITHIN:g}), or to finish what it is at",
        )  # fmt: skip
        add_state_flag(sub)
        return sub

    action("list", "versions, their workers and what waits for them")
    sub = action("register", "take an archive of the store into service, beside what is there")
    sub.add_argument("archive", help="the file's name, such as genartisan-2.0.mar")
    sub.add_argument("--workers", type=int, default=1, metavar="N")
    sub = action("scale", "set how many workers a version has; no request is lost")
    sub.add_argument("workers", type=int)
    sub.add_argument("--version", dest="model_version", metavar="V", help="default: the default one")
    sub = action("default", "let a version answer the requests that name none")
    sub.add_argument("model_version", metavar="VERSION")
    sub = action("remove", "take a version out of service when its requests are answered; its archive stays")
    sub.add_argument("model_version", metavar="VERSION")


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """PHOTO, TEXT, -o and the settings that `stylize` and `request` share."""
    add_photo_argument(parser)
    parser.add_argument(
        "text", nargs="?",
        help='such as "Watercolor painting"; may be left out with --style-image or --style; one that begins with a '
        "dash comes last, after --",
    )  # fmt: skip
    add_output_flags(parser)
    parser.add_argument("--overwrite", action="store_true", help="let OUT be the photo itself, which is then lost")
    parser.add_argument(
        "--mask", dest="masks", action="append", default=[], metavar="[NAME=]FILE",
        help="of the photo's size, white where people are, or where the region NAME is; classes=FILE: VOC's labels",
    )  # fmt: skip
    add_style_image_flag(parser)
    add_setting_flags(parser)


def add_photo_argument(parser: argparse.ArgumentParser) -> None:
    """PHOTO; `photo_of` reads it."""
    parser.add_argument("photo", help="a picture file; - is standard input")


def add_output_flags(parser: argparse.ArgumentParser, metavar: str = "OUT") -> None:
    """Where the picture goes, and in which format; `genartisan.cli.outputs.media_type_of` judges them."""
    parser.add_argument(
        "-o", "--output", required=True, metavar=metavar, help="a .png, .jpg or .webp file; - is standard output"
    )
    parser.add_argument("--format", metavar="F", help=f"png, jpg or webp (default: as {metavar} ends; to -: png)")


def add_style_image_flag(parser: argparse.ArgumentParser) -> None:
    """Pictures whose style is wanted; `style_images_of` reads them."""
    parser.add_argument(
        "--style-image", dest="style_images", action="append", default=[], metavar="[NAME=]FILE",
        help="a picture whose style is wanted, beside TEXT or without one; NAME=FILE: in the region NAME alone",
    )  # fmt: skip


def add_setting_flags(parser: argparse.ArgumentParser, default: str = DEFAULT_PRESET, seed: bool = True) -> None:
    """The settings, beginning with the preset ``default``; `params_of` reads them."""
    parser.add_argument("--preset", default=default, help=f"{', '.join(PRESETS)} (default: {default})")
    if seed:
        parser.add_argument("--seed", type=number, default=0)
    else:
        parser.set_defaults(seed=0)
    fields = StyleConfig.model_fields
    parser.add_argument("--style", metavar="NAME", help=fields["style"].description)
    parser.add_argument("--mode", help="artisan (preserves people) or clipstyler")
    steps = fields["steps"]
    parser.add_argument("--steps", type=number, metavar="N", help=f"{steps.description} (paper: {steps.default})")
    parser.add_argument("--size", type=number, metavar="N", help=fields["size"].description)
    parser.add_argument("--output-size", type=number, metavar="N", help=fields["output_size"].description)
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="any setting, such as regions.portrait.weight=0.1; `genartisan schema` lists them",
    )  # fmt: skip


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """Whether to look on while a server works."""
    parser.add_argument("--stream", action="store_true", help="show a live progress bar")
    parser.add_argument(
        "--previews", type=Path, metavar="DIR", help="with it, save the picture so far here: step_0010.jpg and so on"
    )
    every = f"steps between two previews (default: {PREVIEW_EVERY})"
    parser.add_argument("--preview-every", type=number, metavar="N", help=every)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_bundle_flag(parser: argparse.ArgumentParser) -> None:
    """The networks."""
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder (default: embedded)")


def add_style_folder_flag(parser: argparse.ArgumentParser) -> None:
    """Where saved styles are."""
    parser.add_argument(
        "--style-folder", type=Path, metavar="DIR", help="of saved styles (default: ~/.cache/genartisan/styles)"
    )


def add_stylizer_flags(parser: argparse.ArgumentParser) -> None:
    """The networks, the saved styles and where they run; `load_stylizer` reads them."""
    add_bundle_flag(parser)
    add_style_folder_flag(parser)
    add_device_flags(parser)


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Where the networks run."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")


def add_graphs_flag(parser: argparse.ArgumentParser) -> None:
    """Whether steps are captured."""
    parser.add_argument("--graphs", action="store_true", help="on a GPU: capture a step of each size once, replay it")


def load_stylizer(options: argparse.Namespace) -> Stylizer:
    """The networks that the flags name."""
    from genartisan.method.saved_style import StyleFolder
    from genartisan.method.stylizer import Stylizer
    from genartisan.networks.bundle import Bundle

    styles = StyleFolder(getattr(options, "style_folder", None))
    graphs = getattr(options, "graphs", False)
    return Stylizer(Bundle.load(options.bundle), options.device, options.precision, graphs=graphs, styles=styles)


def params_of(options: argparse.Namespace) -> dict[str, Any]:
    """The flags as the ``params`` of a request; the library's own checks judge them."""
    names = ("style", "mode", "steps", "size", "output_size")
    flags = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return merged({"preset": options.preset, "seed": options.seed, **flags}, assignments(options.settings))


def photo_of(options: argparse.Namespace) -> str | bytes:
    """The photo's file, or what standard input brings.

    Raises:
        InputError: nothing is piped in.
    """
    return read_stdin() if options.photo == STREAM else str(options.photo)


def files_read(options: argparse.Namespace) -> list[tuple[str, str | Path]]:
    """The files that `add_request_flags` names, by their fields."""
    pictures = {"mask": masks_of(options), "style_image": style_images_of(options)}
    named = [(field, file) for field, files in pictures.items() for file in (files or {}).values()]
    return [("photo", options.photo), *named]


def masks_of(options: argparse.Namespace) -> dict[str, Path] | None:
    """The files of masks by the names of their regions.

    Raises:
        InputError: a region has two, or a name that none can have.
    """
    return _by_region(options.masks, "mask", PORTRAIT, check_mask_name)


def style_images_of(options: argparse.Namespace) -> dict[str, Path] | None:
    """The files of style pictures by the names of their regions.

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
    """``["sky=sky.png"]`` as files by region; one without a name is of the region ``default``."""
    files = dict[str, Path]()
    for given in pairs:
        name, equals, file = given.partition("=")
        if not equals or not REGION_NAME.fullmatch(name):  # a file's name, which may have = in it
            name, file = default, given
        name = check(name)
        if name in files:
            raise InputError(f"{field} of {name} is given twice; give it once.", field)
        if not file:
            raise InputError(f"{field} {shown(given)} names no file; write NAME=FILE, as in sky=sky.png.", field)
        files[name] = Path(file)
    return files or None


def number(text: str) -> int | float | str:
    """A number where it is one; anything else is left to the settings' own check, which names field and range."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def seconds(text: str) -> float:
    """A time to wait; sockets take no infinite one."""
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1000000")
    return value
