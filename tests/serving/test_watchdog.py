"""A process that hangs or is stopped is ended within the timeout; one that works or waits is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from servers import ROOT

from genartisan.serving.watchdog import Watchdog

SILENCE = 2.0  # seconds


@contextmanager
def watched(work: str) -> Iterator[subprocess.Popen[str]]:
    """A process that starts a watchdog, prints a line and then does ``work``."""
    begin = (
        f"import threading, time\nfrom genartisan.serving.watchdog import Watchdog\nwatchdog = Watchdog({SILENCE})\n"
    )
    script = f"{begin}print('watched', flush=True)\n{textwrap.dedent(work)}"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "watched\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def child_of(process: subprocess.Popen[str], but: int | None = None) -> psutil.Process:
    """The watchdog's child, once it exists; not ``but``."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children():
            if child.pid != but:
                return child
        time.sleep(0.05)
    raise AssertionError("it has no child")


def test_a_process_that_hangs_in_a_request_is_ended_and_logs_where() -> None:
    work = """
    def stuck():
        with watchdog.at_work():
            threading.Event().wait()
    stuck()
    """
    with watched(work) as process:
        began = time.monotonic()
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "in stuck" in stderr
        assert time.monotonic() - began >= SILENCE / 2


def test_a_stopped_process_is_killed_by_its_child() -> None:
    with watched("threading.Event().wait()") as process:
        child = child_of(process)
        process.send_signal(signal.SIGSTOP)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        assert "gave no sign of life for 2 s" in stderr
        child.wait(10)


@pytest.mark.slow
def test_a_process_that_works_or_waits_is_left_alone_and_its_child_ends_with_it() -> None:
    work = """
    with watchdog.at_work():
        for _ in range(40):
            time.sleep(0.1)
            watchdog.progress()
    time.sleep(4)
    print("done", flush=True)
    time.sleep(100)
    """
    with watched(work) as process:
        child = child_of(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        process.kill()
        child.wait(10)


def test_a_dead_child_is_replaced() -> None:
    with watched("threading.Event().wait()") as process:
        child = child_of(process)
        child.kill()
        child_of(process, but=child.pid)
        assert process.poll() is None


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_timeout_must_be_above_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="silence_s"):
        Watchdog(seconds)
