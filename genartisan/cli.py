"""``genartisan …``: the command line. Errors are one line on stderr; exit status 2 says that the input is at fault."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genartisan.config import DEFAULT_PRESET, PRESETS, StyleConfig, assignments, from_params, merged
from genartisan.errors import GenartisanError, InputError, WeightsError

if TYPE_CHECKING:  # torch takes a second to import, which `--help` and `request` need not wait for
    from genartisan.stylizer import Stylizer

PORTS = {"inference": 8080, "management": 8081, "metrics": 8082, "grpc_inference": 7070, "grpc_management": 7071}
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit status: 0, or 2 for bad input and what the user can mend, or 1."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        options.run(options)
    except GenartisanError as error:
        print(f"genartisan: {' '.join(error.message.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genartisan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    return 0


def stylize(options: argparse.Namespace) -> None:
    """PHOTO TEXT -o OUT: one picture, with a progress bar."""
    from tqdm import tqdm

    from genartisan.images import encode

    config, seed = from_params(params_of(options))
    media_type = media_type_of(options.output)
    for path in (options.output, options.report):
        check_writable(path)
    stylizer = load_stylizer(options)
    steps = stylizer.steps(options.photo, options.text, config=config, mask=options.mask, seed=seed)
    with tqdm(total=config.steps, unit="step", disable=options.quiet, file=sys.stderr) as bar:
        for step in steps:
            bar.update()
            bar.set_postfix({name: f"{value:.4g}" for name, value in step.losses.items()}, refresh=False)
    result = steps.result()
    write(options.output, encode(result.image, media_type))
    if options.report:
        write(options.report, (json.dumps(result.report, indent=2) + "\n").encode())
    for warning in result.report["warnings"]:
        print(f"genartisan: warning: {warning}", file=sys.stderr)
    print(options.output)


def segment(options: argparse.Namespace) -> None:
    """PHOTO -o MASK: where the people are, as a mask that ``--mask`` takes."""
    from genartisan.images import encode, read_photo

    check_writable(options.output)
    photo = read_photo(options.photo)
    regions = load_stylizer(options).regions(photo)
    image = regions.overlay(photo) if options.overlay else regions.as_mask()
    write(options.output, encode(image, media_type_of(options.output)))
    share = float(regions.portrait.float().mean())
    print(f"{options.output}: {share:.1%} of the photo is portrait")


def schema(options: argparse.Namespace) -> None:
    """The JSON schema of the settings."""
    print(json.dumps({**StyleConfig.model_json_schema(), "presets": PRESETS}, indent=2))


def weights(options: argparse.Namespace) -> None:
    """fetch, verify or list the official weights."""
    from genartisan import weights as official

    if options.action == "fetch":
        folder = official.fetch(from_dir=options.from_dir, dtype=options.dtype, out=options.out)
        print(f"{folder}: use it as --bundle {folder if options.out else 'official'}")
    elif options.action == "verify":
        checks = official.verify(options.out)
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.file}: {check.detail}")
        if not all(check.ok for check in checks):
            raise WeightsError("not every file is whole; `genartisan weights fetch` gets what is missing.", "weights")
    else:
        for row in official.table():
            print("\n  ".join([f"{row['role']}: {row['name']}", *(f"{key}: {row[key]}" for key in list(row)[2:])]))


def archive(options: argparse.Namespace) -> None:
    """Builds the TorchServe archive."""
    from genartisan import serve

    print(serve.archive(options.bundle, options.store))


def serve_(options: argparse.Namespace) -> None:
    """Starts TorchServe; returns when it is ready."""
    from genartisan import serve

    ports = serve.Ports(*(getattr(options, name) for name in vars(serve.Ports())))
    start = serve.run if options.foreground else serve.start
    start(
        options.store,
        ports=ports,
        host=options.host,
        state=options.state,
        config=options.config,
        timeout=options.timeout,
        say=say,
    )


def stop(options: argparse.Namespace) -> None:
    """Stops TorchServe."""
    from genartisan import serve

    if not serve.stop(options.state, say=say):
        say("there was no server to stop")


def request(options: argparse.Namespace) -> None:
    """PHOTO TEXT -o OUT: one picture from a running server."""
    from genartisan import client

    check_writable(options.output)
    reply = client.request(
        Path(options.photo),
        options.text,
        mask=options.mask and Path(options.mask),
        params=params_of(options),
        accept=media_type_of(options.output, {**MEDIA_TYPES, ".json": "application/json"}),
        url=options.url,
        grpc=options.grpc,
        timeout=options.timeout,
    )
    write(options.output, reply.content)
    print(options.output)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    parser = argparse.ArgumentParser(prog="genartisan", description="A photo and a sentence in, a picture out.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__.strip().splitlines()[0], description=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    sub = command("stylize", stylize)
    add_request_flags(sub)
    add_stylizer_flags(sub)
    sub.add_argument("--report", metavar="R.json", help="write what was done and measured")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")

    sub = command("segment", segment)
    sub.add_argument("photo")
    sub.add_argument("-o", "--output", required=True, metavar="MASK")
    sub.add_argument(
        "--overlay", action="store_true", help="the photo with people tinted, to look at, instead of a mask"
    )
    add_stylizer_flags(sub)

    command("schema", schema)

    sub = command("weights", weights)
    sub.add_argument("action", choices=("fetch", "verify", "list"))
    sub.add_argument("--from", dest="from_dir", metavar="DIR", type=Path, help="take the files from here; no network")
    sub.add_argument(
        "--dtype", choices=("bf16", "fp32"), default="bf16", help="of the bundle's weights (default: bf16)"
    )
    sub.add_argument("--out", metavar="DIR", type=Path, help="where the bundle goes (default: the bundle `official`)")

    sub = command("archive", archive)
    sub.add_argument("--bundle", default="embedded", help="embedded, official or a folder")
    sub.add_argument("--store", type=Path, default=Path("model_store"), help="where the archive goes")

    sub = command("serve", serve_)
    sub.add_argument("--store", type=Path, default=Path("model_store"), help="the folder with genartisan.mar")
    sub.add_argument("--foreground", action="store_true", help="stay, and stop the server on Ctrl-C or SIGTERM")
    sub.add_argument("--host", default="127.0.0.1", help="address of HTTP and gRPC (default: this machine only)")
    for name, port in PORTS.items():
        flag = f"--{name.replace('_', '-')}-port"
        sub.add_argument(flag, dest=name, type=int, default=port, metavar="N", help=f"default: {port}")
    sub.add_argument("--config", type=Path, metavar="FILE", help="another config.properties")
    sub.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds until it has to be ready")
    add_state_flag(sub)
    add_state_flag(command("stop", stop))

    sub = command("request", request)
    add_request_flags(sub)
    sub.add_argument("--url", default="http://127.0.0.1:8080", help="of the HTTP endpoint")
    sub.add_argument("--grpc", metavar="HOST:PORT", help="ask over gRPC instead")
    sub.add_argument("--timeout", type=float, default=600, help="seconds to wait for the picture")
    return parser


def add_state_flag(parser: argparse.ArgumentParser) -> None:
    """Where a server's notes and logs are; one folder, one server."""
    parser.add_argument("--state", type=Path, default=Path(".serve"), metavar="DIR", help="notes and logs (.serve)")


