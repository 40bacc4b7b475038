"""Settings of the C library and of OpenMP for our programs, unless the user has chosen others.

Both read it from the environment when a process starts. A program that uses the library may set the same variables
before it is started (docs/speed.md, *On a CPU*).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

WAIT_POLICY, SPIN_COUNT = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
SPINS = "10000"  # about half a millisecond
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"  # settings of glibc, joined by colons, and one of them
RESTARTED = "GENARTISAN_RESTARTED"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables for processes of ours: the user's choice in this environment, else our defaults.

    OpenMP's threads wait for more work in a loop, by default for about 10 ms. In that time they keep a core from the
    thread that they wait for if another process is busy: a step in fp32 beside one, on two cores, then takes twice as
    long as with `SPINS`.

    glibc, from 2.35 on, is to ask for huge pages, of 2 MB, which many Linux distributions grant only if asked: in pages
    of 4 kB addresses are looked up more often than the processor remembers them, and a step takes longer.
    """
    chosen = {name: environment[name] for name in (WAIT_POLICY, SPIN_COUNT, TUNABLES) if name in environment}
    if WAIT_POLICY not in chosen:
        chosen.setdefault(SPIN_COUNT, SPINS)
    tunables = chosen.get(TUNABLES, "")
    if HUGE_PAGES not in tunables:
        chosen[TUNABLES] = f"{tunables}:{HUGE_PAGES}=1".lstrip(":")
    return chosen


def set_defaults(environment: MutableMapping[str, str]) -> None:
    """Sets `variables` for processes that are started with this environment."""
    environment.update(variables(environment))


def restart_with_defaults() -> None:
    """Sets the variables for this program before it loads PyTorch; on Linux it starts anew in its process, once.

    glibc has read the environment before Python runs. Where a new start is impossible, glibc keeps its own settings.
    """
    is_late = HUGE_PAGES not in os.environ.get(TUNABLES, "")
    set_defaults(os.environ)
    # A privileged program loses glibc's variable at each start, so that a second one would not help.
    is_first = os.environ.pop(RESTARTED, None) is None
    if is_late and is_first and sys.executable and sys.platform == "linux":
        with suppress(OSError, ValueError):  # an environment may have names that Python cannot pass on
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, RESTARTED: "1"})
