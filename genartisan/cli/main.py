"""``genartisan …``: the command line. An error is one line on stderr; exit status 2 means bad input."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genartisan import __version__
from genartisan.cli.batch_command import add_batch_flags, batch
from genartisan.cli.console import flush_stdout, print_summary, resilient_streams
from genartisan.cli.evaluation_flags import add_evaluation_flags, evaluation_settings
from genartisan.cli.flags import (
    Parser,
    add_bundle_flag,
    add_device_flags,
    add_json_flag,
    add_key_flag,
    add_model_actions,
    add_request_flags,
    add_state_flag,
    add_stream_flags,
    add_style_folder_flag,
    add_timeout_flag,
)
from genartisan.cli.page_command import add_ui_flags, ui
from genartisan.cli.picture_commands import add_segment_flags, add_stylize_flags, segment, stylize
from genartisan.cli.server_commands import (
    add_serve_flags,
    add_status_flags,
    archive,
    keys,
    models,
    request,
    serve_,
    status,
    stop,
)
from genartisan.cli.style_commands import (
    add_frames_flags,
    add_style_actions,
    add_training_flags,
    frames,
    style,
    train_start,
)
from genartisan.config import PRESETS, StyleConfig
from genartisan.errors import GenartisanError, WeightsError
from genartisan.serving.archive import VERSION
from genartisan.serving.defaults import HOST, READY_WITHIN, STORE, TIMEOUT, URL, Ports


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, or 2 for what the user can correct, 130 after Ctrl-C."""
    with resilient_streams():
        return run(arguments)


def run(arguments: Sequence[str] | None) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        options = build_parser().parse_args(arguments)
        exit_status = int(options.run(options) or 0)
        flush_stdout()  # report a failure here, not at exit
        return exit_status
    except GenartisanError as error:
        return fail(error.message, error.exit_status)
    except ModuleNotFoundError as error:
        return fail(f"{error.name} is not installed; install it with: pip install 'genartisan[serve]'.")
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename!r}: "
        return fail(f"{where}{error.strerror or error}.")
    except (MemoryError, RuntimeError) as error:
        from genartisan.networks.memory import out_of_memory

        if not out_of_memory(error):
            raise
        return fail("out of memory; lower --size, --output-size or --set patches=N, or use a smaller photo.")
    except KeyboardInterrupt:
        print("genartisan: interrupted", file=sys.stderr)
        return 130


def fail(message: str, exit_status: int = 2) -> int:
    """Prints an error on one line and returns the exit status."""
    print(f"genartisan: {' '.join(message.split())}", file=sys.stderr)
    return exit_status


def schema(options: argparse.Namespace) -> None:
    """Print the JSON schema of the settings, or the OpenAPI description of the endpoint."""
    if options.openapi:
        from genartisan.serving.schema import openapi

        print(json.dumps(openapi(), indent=2))
    else:
        print(json.dumps({**StyleConfig.model_json_schema(), "presets": PRESETS}, indent=2))


def styles(options: argparse.Namespace) -> None:
    """List the styles and colours that a bundle's CLIP knows."""
    from genartisan.networks.bundle import Bundle

    bundle = Bundle.load(options.bundle)
    known = bundle.clip.styles()
    if options.json:
        print(json.dumps({"bundle": bundle.name, "any_words": known is None, **(known or {})}, indent=2))
    elif known is None:
        print(f"bundle {bundle.name} understands any words")
    else:
        for kind, names in known.items():
            print("\n".join(f"{kind.removesuffix('s'):<11}{name}" for name in names))


def weights(options: argparse.Namespace) -> None:
    """Fetch, verify or list the official weights."""
    from genartisan.weights import official_bundle

    if options.action == "fetch":
        folder = official_bundle.fetch(from_dir=options.from_dir, dtype=options.dtype, out=options.out)
        print_summary(f"{folder}: use it as --bundle {folder if options.out else 'official'}")
    elif options.action == "verify":
        checks = official_bundle.verify(options.out)
        for check in checks:
            print(f"{'ok ' if check.ok else 'BAD'} {check.file}: {check.detail}")
        if not all(check.ok for check in checks):
            raise WeightsError("files are missing or damaged; `genartisan weights fetch` gets them.", "weights")
    else:
        for row in official_bundle.table():
            print("\n  ".join([f"{row['role']}: {row['name']}", *(f"{key}: {row[key]}" for key in list(row)[2:])]))


