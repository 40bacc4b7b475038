"""Our programs choose how OpenMP waits and the size of pages, before PyTorch reads it, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from genartisan.environment import HUGE_PAGES, SPIN_COUNT, SPINS, WAIT_POLICY, set_defaults

CHECK = f"""
import os, sys
from genartisan import environment
set_defaults = environment.set_defaults
environment.set_defaults = lambda each: (print("torch" in sys.modules), set_defaults(each))
import genartisan.cli
print(os.environ.get({SPIN_COUNT!r}), os.environ.get({HUGE_PAGES!r}))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {SPIN_COUNT: SPINS, HUGE_PAGES: "1"}),
        ({WAIT_POLICY: "ACTIVE"}, {WAIT_POLICY: "ACTIVE", HUGE_PAGES: "1"}),
        ({SPIN_COUNT: "5", HUGE_PAGES: "0"}, {SPIN_COUNT: "5", HUGE_PAGES: "0"}),
    ],
)
def test_the_users_choice_counts(given: dict[str, str], expected: dict[str, str]) -> None:
    set_defaults(given)
    assert given == expected


def test_the_command_line_says_it_before_pytorch_is_there_to_read_it() -> None:
    ours = (WAIT_POLICY, SPIN_COUNT, HUGE_PAGES)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", SPINS, "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/smaps")
def test_pytorch_heeds_it_for_large_tensors() -> None:
    """Asked of the kernel, ``hg`` among a mapping's flags, whether or not this machine grants any."""
    script = "import torch; x = torch.ones(4 << 20); print(' hg ' in open('/proc/self/smaps').read())"
    asked = {
        value: subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, HUGE_PAGES: value}, capture_output=True, text=True,
            check=True,
        ).stdout.strip()
        for value in "01"
    }  # fmt: skip
    assert asked == {"0": "False", "1": "True"}
