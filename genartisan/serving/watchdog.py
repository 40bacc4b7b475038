"""Ends a worker that hangs or is stopped within a timeout, so that the server replaces it.

A worker that hangs in a request ends itself: `faulthandler`'s timer works even if PyTorch's threads deadlock, and logs
the stack of every thread. A stopped process, or one whose interpreter is stuck, cannot do that. So it has a child, this
very file run as a script, that expects heartbeats, and kills its parent when they stop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

BEAT = 5.0  # seconds between two heartbeats, or a tenth of the timeout
logger = logging.getLogger(__name__)


class Watchdog:
    """Watches this process from now on.

    Args:
        seconds: the longest time without a heartbeat, or without progress in a request.
        on_beat: called with each heartbeat, in its thread.

    Raises:
        ValueError: ``seconds`` is not above 0.
    """

    def __init__(self, seconds: float, on_beat: Callable[[], None] = lambda: None) -> None:
        if not seconds > 0:
            raise ValueError(f"silence_s is {seconds:g}; give seconds above 0")
        self._seconds, self._on_beat = seconds, on_beat
        self._beat_every = min(BEAT, seconds / 10)
        self._armed_at: float | None = None  # None between requests
        threading.Thread(target=self._beat, name="watchdog", daemon=True).start()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """A block in which the process works on a request."""
        self._arm()
        try:
            yield
        finally:
            self._armed_at = None
            faulthandler.cancel_dump_traceback_later()

    def progress(self) -> None:
        """The request has made progress."""
        if self._armed_at is not None and time.monotonic() - self._armed_at >= self._beat_every:
            self._arm()

    def _arm(self) -> None:
        self._armed_at = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds, exit=True)

    def _beat(self) -> None:
        heartbeats = self._start_child()
        while True:
            try:
                os.write(heartbeats, b".")
            except OSError:
                logger.warning("the watchdog process is gone; starting another one")
                os.close(heartbeats)
                heartbeats = self._start_child()
            try:
                self._on_beat()
            except Exception:
                logger.exception("on_beat failed")
            time.sleep(self._beat_every)

    def _start_child(self) -> int:
        """Starts the child; returns the pipe that it reads."""
        read, write = os.pipe()
        command = [sys.executable, "-I", "-S", __file__, str(self._seconds), str(self._beat_every)]
        with open(read, closefd=True) as heartbeats:
            self._child = subprocess.Popen(command, stdin=heartbeats, stdout=subprocess.DEVNULL)
        return write


def watch(seconds: float, beat_every: float) -> None:
    """The child: reads heartbeats from standard input until the parent ends, or kills it when they stop."""
    parent, patience = os.getppid(), seconds
    while os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin], [], [], patience)
        if ready:
            if not os.read(sys.stdin.fileno(), 65536):
                return
            patience = seconds
        elif patience == seconds:
            patience = 2 * beat_every  # once more: both may have been suspended, and the parent not yet resumed
        else:
            sys.stderr.write(f"process {parent} gave no sign of life for {seconds:g} s and is killed\n")
            sys.stderr.flush()
            os.kill(parent, signal.SIGKILL)
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server
    watch(float(sys.argv[1]), float(sys.argv[2]))
