"""Our programs choose how OpenMP waits and the size of pages in memory, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from genartisan.environment import (
    HUGE_PAGES,
    RESTARTED,
    SPIN_COUNT,
    SPINS,
    TUNABLES,
    WAIT_POLICY,
    restart_with_defaults,
    set_defaults,
)

OURS = {SPIN_COUNT: SPINS, TUNABLES: f"{HUGE_PAGES}=1"}
LARGE = 4 << 20  # numbers, 16 MB
NAMES = (SPIN_COUNT, TUNABLES, RESTARTED)
PROGRAM = f"""
import os, sys, types
from importlib.metadata import entry_points
def report():
    import torch
    large = torch.ones({LARGE})
    asks = " hg " in open("/proc/self/smaps").read()
    chosen = [os.environ.get(name) for name in {NAMES!r}]
    print(os.getpid(), *chosen, asks, *sys.argv[1:])
sys.modules["genartisan.cli.main"] = types.ModuleType("genartisan.cli.main")
sys.modules["genartisan.cli.main"].main = report
(program,) = entry_points(group="console_scripts", name="genartisan")
main = program.load()
print("runs", "torch" in sys.modules, flush=True)
main()
"""


def madvises() -> bool:
    """Whether Linux grants huge pages to who asks, and glibc asks only then."""
    mode = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    libc, _, version = (os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else "").partition(" ")
    return mode.exists() and "[madvise]" in mode.read_text() and libc == "glibc" and version >= "2.35"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, OURS),
        ({WAIT_POLICY: "ACTIVE"}, {WAIT_POLICY: "ACTIVE", TUNABLES: OURS[TUNABLES]}),
        ({SPIN_COUNT: "5", TUNABLES: f"{HUGE_PAGES}=0"}, {SPIN_COUNT: "5", TUNABLES: f"{HUGE_PAGES}=0"}),
        ({TUNABLES: "glibc.malloc.perturb=7"}, {**OURS, TUNABLES: f"glibc.malloc.perturb=7:{HUGE_PAGES}=1"}),
    ],
)
def test_the_users_choice_counts(given: dict[str, str], expected: dict[str, str]) -> None:
    set_defaults(given)
    assert given == expected


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps")
@pytest.mark.parametrize(
    ("chosen", "runs", "asks"),
    [(None, 2, True), (f"{HUGE_PAGES}=0", 1, False), ("lost", 1, False)],
)
def test_the_program_restarts_at_most_once_before_it_loads_pytorch(chosen: str | None, runs: int, asks: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (*OURS, WAIT_POLICY)}
    if chosen == "lost":  # on the way to a privileged program
        environment[RESTARTED] = "1"
    elif chosen:
        environment[TUNABLES] = chosen
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "an argument"], env=environment, stdout=subprocess.PIPE, text=True
    )
    out, _ = program.communicate()
    *before, last = out.splitlines()
    assert before == ["runs False"] * runs
    tunables = chosen if chosen == f"{HUGE_PAGES}=0" else OURS[TUNABLES]
    # The same process, with the same arguments, and nothing left of the restart.
    assert last == f"{program.pid} {SPINS} {tunables} None {asks and madvises()} an argument"


def test_without_an_interpreter_to_start_the_program_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded Python has no name, and a sandbox may forbid to start programs."""
    for executable in ("", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with patch.dict(os.environ):
            os.environ.pop(TUNABLES, None)
            restart_with_defaults()
            assert HUGE_PAGES in os.environ[TUNABLES]
            assert RESTARTED not in os.environ
