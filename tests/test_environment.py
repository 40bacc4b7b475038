"""Our programs choose how OpenMP waits and the size of pages in memory, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from genartisan.environment import HUGE_PAGES, SPIN_COUNT, SPINS, TUNABLES, WAIT_POLICY, set_defaults

OURS = {SPIN_COUNT: SPINS, TUNABLES: f"{HUGE_PAGES}=1"}
LARGE = 4 << 20  # numbers, 16 MB
PROGRAM = f"""
import os, sys
from genartisan.environment import restart_with_defaults
print("runs", "torch" in sys.modules, flush=True)
restart_with_defaults()
import torch
large = torch.ones({LARGE})
print(os.getpid(), os.environ.get({SPIN_COUNT!r}), " hg " in open("/proc/self/smaps").read(), sys.argv[1])
"""


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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc and /proc/self/smaps")
@pytest.mark.parametrize(("chosen", "runs", "asks"), [(None, 2, True), (f"{HUGE_PAGES}=0", 1, False)])
def test_a_program_restarts_once_and_asks_for_huge_pages(chosen: str | None, runs: int, asks: bool) -> None:
    """Asked of the kernel, ``hg`` among the flags of memory, whether or not this machine grants any."""
    environment = {name: value for name, value in os.environ.items() if name not in (*OURS, WAIT_POLICY)}
    environment |= {} if chosen is None else {TUNABLES: chosen}
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "an argument"], env=environment, stdout=subprocess.PIPE, text=True
    )
    out, _ = program.communicate()
    *before, last = out.splitlines()
    assert before == ["runs False"] * runs
    assert last == f"{program.pid} {SPINS} {asks} an argument"  # the same process, with the same arguments
