"""Kills workers that never got the request TorchServe thinks they have; TorchServe replaces them.

When Java runs out of memory while it forwards a request, TorchServe does not notice that the worker never got it, and
waits for the reply for `responseTimeout`, an hour. The symptom is an idle worker with requests in its queue.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psutil

from genartisan.errors import ServeError
from genartisan.serving.describe import describe_all
from genartisan.serving.events import HOLD
from genartisan.serving.processes import is_member
from genartisan.serving.state import Server

IDLE = 0.01  # share of a core below which a worker is idle
STUCK_AFTER = 2 * HOLD  # seconds; a held worker (genartisan/serving/management.py) is idle, too


class StuckWorkers:
    """Finds stuck workers by repeated checks.

    Args:
        after: seconds for which a worker must be idle, with requests queued, to count as stuck.
        say: receives a line for each worker killed.
    """

    def __init__(self, server: Server, say: Callable[[str], None], *, after: float = STUCK_AFTER) -> None:
        self._server, self._say, self._after = server, say, after
        self._last_busy: dict[int, tuple[float, float]] = {}  # PID -> when it last computed, its CPU time then

    def check(self) -> None:
        """Checks all workers, and kills the stuck ones."""
        try:
            described = describe_all(self._server)
        except ServeError:  # the server is busy, or about to end
            return
        with_queue = {
            worker["pid"]
            for version in described
            for worker in version["workers"]
            if worker["status"] == "READY" and int(version.get("jobQueueStatus", {}).get("pendingRequests", 0))
        }
        self._last_busy = {pid: busy for pid, busy in self._last_busy.items() if pid in with_queue}
        for pid in with_queue:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._check_worker(psutil.Process(pid))

    def _check_worker(self, worker: psutil.Process) -> None:
        if not is_member(worker, self._server.state):
            return
        now, used = time.monotonic(), sum(worker.cpu_times()[:2])
        since, before = self._last_busy.setdefault(worker.pid, (now, used))
        if used - before > IDLE * self._after:
            self._last_busy[worker.pid] = now, used
        elif now - since > self._after:
            self._say(f"worker {worker.pid} is idle while requests wait for it; killing it, TorchServe starts another")
            worker.kill()
            del self._last_busy[worker.pid]
