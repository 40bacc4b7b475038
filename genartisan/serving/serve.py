"""Starting and stopping TorchServe, so that "started" means ready and "stopped" means gone.

TorchServe's own commands return before the model has loaded, and its stop leaves processes behind. Here the state of a
server (process, keys, logs, versions) lives in a folder, ``.serve`` by default: one folder, one server.
"""

from __future__ import annotations

import io
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from genartisan.errors import EndedError, GenartisanError, ServeError
from genartisan.serving import restore, tracing
from genartisan.serving.archive import archive
from genartisan.serving.archive_check import check
from genartisan.serving.client import request
from genartisan.serving.defaults import CONTROL, HOST, MODEL, READY_WITHIN, STATE, STORE, Ports
from genartisan.serving.describe import POLL, access_of, is_ready, workers
from genartisan.serving.drain import drain, resume
from genartisan.serving.launch import (
    Java,
    check_ports,
    java_home,
    launch,
    loads_drafts,
    read_settings,
    write_config,
)
from genartisan.serving.management import restore_versions
from genartisan.serving.processes import current, end
from genartisan.serving.server_log import failure, rotate
from genartisan.serving.state import LOGS, MODELS, Server, forget, leave, make_run, prepare

__all__ = ["Ports", "Server", "archive", "current", "start", "stop", "workers"]

GONE_WITHIN = 20.0  # seconds for Java to exit by itself

Say = Callable[[str], None]
logger = logging.getLogger(__name__)


def start(store: str | Path = STORE, *, say: Say = logger.info, **options: Any) -> Server:
    """Starts a server and returns when it is ready: a worker is READY and one small picture was made over HTTP.

    It restores the versions, default version and workers of the last server with this state folder and store, if there
    was one; otherwise it serves ``genartisan.mar``.

    Args:
        store: folder with ``genartisan.mar`` and ``genartisan-control.mar``, which `archive` builds.
        say: receives progress, a line at a time.
        options: as in `start_process`: ``ports``, ``host``, ``state``, ``config``, ``timeout``, ``fresh``,
            ``signature_key``.

    Raises:
        ServeError: the server did not become ready. No process is left behind.
    """
    return start_process(store, say=say, **options)[0]


def start_process(
    store: str | Path,
    *,
    say: Say,
    ports: Ports | None = None,
    host: str = HOST,
    state: str | Path = STATE,
    config: str | Path | None = None,
    timeout: float = READY_WITHIN,
    fresh: bool = False,
    signature_key: str | Path | None = None,
    foreground: bool = False,
) -> tuple[Server, Java]:
    """As `start`; also returns the process.

    Args:
        host: address of the two inference ports; the others stay on loopback. Use 0.0.0.0 only inside a container.
        state: state folder; created if missing.
        config: replaces config.properties.
        timeout: seconds within which the server must be ready.
        fresh: serve ``genartisan.mar`` alone, whatever was in service before.
        signature_key: key file; every archive must carry its signature.
        foreground: relay the server's logs to stdout as JSON lines.
    """
    store, state, ports = Path(store).resolve(), Path(state).resolve(), ports or Ports()
    key_file = Path(signature_key).resolve() if signature_key else None
    settings = read_settings(config)
    running = current(state)
    if running:
        raise ServeError(f"a server runs at {running.url} (process {running.pid}); `genartisan stop` ends it.", "state")
    planned = [restore.ALONE] if fresh else restore.plan(state, store, say)
    recipes = [check(store / version.archive, key_file) for version in planned]
    check(store / f"{CONTROL}.mar", key_file, CONTROL)
    check_ports(ports, host)
    if tracing.is_wanted():
        say("requests are traced")
    java = java_home()
    stop(state)  # cleans up after a server that crashed
    prepare(state)
    logs = state / LOGS
    logs.mkdir(mode=0o700, exist_ok=True)
    rotate(logs)
    try:
        folder = make_run(state)
        request_bytes = max(recipe.request_bytes for recipe in recipes)
        write_config(settings, folder, store, planned[0].archive, request_bytes, ports, host)
        say(f"starting TorchServe on {host}:{ports.inference} (HTTP) and {host}:{ports.grpc_inference} (gRPC)")
        process = launch(folder, java, store, state, settings.get("vmargs", "").split(), relayed=foreground)
        server = Server(
            state=state, pid=process.pid, created=psutil.Process(process.pid).create_time(), host=host, ports=ports,
            store=store, has_drafts=loads_drafts(settings), signature_key=key_file,
        )  # fmt: skip
        server.note()
        _await_ready(server, process, time.monotonic() + timeout, say)
        restore_versions(planned, server, timeout, say)
        if fresh:
            (state / MODELS).unlink(missing_ok=True)
    except BaseException:
        end(state, GONE_WITHIN)
        forget(state)
        raise
    say(f"ready: {server.url}/predictions/{MODEL} and gRPC {server.grpc}; logs in {logs}")
    return server, process


def stop(
    state: str | Path = STATE, *, draining: bool = False, timeout: float = GONE_WITHIN, say: Say = logger.info
) -> bool:
    """Ends every process of the server of this state folder.

    Args:
        draining: whether requests in progress are finished first (`genartisan.serving.drain`); they are cut off
            otherwise. An interrupt meanwhile leaves the server running.

    Returns:
        Whether a server was running.
    """
    state = Path(state).resolve()
    running = current(state)
    if running and draining:
        try:
            drain(running, say)
        except BaseException:
            resume(running)
            raise
    if running:
        say(f"stopping process {running.pid}")
        leave(state)
    end(state, timeout)
    forget(state)
    return running is not None


def _await_ready(server: Server, process: Java, deadline: float, say: Say) -> None:
    logs, announced, reason = Path(server.logs), False, ""
    while True:
        if process.has_ended():
            raise EndedError(failure(logs, f"TorchServe died while it started, with {process.exit_reason()}"), "server")
        if all(is_ready(server, model) for model in (*server.models, CONTROL)):
            break
        last, reason = reason, failure(logs, "")
        if reason and reason == last:  # its traceback is complete
            raise ServeError(f"the worker cannot load the model: {reason}", "archive")
        if time.monotonic() > deadline:
            raise ServeError(failure(logs, "the worker was not ready in time"), "timeout")
        if not announced and workers(server):
            say("loading the bundle")
            announced = True
        time.sleep(POLL)
    say("making one small picture")
    try:
        remaining = max(1.0, deadline - time.monotonic())
        _request_tiny(server, TINY_PARAMS, remaining)
    except GenartisanError as error:
        raise ServeError(f"the server is up, but its first picture failed: {error.message}", "server") from error


def check_draft(server: Server, timeout: float) -> None:
    """Has the server make a small draft, which counts as a request. It waits behind drafts, not behind runs.

    Without workers for drafts it waits behind runs.

    Raises:
        GenartisanError: there was no draft within ``timeout`` seconds; it is cancelled.
    """
    seed = secrets.randbelow(2**31)  # new each time, or the result cache would answer
    _request_tiny(server, {"preset": "draft", "size": 64, "seed": seed}, timeout)


def _request_tiny(server: Server, params: dict[str, Any], timeout: float) -> None:
    keys = access_of(server).file
    request(tiny_photo(), "Warm-up", params=params, url=server.url, timeout=timeout, key_file=keys)


TINY_PARAMS = {"size": 64, "steps": 1, "patches": 1, "patch_size": 32}


def tiny_photo() -> bytes:
    """A grey 64 × 64 PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(buffer, "PNG")
    return buffer.getvalue()
