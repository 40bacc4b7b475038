"""How long the threads of PyTorch's OpenMP wait in a loop for more work before they sleep.

By default for about 10 ms, in which they keep a core from the thread that they wait for if another process is busy: a
step in fp32 beside one, on two cores, then takes twice as long as with `SPINS` (docs/speed.md, *On a CPU*).
"""

from __future__ import annotations

from collections.abc import MutableMapping

POLICY, COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SPINS = "10000"  # about half a millisecond


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """Sets `SPINS` for processes that have not loaded PyTorch, unless the user has chosen."""
    if POLICY not in environment:
        environment.setdefault(COUNT, SPINS)