def add_request_flags(parser: argparse.ArgumentParser) -> None:
    """PHOTO, TEXT, -o and the settings that `stylize` and `request` share."""
    parser.add_argument("photo")
    parser.add_argument("text", help='the style, such as "Watercolor painting"')
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="a .png, .jpg or .webp file")
    parser.add_argument("--mask", help="a picture of the photo's size, white where people are")
    parser.add_argument("--preset", default=DEFAULT_PRESET, help=f"{', '.join(PRESETS)} (default: {DEFAULT_PRESET})")
    parser.add_argument("--seed", type=number, default=0)
    fields = StyleConfig.model_fields
    parser.add_argument("--mode", help="artisan (preserves people) or clipstyler")
    parser.add_argument("--steps", type=number, metavar="N", help=f"{fields['steps'].description} (paper: 400)")
    parser.add_argument("--size", type=number, metavar="N", help=fields["size"].description)
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="any setting, such as regions.portrait.weight=0.1; `genartisan schema` lists them",
    )  # fmt: skip


def add_stylizer_flags(parser: argparse.ArgumentParser) -> None:
    """The networks and where they run."""
    parser.add_argument("--bundle", default="embedded", help="embedded, official or a folder (default: embedded)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32 or bf16")


def params_of(options: argparse.Namespace) -> dict[str, Any]:
    """The flags as the ``params`` of a request; the library's own checks judge them."""
    flags = {name: getattr(options, name) for name in ("mode", "steps", "size") if getattr(options, name) is not None}
    return merged({"preset": options.preset, "seed": options.seed, **flags}, assignments(options.settings))


def number(text: str) -> int | float | str:
    """A number where it is one; anything else is left to the settings' own check, which names field and range."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def load_stylizer(options: argparse.Namespace) -> Stylizer:
    from genartisan.bundle import Bundle
    from genartisan.stylizer import Stylizer

    return Stylizer(Bundle.load(options.bundle), options.device, options.precision)


def media_type_of(path: str, known: dict[str, str] = MEDIA_TYPES) -> str:
    """The media type that a file name asks for."""
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        raise InputError(f"output {path!r} ends in {suffix or 'nothing'}; end it in {', '.join(known)}.", "output")
    return known[suffix]


def check_writable(path: str | None) -> None:
    """Refuses early what could not be written after minutes of work."""
    if path is None:
        return
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise InputError(
            f"output {path!r} cannot be written: there is no folder {str(folder)!r}. Make it first.", "output"
        )
    if Path(path).is_dir():
        raise InputError(f"output {path!r} is a folder; give a file name.", "output")


def say(line: str) -> None:
    """Progress, apart from results."""
    print(line, file=sys.stderr, flush=True)


def write(path: str, content: bytes) -> None:
    """Writes a whole file, or says why not."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise InputError(f"output {path!r} cannot be written: {error.strerror}.", "output") from error


if __name__ == "__main__":
    sys.exit(main())