def evaluate(options: argparse.Namespace) -> None:
    """Compare both modes, or, with --judge alone, rate the pictures of a bundle."""
    settings = evaluation_settings(options, shlex.join(["genartisan", *sys.argv[1:]]))
    from genartisan.evaluation import runner

    for row in runner.evaluate(settings)["targets"]:
        print_summary(f"{row['what']}: {row['value']} ({row['target']})")
    print_summary(str(settings.document))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands and their flags."""
    parser = Parser(prog="genartisan", description="Stylise photos by a text or a picture; people stay recognisable.")
    parser.add_argument("--version", action="version", version=f"genartisan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=run.__doc__.strip().splitlines()[0], description=run.__doc__)
        sub.set_defaults(run=run)
        return sub

    add_stylize_flags(command("stylize", stylize))
    add_style_actions(command("style", style))
    add_frames_flags(command("frames", frames))
    add_batch_flags(command("batch", batch))
    add_segment_flags(command("segment", segment))

    sub = command("schema", schema)
    sub.add_argument("--openapi", action="store_true", help="print the HTTP endpoint in OpenAPI 3.1")

    sub = command("styles", styles)
    add_bundle_flag(sub)
    add_json_flag(sub)

    sub = command("weights", weights)
    sub.add_argument("action", choices=("fetch", "verify", "list"))
    sub.add_argument("--from", dest="from_dir", metavar="DIR", type=Path, help="use the files here; no network")
    sub.add_argument("--dtype", help="of the bundle's weights: bf16 or fp32, twice the size (default: bf16)")
    sub.add_argument("--out", metavar="DIR", type=Path, help="folder for the bundle (default: that of `official`)")

    sub = command("archive", archive)
    add_bundle_flag(sub)
    sub.add_argument("--store", type=Path, default=STORE, help=f"folder for the archive (default: {STORE})")
    sub.add_argument("--styles", nargs="*", metavar="NAME", help="saved styles to serve; without a name, all")
    add_style_folder_flag(sub)
    sub.add_argument(
        "--settings", type=Path, metavar="FILE", help="model settings (default: handlers/model-config.yaml)"
    )
    sub.add_argument(
        "--version", dest="model_version", default=VERSION, metavar="V",
        help=f"of the model (default: {VERSION}); another makes genartisan-V.mar, for `models register`",
    )  # fmt: skip
    sub.add_argument("--sign", type=Path, metavar="KEYFILE", help="also write a signature, ARCHIVE.sig")

    sub = command("serve", serve_)
    sub.add_argument("--store", type=Path, default=STORE, help=f"folder that `archive` wrote to (default: {STORE})")
    sub.add_argument(
        "--foreground",
        action="store_true",
        help="do not detach; restart after a crash; SIGTERM drains, Ctrl-C does not",
    )
    sub.add_argument("--host", default=HOST, help=f"address of HTTP and gRPC (default: {HOST})")
    for name, port in asdict(Ports()).items():
        flag = f"--{name.replace('_', '-')}-port"
        sub.add_argument(flag, dest=name, type=int, default=port, metavar="N", help=f"default: {port}")
    sub.add_argument("--config", type=Path, metavar="FILE", help="use another config.properties")
    add_serve_flags(sub)
    add_timeout_flag(sub, READY_WITHIN, "to wait until the server is ready")
    add_state_flag(sub)
    sub = command("stop", stop)
    sub.add_argument("--drain", action="store_true", help="first finish the requests in progress, and take no others")
    add_state_flag(sub)

    sub = command("status", status)
    add_status_flags(sub)
    add_json_flag(sub)
    add_state_flag(sub)

    sub = command("models", models)
    add_model_actions(sub)

    sub = command("keys", keys)
    sub.add_argument("action", choices=("where", "show", "rotate"))
    sub.add_argument("--kind", choices=("inference", "management"), default="inference", help="key to show")
    add_timeout_flag(sub, READY_WITHIN, "to wait for the server")
    add_state_flag(sub)

    sub = command("request", request)
    add_request_flags(sub)
    sub.add_argument("--url", default=URL, help=f"server (default: {URL})")
    sub.add_argument("--grpc", metavar="HOST:PORT", help="use gRPC instead; https://HOST:PORT with TLS")
    add_key_flag(sub)
    add_stream_flags(sub)
    add_timeout_flag(sub, TIMEOUT, "to wait for the picture or, in a stream, for each event")

    add_ui_flags(command("ui", ui))

    sub = command("evaluate", evaluate)
    add_evaluation_flags(sub)
    add_bundle_flag(sub)
    add_device_flags(sub)

    add_training_flags(command("train-start", train_start))
    return parser


if __name__ == "__main__":
    sys.exit(main())
