"""Draining: a server takes nothing new and finishes what it has, so that it can end without losing a request.

Proxies learn it from the probe (`genartisan.serving.probe`), and send nothing more. TorchServe itself cannot stop
accepting requests; workers refuse, as 503, those that were sent after its queue was first empty. What waits in a proxy
since before is served.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from genartisan.errors import ServeError
from genartisan.serving.describe import describe_all
from genartisan.serving.jobs import Jobs
from genartisan.serving.processes import current
from genartisan.serving.state import Server, leave, stay

NOTICE = 5.0  # seconds for proxies to ask the probe, and for requests on their way to arrive
QUIET = 1.5  # seconds without work after which there is none
REPORT = 30.0  # seconds between two lines of progress
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # Linux's tables of TCP connections
LISTENING = "0A"  # state in them

Say = Callable[[str], None]


def drain(server: Server, say: Say) -> bool:
    """Returns once the server has no work left, or after its ``responseTimeout``, the longest that a request may take.

    Args:
        say: receives progress, a line at a time.

    Returns:
        Whether all work was finished.

    Raises:
        ServeError: the server does not answer.
    """
    jobs, began = Jobs(Path(server.temporary)), time.monotonic()
    grace = max(float(version["responseTimeout"]) for version in describe_all(server))
    leave(server.state)
    say(f"draining: no new requests; up to {grace:g} s for those in progress")
    time.sleep(NOTICE)
    busy_at = reported_at = time.monotonic()
    while (now := time.monotonic()) - busy_at < QUIET:
        if current(server.state) is None:
            return False
        waiting = _waiting(server)
        if waiting == 0:
            jobs.close()
        running, unsent = jobs.in_progress(), unsent_bytes((server.ports.inference, server.ports.grpc_inference))
        if waiting is None or waiting or running or unsent:
            busy_at = now
        if now - began > grace:
            say(f"{running} requests are still in progress after {grace:g} s; ending without them")
            return False
        if now - reported_at > REPORT:
            say(f"draining: {running} requests in progress, {waiting} waiting")
            reported_at = now
        time.sleep(QUIET / 5)
    return True


def resume(server: Server) -> None:
    """Ends draining: the server accepts requests again."""
    stay(server.state)
    Jobs(Path(server.temporary)).open()


def _waiting(server: Server) -> int | None:
    """Requests in TorchServe's queues; None if it does not say."""
    try:
        return sum(int(version["jobQueueStatus"]["pendingRequests"]) for version in describe_all(server))
    except (ServeError, LookupError):
        return None


def unsent_bytes(ports: Iterable[int]) -> int:
    """Bytes of answers that slow readers have not taken, on this machine's connections of these ports.

    Linux only; elsewhere 0.
    """
    endings = tuple(f":{port:04X}" for port in ports)
    total = 0
    for table in TABLES:
        with contextlib.suppress(FileNotFoundError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                _, local, _, state, queues = line.split()[:5]
                if local.endswith(endings) and state != LISTENING:
                    total += int(queues.partition(":")[0], 16)
    return total
