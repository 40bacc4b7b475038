"""A process that hangs or is stopped is ended in the time that is set; one that works or waits is not."""

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
    """A process with a watchdog that prints a line when it has one, and then does ``work``."""
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
        process.communicate()


def child_of(process: subprocess.Popen[str], but: int | None = None) -> psutil.Process:
    """The watchdog's child, once there is one; ``but`` is one that does not count."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children():
            if child.pid != but:
                return child
        time.sleep(0.05)
    raise AssertionError("it has no child")


def test_one_that_hangs_at_a_request_is_ended_and_says_where() -> None:
    work = """
    def stuck():
        with watchdog.at_work():
            threading.Event().wait()
    stuck()
    """
    with watched(work) as process:
        began = time.monotonic()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "in stuck" in said
        assert time.monotonic() - began >= SILENCE / 2


def test_one_that_is_stopped_is_killed_by_its_child() -> None:
    with watched("threading.Event().wait()") as process:
        child = child_of(process)
        process.send_signal(signal.SIGSTOP)
        _, said = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        assert "gave no sign of life for 2 s" in said
        child.wait(10)


def test_one_that_gets_on_or_waits_for_requests_is_left_alone_and_its_child_ends_with_it() -> None:
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


def test_a_child_that_is_gone_is_replaced() -> None:
    with watched("threading.Event().wait()") as process:
        child = child_of(process)
        child.kill()
        child_of(process, but=child.pid)
        assert process.poll() is None


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_time_has_to_be_above_0(seconds: float) -> None:
    with pytest.raises(ValueError, match="silence_s"):
        Watchdog(seconds)
