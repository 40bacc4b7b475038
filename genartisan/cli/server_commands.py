"""The commands that run a server, manage it, or send it a request."""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genartisan.cli.console import print_progress, print_summary, print_warnings
from genartisan.cli.flags import files_read, masks_of, params_of, photo_of, seconds, style_images_of
from genartisan.cli.outputs import MEDIA_TYPES, STDOUT, check_distinct, check_outputs, media_type_of, write
from genartisan.errors import GenartisanError, InputError, ServeError
from genartisan.serving.defaults import DRAFT, MODEL, Ports

if TYPE_CHECKING:
    from genartisan.serving.management import Models
    from genartisan.serving.versions import Version

EXIT_STATUS = {"ready": 0, "not_ready": 1, "draining": 1, "stopped": 3}  # of `status`; 3 as in init scripts


def archive(options: argparse.Namespace) -> None:
    """Build the TorchServe archive."""
    from genartisan.serving.archive import archive

    files = [] if options.styles is None else style_files(options)
    path = archive(options.bundle, options.store, options.model_version, options.settings, files, options.sign)
    print_summary(str(path))


def style_files(options: argparse.Namespace) -> list[Path]:
    """The files of the saved styles to serve."""
    from genartisan.method.saved_style import StyleFolder, find

    styles = StyleFolder(options.style_folder)
    names = options.styles or list(styles)
    if not names:
        raise InputError(f"no styles in {str(styles.folder)!r}; make one with `genartisan style make`.", "styles")
    for name in names:
        find(styles, name)
    return [styles.path(name) for name in dict.fromkeys(names)]


def add_serve_flags(parser: argparse.ArgumentParser) -> None:
    """How `serve` starts."""
    parser.add_argument("--probe-port", type=int, metavar="N", help="with --foreground: answer GET /healthz here")
    parser.add_argument("--fresh", action="store_true", help="start with genartisan.mar alone; restore nothing")
    parser.add_argument("--require-signature", type=Path, metavar="KEYFILE", help="accept only archives signed with it")


def serve_(options: argparse.Namespace) -> None:
    """Start TorchServe and return when it is ready."""
    from genartisan.serving import serve, supervisor

    ports = Ports(*(getattr(options, name) for name in asdict(Ports())))
    probe: dict[str, Any] = {}
    if options.probe_port is not None:
        if not options.foreground:
            raise InputError("probe_port needs --foreground; without it, use `genartisan status`.", "probe_port")
        probe = {"probe": options.probe_port}
    start: Callable[..., object] = supervisor.run if options.foreground else serve.start
    start(
        options.store,
        ports=ports,
        host=options.host,
        state=options.state,
        config=options.config,
        timeout=options.timeout,
        fresh=options.fresh,
        signature_key=options.require_signature,
        say=print_progress,
        **probe,
    )


def add_status_flags(parser: argparse.ArgumentParser) -> None:
    """What `status` asks of a ready server."""
    parser.add_argument(
        "--draft-within", type=seconds, metavar="S", help="ready also means: a small draft takes at most S seconds"
    )


def status(options: argparse.Namespace) -> int:
    """Report whether the server is ready: exit status 0 if it is, 1 if it drains or is not yet, 3 if none runs.

    Ready means that a worker of the default version accepts requests, and one for drafts, if they have their own.
    """
    from genartisan.serving import serve
    from genartisan.serving.state import is_leaving
    from genartisan.serving.versions import all_versions

    server = serve.current(options.state)
    versions: list[Version] = []
    if server is not None:
        try:
            versions = all_versions(server)
        except ServeError as error:
            print_progress(f"genartisan: {error.message}")
    defaults = {version.model: version.ready for version in versions if version.default}
    ready = server is not None and all(defaults.get(model) for model in server.models)
    leaving = server is not None and is_leaving(server.state)
    if server is not None and ready and not leaving and options.draft_within is not None:
        try:
            serve.check_draft(server, options.draft_within)
        except GenartisanError as error:
            print_progress(f"genartisan: the server made no draft: {error.message}")
            ready = False
    word = "ready" if ready else "stopped" if server is None else "not_ready"
    if leaving:
        word = "draining"
    names = ("pid", "url", "grpc", "logs")
    where = {"state": str(options.state)} if server is None else {name: getattr(server, name) for name in names}
    if options.json:
        print(json.dumps({"status": word, **where, "versions": [asdict(version) for version in versions]}, indent=2))
    else:
        print(word.replace("_", " "), *(f"{name} {value}" for name, value in where.items()), sep="\n  ")
        if versions:
            print_table(versions)
    return EXIT_STATUS[word]


