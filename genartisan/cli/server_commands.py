"""The commands of whoever runs a server or asks one."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genartisan.cli.flags import files_read, masks_of, params_of, photo_of, style_images_of
from genartisan.cli.outputs import MEDIA_TYPES, STDOUT, check_distinct, check_outputs, media_type_of, tell, write
from genartisan.errors import InputError, ServeError
from genartisan.serving.defaults import Ports

if TYPE_CHECKING:  # torch takes a second to import, which `--help` and `request` need not wait for
    from genartisan.serving.management import Models
    from genartisan.serving.versions import Version

STATUS = {"ready": 0, "not_ready": 1, "stopped": 3}  # exit statuses of `status`; 3 as of an init script


def archive(options: argparse.Namespace) -> None:
    """Builds the TorchServe archive."""
    from genartisan.serving.archive import archive

    files = [] if options.styles is None else style_files(options)
    tell(str(archive(options.bundle, options.store, options.model_version, options.settings, files, options.sign)))


def style_files(options: argparse.Namespace) -> list[Path]:
    """Of the saved styles that are to be served."""
    from genartisan.method.saved_style import StyleFolder, find

    styles = StyleFolder(options.style_folder)
    names = options.styles or list(styles)
    if not names:
        raise InputError(f"styles are none in {str(styles.folder)!r}; make one (genartisan style make).", "styles")
    for name in names:
        find(styles, name)
    return [styles.path(name) for name in dict.fromkeys(names)]


def add_serve_flags(parser: argparse.ArgumentParser) -> None:
    """How `serve` starts, beside where it listens."""
    parser.add_argument(
        "--probe-port", type=int, metavar="N", help="with --foreground: GET /healthz there says whether it is ready"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="with genartisan.mar alone, not with what was in service when it last ran"
    )
    parser.add_argument(
        "--require-signature", type=Path, metavar="KEYFILE", help="take only archives that are signed with this key"
    )


def serve_(options: argparse.Namespace) -> None:
    """Starts TorchServe; returns when it is ready."""
    from genartisan.serving import serve

    ports = Ports(*(getattr(options, name) for name in asdict(Ports())))
    probe: dict[str, Any] = {}
    if options.probe_port is not None:
        if not options.foreground:
            raise InputError("probe_port is for --foreground; without it ask `genartisan status`.", "probe_port")
        probe = {"probe": options.probe_port}
    start: Callable[..., object] = serve.run if options.foreground else serve.start
    start(
        options.store,
        ports=ports,
        host=options.host,
        state=options.state,
        config=options.config,
        timeout=options.timeout,
        fresh=options.fresh,
        signature_key=options.require_signature,
        say=say,
        **probe,
    )


def status(options: argparse.Namespace) -> int:
    """Whether a server is ready: exit status 0 if it is, 1 if it runs and is not, 3 if none runs.

    Ready it is when a worker of the default version takes requests.
    """
    from genartisan.serving import serve
    from genartisan.serving.management import Models

    server = serve.current(options.state)
    versions: list[Version] = []
    if server is not None:
        try:
            versions = Models(server).versions()
        except ServeError as error:
            say(f"genartisan: {error.message}")
    ready = any(version.default and version.ready for version in versions)
    word = "ready" if ready else "stopped" if server is None else "not_ready"
    where = {} if server is None else {name: getattr(server, name) for name in ("pid", "url", "grpc", "logs")}
    if options.json:
        print(json.dumps({"status": word, **where, "versions": [asdict(version) for version in versions]}, indent=2))
    else:
        print(word.replace("_", " "), *(f"{name} {value}" for name, value in where.items()), sep="\n  ")
        if versions:
            print_table(versions)
    return STATUS[word]


def stop(options: argparse.Namespace) -> None:
    """Stops TorchServe."""
    from genartisan.serving import serve

    if not serve.stop(options.state, say=say):
        say("there was no server to stop")


def models(options: argparse.Namespace) -> None:
    """The versions in service: list, register, scale, set default or remove one, without losing a request."""
    managed = running_models(options)
    if options.action == "register":
        managed.register(options.archive, options.workers)
    elif options.action == "scale":
        managed.scale(options.workers, options.model_version)
    elif options.action == "default":
        managed.set_default(options.model_version)
    elif options.action == "remove":
        managed.remove(options.model_version)
    versions, show = managed.versions(), print if options.action == "list" else tell
    if options.json:
        show(json.dumps([asdict(version) for version in versions], indent=2))
    else:
        print_table(versions, show)


def print_table(versions: list[Version], show: Callable[[str], None] = print) -> None:
    """A line for each version."""
    row = "{:<12} {:<8} {:<8} {:<8} {}".format
    show(row("version", "default", "ready", "waiting", "archive"))
    for version in versions:
        ready = f"{version.ready}/{len(version.workers)}"
        show(row(version.name, "yes" if version.default else "", ready, version.waiting, version.archive))


def keys(options: argparse.Namespace) -> None:
    """The server's keys: where they are, show one of them, or rotate, which voids them and draws new ones."""
    managed = running_models(options)
    if managed.access.file is None:
        raise ServeError("this server asks for no keys (disable_token_authorization in its configuration).", "state")
    if options.action == "rotate":
        managed.rotate_keys()
        tell(str(managed.access.file))
    else:
        print(managed.access.key(options.kind) if options.action == "show" else managed.access.file)


def running_models(options: argparse.Namespace) -> Models:
    from genartisan.serving import serve
    from genartisan.serving.management import Models

    server = serve.current(options.state)
    if server is None:
        raise ServeError(f"no server runs in state {str(options.state)!r}; start one with `genartisan serve`.", "state")
    return Models(server, timeout=options.timeout, say=say)


def request(options: argparse.Namespace) -> None:
    """PHOTO [TEXT] -o OUT: one picture from a running server."""
    from genartisan.cli.stream_progress import PREVIEWS
    from genartisan.serving import client

    accept = media_type_of(options.output, options.format, {**MEDIA_TYPES, ".json": "application/json"})
    key_file = [] if options.key_file is None else [("key_file", options.key_file)]
    previews = [] if options.previews is None else options.previews.glob(PREVIEWS)  # they may be overwritten
    check_outputs([*files_read(options), *key_file], [("output", options.output)], options.overwrite)
    check_distinct([*files_read(options), *key_file], [("previews", path) for path in previews])
    wish: dict[str, Any] = {
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
        content = streamed(options, wish, accept)
    else:
        content = client.request(**wish, accept=accept, grpc=options.grpc).content
    write(options.output, content)
    if options.output not in STDOUT:
        tell(options.output)


def streamed(options: argparse.Namespace, wish: dict[str, Any], accept: str) -> bytes:
    """What `request` writes, by way of a stream that is shown meanwhile."""
    from genartisan.cli.stream_progress import watch
    from genartisan.serving import client

    if options.grpc is not None:
        raise InputError("stream is over HTTP only; leave out --grpc, or --stream and --previews.", "stream")
    if options.preview_every is not None or options.previews is None:
        wish["params"]["preview_every"] = options.preview_every or 0
    in_json = accept == "application/json"
    events = client.stream(**wish, accept="image/png" if in_json else accept)
    result = watch(events, options.previews, options.quiet)
    if in_json:
        return json.dumps({name: result[name] for name in ("media_type", "photo", "report")}).encode()
    return base64.b64decode(result["photo"])


def say(line: str) -> None:
    """Progress, apart from results."""
    print(line, file=sys.stderr, flush=True)
