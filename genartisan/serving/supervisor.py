"""A server in the foreground, as a container's main process: probe, restarts, draining at SIGTERM."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from genartisan.errors import EndedError, ServeError
from genartisan.serving import serve
from genartisan.serving.defaults import HOST, STATE, STORE, Ports
from genartisan.serving.drain import drain
from genartisan.serving.launch import Java, check_ports
from genartisan.serving.probe import Probe
from genartisan.serving.state import Server, is_leaving, noted
from genartisan.serving.stuck_workers import StuckWorkers

WATCH_INTERVAL = 10.0  # seconds between checks for stuck workers
RESTARTS = 3  # after as many crashes within `SETTLED` the next one ends it all
SETTLED = 600.0  # seconds

Say = Callable[[str], None]


class Terminated(BaseException):
    """SIGTERM came while the server was up. No Exception, so that nothing handles it in passing."""


def run(
    store: str | Path = STORE,
    *,
    state: str | Path = STATE,
    probe: int | None = None,
    say: Say = serve.logger.info,
    **options: Any,
) -> None:
    """Runs a server until SIGTERM, which drains it first, or Ctrl-C or a second SIGTERM, which do not.

    If Java ends by itself, another is started, with new keys and the same versions and workers.

    Args:
        probe: port of the readiness probe (`genartisan.serving.probe`).
        options: as in `genartisan.serving.serve.start`.

    Raises:
        ServeError: the server did not become ready.
        EndedError: it crashed more than `RESTARTS` times in a row.
    """
    ports, host = options.get("ports") or Ports(), options.get("host", HOST)
    crashes: list[float] = []
    with Signals() as signals, contextlib.suppress(KeyboardInterrupt):
        if probe is not None:
            check_ports(ports, host, probe)
        with Probe(state, host, probe):
            while (crash := _run_once(signals, store, state, say, options)) is not None:
                now = time.monotonic()
                crashes = [earlier for earlier in crashes if now - earlier < SETTLED] + [now]
                if len(crashes) > RESTARTS:
                    raise EndedError(crash, "server")
                say(f"{crash}; starting another")


def _run_once(signals: Signals, store: str | Path, state: str | Path, say: Say, options: dict[str, Any]) -> str | None:
    """Starts a server and waits for its end; how it crashed, None if it was stopped."""
    signals.interrupt()
    server, java = serve.start_process(store, state=state, say=say, foreground=True, **options)
    try:
        signals.terminate()
        return _watch(server, java, say)
    except Terminated:
        signals.interrupt()
        with contextlib.suppress(ServeError):  # it does not answer, so there is nothing to wait for
            drain(server, say)
        return None
    finally:
        signals.remember()  # one now would interrupt the clean-up
        serve.stop(state, say=say)


def _watch(server: Server, java: Java, say: Say) -> str | None:
    """Waits for the end of a server; how it crashed, None if it was stopped."""
    stuck_workers = StuckWorkers(server, say)
    while not java.has_ended(within=WATCH_INTERVAL):
        stuck_workers.check()
    if is_leaving(server.state) or noted(server.state) is None:
        return None
    return f"TorchServe ended by itself, with {java.exit_reason()}; logs: {server.logs}"


class Signals:
    """The handling of SIGINT, SIGTERM and SIGHUP, which a block ends with as it began; ignored ones stay ignored."""

    def __init__(self) -> None:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        self._before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        self._came = False  # while they were remembered

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def interrupt(self) -> None:
        """Each raises KeyboardInterrupt, at once if one came while they were remembered."""
        for number in self._before:
            signal.signal(number, _interrupt)
        if self._came:
            raise KeyboardInterrupt

    def terminate(self) -> None:
        """SIGTERM raises `Terminated`."""
        if signal.SIGTERM in self._before:
            signal.signal(signal.SIGTERM, _terminate)

    def remember(self) -> None:
        """Each waits for `interrupt`."""
        for number in self._before:
            signal.signal(number, self._remember)

    def _remember(self, *_: object) -> None:
        self._came = True


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _terminate(*_: object) -> NoReturn:
    raise Terminated
