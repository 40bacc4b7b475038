"""How long the threads of PyTorch's OpenMP wait in a loop for more work before they sleep.

By default for about 10 ms, in which they keep a core from the thread that they wait for if another process is busy: a
step of the official networks beside one busy process, on two cores of a Xeon with AMX, took 7.4 s instead of 1.6 s in
fp32. With `SPINS` it takes 3.7 s, and on a quiet machine 3 % more than by default.
"""

from __future__ import annotations

from collections.abc import MutableMapping

POLICY, COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SPINS = "10000"  # about half a millisecond


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """Sets `SPINS` for processes that have not loaded PyTorch, unless the user has chosen."""
    if POLICY not in environment:
        environment.setdefault(COUNT, SPINS)