def stop(options: argparse.Namespace) -> None:
    """Stop TorchServe."""
    from genartisan.serving import serve

    if not serve.stop(options.state, draining=options.drain, say=print_progress):
        print_progress(f"no server is running in state {str(options.state)!r}")


def models(options: argparse.Namespace) -> None:
    """List, register, scale or remove versions, or set the default one; no request is lost."""
    from genartisan.serving.versions import all_versions

    manager = running_models(options)
    if options.action == "register":
        manager.register(options.archive, options.workers)
    elif options.action == "scale":
        of_drafts = running_models(options, model=DRAFT) if options.drafts else manager
        of_drafts.scale(options.workers, options.model_version)
    elif options.action == "default":
        manager.set_default(options.model_version)
    elif options.action == "remove":
        manager.remove(options.model_version)
    versions = all_versions(manager.server)
    show = print if options.action == "list" else print_summary
    if options.json:
        show(json.dumps([asdict(version) for version in versions], indent=2))
    else:
        print_table(versions, show)


def print_table(versions: list[Version], show: Callable[[str], None] = print) -> None:
    """Prints one line per version of a model."""
    row = "{:<17} {:<12} {:<8} {:<8} {:<8} {}".format
    show(row("model", "version", "default", "ready", "waiting", "archive"))
    for version in versions:
        ready = f"{version.ready}/{len(version.workers)}"
        show(
            row(version.model, version.name, "yes" if version.default else "", ready, version.waiting, version.archive)
        )


def keys(options: argparse.Namespace) -> None:
    """Show a key of the server, show where the keys are, or rotate them."""
    manager = running_models(options)
    if manager.access.file is None:
        raise ServeError("this server needs no keys: its configuration sets disable_token_authorization.", "state")
    if options.action == "rotate":
        manager.rotate_keys()
        print_summary(str(manager.access.file))
    else:
        print(manager.access.key(options.kind) if options.action == "show" else manager.access.file)


def running_models(options: argparse.Namespace, model: str = MODEL) -> Models:
    """The versions of the running server."""
    from genartisan.serving import serve
    from genartisan.serving.management import Models

    server = serve.current(options.state)
    if server is None:
        raise ServeError(
            f"no server is running in state {str(options.state)!r}; start one with `genartisan serve`.", "state"
        )
    return Models(server, model=model, timeout=options.timeout, say=print_progress)


def request(options: argparse.Namespace) -> None:
    """Stylise a photo on a running server."""
    from genartisan.cli.stream_progress import PREVIEWS
    from genartisan.serving import client

    accept = media_type_of(options.output, options.format, {**MEDIA_TYPES, ".json": "application/json"})
    key_file = [] if options.key_file is None else [("key_file", options.key_file)]
    previews = [] if options.previews is None else options.previews.glob(PREVIEWS)  # overwritten
    check_outputs([*files_read(options), *key_file], [("output", options.output)], options.overwrite)
    check_distinct([*files_read(options), *key_file], [("previews", path) for path in previews])
    query: dict[str, Any] = {
        "photo": photo_of(options),
        "prompt": options.text,
        "mask": masks_of(options),
        "style_image": style_images_of(options),
        "params": params_of(options),
        "url": options.url,
        "timeout": options.timeout,
        "key_file": options.key_file,
    }
    if options.stream or options.previews is not None:
        content, warned = streamed(options, query, accept)
    else:
        reply = client.request(**query, accept=accept, grpc=options.grpc)
        content, warned = reply.content, reply.warnings
    write(options.output, content)
    print_warnings(warned)
    if options.output not in STDOUT:
        print_summary(options.output)


def streamed(options: argparse.Namespace, query: dict[str, Any], accept: str) -> tuple[bytes, Sequence[str]]:
    """The content of the output file, requested as a stream with a progress bar, and warnings."""
    from genartisan.cli.stream_progress import watch
    from genartisan.serving import client

    if options.grpc is not None:
        raise InputError("stream is available over HTTP only; drop --grpc, or --stream and --previews.", "stream")
    if options.preview_every is not None or options.previews is None:
        query["params"]["preview_every"] = options.preview_every or 0
    in_json = accept == "application/json"
    with closing(client.stream(**query, accept="image/png" if in_json else accept)) as events:  # Ctrl-C cancels
        result = watch(events, options.previews, options.quiet)
    if in_json:
        content = json.dumps({name: result[name] for name in ("media_type", "photo", "report")}).encode()
    else:
        content = base64.b64decode(result["photo"])
    return content, result["report"]["warnings"]
