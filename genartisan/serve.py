"""Starting and stopping TorchServe, so that "started" means ready and "stopped" means gone.

TorchServe's own commands return at once, whatever becomes of the model, and its stop leaves processes behind. Here the
state of a server (process, addresses, logs) is kept in a folder, ``.serve`` by default; one folder, one server.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from genartisan.access import KEY_FILE, NOTE, Access, note
from genartisan.archive import archive, digest_of, project_file
from genartisan.atomic import write_whole
from genartisan.client import request
from genartisan.endpoint import EVERYWHERE, HOST, MODEL, READY_WITHIN, STATE, STORE, Ports
from genartisan.errors import GenartisanError, ServeError
from genartisan.launch import check_ports, java_home, launch, write_config
from genartisan.server_log import failure

__all__ = ["Ports", "Server", "archive", "current", "run", "start", "stop"]

GONE_WITHIN = 20.0  # seconds that Java gets to end by itself
POLL = 0.2  # seconds between two looks at a server that is starting

Say = Callable[[str], None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """A running server, as noted in its state folder.

    Attributes:
        pid, created: of the Java process; the time tells it from a later process of the same number.
        keys: the file with the server's keys, which is not there if the configuration asks for none.
        temporary: the server's own temporary folder: sockets, the unpacked archive.
    """

    pid: int
    created: float
    url: str
    management: str
    metrics: str
    grpc: str
    keys: str
    temporary: str
    logs: str


def start(
    store: str | Path = STORE,
    *,
    ports: Ports | None = None,
    host: str = HOST,
    state: str | Path = STATE,
    config: str | Path | None = None,
    timeout: float = READY_WITHIN,
    say: Say = logger.info,
) -> Server:
    """Starts a server and returns when it is ready: its worker READY, and one small picture made over HTTP.

    Args:
        store: the folder with ``genartisan.mar``, which `archive` makes.
        host: address of the two inference ports; the others stay on this machine. 0.0.0.0 only inside a container.
        state: folder for logs and notes; made if missing.
        config: another config.properties.
        timeout: seconds until it has to be ready.
        say: is told how it goes, a line at a time.

    Raises:
        ServeError: it did not become ready, and why. No process is left behind.
    """
    store, state, ports = Path(store).resolve(), Path(state).resolve(), ports or Ports()
    if not (store / f"{MODEL}.mar").is_file():
        raise ServeError(f"there is no {MODEL}.mar in {store}; make it with `genartisan archive`.", "store")
    if digest_of(store / f"{MODEL}.mar") is None:  # TorchServe would start a worker for whatever it is
        raise ServeError(
            f"{MODEL}.mar in {store} is not a whole archive of ours; make it again with `genartisan archive`."
        )
    settings = Path(config) if config else project_file("config.properties")
    if not settings.is_file():
        raise ServeError(f"config {settings} is missing.", "config")
    running = current(state)
    if running:
        raise ServeError(f"a server runs at {running.url} (process {running.pid}); `genartisan stop` ends it.", "state")
    stop(state)  # what a dead one left behind
    check_ports(ports, host)
    java = java_home()
    logs = state / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)  # the keys will lie in here
    logs.mkdir()
    # A short path, wherever the state folder is: the worker's socket lies in here, and a socket's path has 107 bytes.
    temporary = Path(tempfile.mkdtemp(prefix="genartisan-"))
    try:
        write_config(settings, temporary, store, ports, host)
        say(f"starting TorchServe on {host}:{ports.inference} (HTTP) and {host}:{ports.grpc_inference} (gRPC)")
        pid = launch(temporary, store, java, state, logs)
        asked = HOST if host in EVERYWHERE else host
        server = Server(
            pid, psutil.Process(pid).create_time(), f"http://{asked}:{ports.inference}",
            f"http://{HOST}:{ports.management}", f"http://{HOST}:{ports.metrics}", f"{asked}:{ports.grpc_inference}",
            str(state / KEY_FILE), str(temporary), str(logs),
        )  # fmt: skip
        write_whole(state / NOTE, json.dumps(asdict(server), indent=2))
        _await_ready(server, time.monotonic() + timeout, say)
    except BaseException as error:
        _end(temporary)
        _forget(state)
        if isinstance(error, psutil.NoSuchProcess):
            raise ServeError(failure(logs, "TorchServe died at once"), "server") from error
        raise
    say(f"ready: {server.url}/predictions/{MODEL} and gRPC {server.grpc}; logs in {logs}")
    return server


def stop(state: str | Path = STATE, *, timeout: float = GONE_WITHIN, say: Say = logger.info) -> bool:
    """Ends the server of this state folder, and every process of it. What it is working on is cut off.

    Returns:
        Whether there was one.
    """
    running = current(state)
    temporary = note(state).get("temporary")
    if running:
        say(f"stopping process {running.pid}")
        _terminate(running, timeout)
    if temporary:
        _end(Path(temporary))
    _forget(Path(state))
    return running is not None


def current(state: str | Path = STATE) -> Server | None:
    """The server of this state folder, if it is alive."""
    try:
        server = Server(**note(state))
        process = psutil.Process(server.pid)
        alive = process.create_time() == server.created and process.status() != psutil.STATUS_ZOMBIE
    except (TypeError, ValueError, psutil.NoSuchProcess):  # no note, none of ours, or of a process that is gone
        return None
    return server if alive else None


def run(store: str | Path = STORE, *, state: str | Path = STATE, say: Say = logger.info, **options: Any) -> None:
    """As `start`, but stays until SIGTERM or Ctrl-C, and then stops the server: what a container's only process does.

    Raises:
        ServeError: the server did not become ready, or ended by itself later.
    """

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        server = start(store, state=state, say=say, **options)
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(server.pid).wait()
        raise ServeError(failure(Path(server.logs), "TorchServe ended by itself"), "server")
    except KeyboardInterrupt:
        return
    finally:
        stop(state, say=say)
        signal.signal(signal.SIGTERM, before)


def access_of(server: Server) -> Access:
    """The server's keys; none if it asks for none."""
    return Access(file=Path(server.keys)) if Path(server.keys).is_file() else Access()


