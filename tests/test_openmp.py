"""The threads of our programs leave their cores to others when they wait, unless the user has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from genartisan.openmp import COUNT, POLICY, SPINS, spin_briefly

CHECK = f"""
import os, sys
from genartisan import openmp
chosen = openmp.spin_briefly
openmp.spin_briefly = lambda environment: (print("torch" in sys.modules), chosen(environment))
import genartisan.cli
print(os.environ.get({COUNT!r}))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, {COUNT: SPINS}), ({POLICY: "ACTIVE"}, {POLICY: "ACTIVE"}), ({COUNT: "5"}, {COUNT: "5"})],
)
def test_the_users_choice_counts(given: dict[str, str], expected: dict[str, str]) -> None:
    spin_briefly(given)
    assert given == expected


def test_the_command_line_says_it_before_pytorch_is_there_to_read_it() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (POLICY, COUNT)}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", SPINS]
