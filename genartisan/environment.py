"""What PyTorch reads from the environment when it is loaded, as our programs want it unless the user has chosen.

A program that uses the library may set the same before it imports PyTorch (docs/speed.md, *On a CPU*).
"""

from __future__ import annotations

from collections.abc import MutableMapping

WAIT_POLICY, SPIN_COUNT, HUGE_PAGES = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE"
SPINS = "10000"  # about half a millisecond


def set_defaults(environment: MutableMapping[str, str]) -> None:
    """Sets how OpenMP's threads wait, and the size of the pages in memory, for processes that have not loaded PyTorch.

    OpenMP's threads wait for more work in a loop, by default for about 10 ms. In that time they keep a core from the
    thread that they wait for if another process is busy: a step in fp32 beside one, on two cores, then takes twice as
    long as with `SPINS`.

    Tensors of 2 MB and more ask the kernel for huge pages, of 2 MB: addresses in pages of 4 KB are looked up more often
    than the processor remembers them, and a step in bf16 takes 13 % longer.
    """
    if WAIT_POLICY not in environment:
        environment.setdefault(SPIN_COUNT, SPINS)
    environment.setdefault(HUGE_PAGES, "1")