def workers(server: Server) -> list[dict[str, Any]]:
    """What the management API says of the model's workers; nothing while it is not up."""
    try:
        with access_of(server).headers("management") as key:
            answer = httpx.get(f"{server.management}/models/{MODEL}", headers=key, timeout=5, trust_env=False)
        described: list[dict[str, Any]] = answer.json()[0]["workers"] if answer.status_code == 200 else []
    except (httpx.HTTPError, ValueError, LookupError, TypeError, ServeError):
        return []
    return described


def _await_ready(server: Server, deadline: float, say: Say) -> None:
    logs, told = Path(server.logs), False
    while not any(worker["status"] == "READY" for worker in workers(server)):
        if not psutil.pid_exists(server.pid) or psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE:
            raise ServeError(failure(logs, "TorchServe died while it started"), "server")
        reason = failure(logs, "")
        if reason:
            raise ServeError(f"the worker cannot load the model: {reason}", "archive")
        if time.monotonic() > deadline:
            raise ServeError(f"the worker was not ready in time; look into {logs}.", "timeout")
        if workers(server) and not told:
            say("loading the bundle")
            told = True
        time.sleep(POLL)
    say("making one small picture")
    try:
        remaining = max(1.0, deadline - time.monotonic())
        keys = access_of(server).file
        request(tiny_photo(), "Warm-up", params=TINY, url=server.url, timeout=remaining, key_file=keys)
    except GenartisanError as error:
        raise ServeError(f"the server is up, but its first picture failed: {error.message}", "server") from error


TINY = {"size": 64, "steps": 1, "patches": 1, "patch_size": 32}


def tiny_photo() -> bytes:
    """A grey 64 x 64 photo, as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(buffer, "PNG")
    return buffer.getvalue()


def _forget(state: Path) -> None:
    """Removes the note of a server that is gone, and its keys, which open nothing any more."""
    for name in (NOTE, KEY_FILE):
        (state / name).unlink(missing_ok=True)


def _terminate(server: Server, timeout: float) -> None:
    """Asks Java to end, and waits; it takes its workers along."""
    try:
        java = psutil.Process(server.pid)
        family = [java, *java.children(recursive=True)]
        java.terminate()
    except psutil.NoSuchProcess:
        return
    psutil.wait_procs(family, timeout=timeout)


def _end(temporary: Path) -> None:
    """Kills whatever still names this folder in its command line, as Java and each worker do; removes the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(temporary) in argument for argument in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [process, *process.children(recursive=True)]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=10)
    shutil.rmtree(temporary, ignore_errors=True)
