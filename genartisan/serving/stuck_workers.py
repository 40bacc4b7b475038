"""Workers for which TorchServe waits in vain are ended; it starts others in their place.

When Java's memory is used up in the moment in which it passes a request on, TorchServe does not notice that the worker
never got it, and waits for the answer for `responseTimeout`, an hour. What shows it is a queue beside a worker that
does not compute.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psutil

from genartisan.errors import ServeError
from genartisan.serving.describe import describe
from genartisan.serving.events import HOLD
from genartisan.serving.processes import is_member
from genartisan.serving.state import Server

IDLE = 0.01  # share of a core below which a worker does nothing
AFTER = 2 * HOLD  # seconds of that; a worker that is held (genartisan/serving/management.py) does nothing, either


class StuckWorkers:
    """Looks at a server's workers now and then.

    Args:
        after: seconds for which a worker has to have been idle, with requests waiting, to be stuck.
        say: is told of each that is ended.
    """

    def __init__(self, server: Server, say: Callable[[str], None], *, after: float = AFTER) -> None:
        self._server, self._say, self._after = server, say, after
        self._busy: dict[
            int, tuple[float, float]
        ] = {}  # by process: when it was last seen to compute, and its CPU time

    def look(self) -> None:
        """Looks once, and ends those that are stuck."""
        try:
            described = describe(self._server, "all")
        except ServeError:  # it is busy, or about to end
            return
        waited_for = {
            worker["pid"]
            for version in described
            for worker in version["workers"]
            if worker["status"] == "READY" and int(version.get("jobQueueStatus", {}).get("pendingRequests", 0))
        }
        self._busy = {pid: seen for pid, seen in self._busy.items() if pid in waited_for}
        for pid in waited_for:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._look_at(psutil.Process(pid))

    def _look_at(self, worker: psutil.Process) -> None:
        if not is_member(worker, self._server.state):
            return
        now, used = time.monotonic(), sum(worker.cpu_times()[:2])
        since, before = self._busy.setdefault(worker.pid, (now, used))
        if used - before > IDLE * self._after:
            self._busy[worker.pid] = now, used
        elif now - since > self._after:
            self._say(f"worker {worker.pid} does nothing while requests wait for it; ending it, for another one")
            worker.kill()
            del self._busy[worker.pid]
