"""Ends a worker that hangs or is stopped, so that the server replaces it, within a time that is set.

A worker that hangs at a request ends itself: PyTorch's threads may wait for each other for ever, but the timer of
`faulthandler` needs none of them, and writes to the log where every thread stood. A process that is stopped, or whose
interpreter is, cannot do that. So it has a child, this very file run by itself, to which a thread sends a byte now and
then; when none comes for too long the child kills its parent.
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

BEAT = 5.0  # seconds between two signs of life, or a tenth of the time that is set
logger = logging.getLogger(__name__)


class Watchdog:
    """Watches this process from now on.

    Args:
        seconds: without a sign of life, or at a request without a sign of progress, after which it is ended.
        on_beat: called with each sign of life, in a thread of its own.

    Raises:
        ValueError: the seconds are not above 0.
    """

    def __init__(self, seconds: float, on_beat: Callable[[], None] = lambda: None) -> None:
        if not seconds > 0:
            raise ValueError(f"silence_s is {seconds:g}; give seconds above 0")
        self._seconds, self._on_beat = seconds, on_beat
        self._beat_every = min(BEAT, seconds / 10)
        self._armed_at: float | None = None  # None: not at a request
        threading.Thread(target=self._beat, name="watchdog", daemon=True).start()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While it lasts the process is at a request."""
        self._arm()
        try:
            yield
        finally:
            self._armed_at = None
            faulthandler.cancel_dump_traceback_later()

    def progress(self) -> None:
        """The request has got on."""
        if self._armed_at is not None and time.monotonic() - self._armed_at >= self._beat_every:
            self._arm()

    def _arm(self) -> None:
        self._armed_at = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds, exit=True)

    def _beat(self) -> None:
        signs = self._watched()
        while True:
            try:
                os.write(signs, b".")
            except OSError:
                logger.warning("the process that watches this one is gone; another one takes its place")
                os.close(signs)
                signs = self._watched()
            try:
                self._on_beat()
            except Exception:
                logger.exception("what is told with each sign of life failed")
            time.sleep(self._beat_every)

    def _watched(self) -> int:
        """Starts the child, and gives the pipe that it reads."""
        read, write = os.pipe()
        command = [sys.executable, "-I", "-S", __file__, str(self._seconds), str(self._beat_every)]
        with open(read, closefd=True) as signs:
            self._child = subprocess.Popen(command, stdin=signs, stdout=subprocess.DEVNULL)
        return write


def watch(seconds: float, beat_every: float) -> None:
    """The child's part: reads the signs of life from standard input, until they end with the parent or fail to come."""
    parent, patience = os.getppid(), seconds
    while os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin], [], [], patience)
        if ready:
            if not os.read(sys.stdin.fileno(), 65536):
                return
            patience = seconds
        elif patience == seconds:
            patience = 2 * beat_every  # once more: perhaps both were suspended, and only this one has had its turn yet
        else:
            sys.stderr.write(f"process {parent} gave no sign of life for {seconds:g} s and is killed\n")
            sys.stderr.flush()
            os.kill(parent, signal.SIGKILL)
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server
    watch(float(sys.argv[1]), float(sys.argv[2]))
