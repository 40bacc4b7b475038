"""Running out of memory: how to know it, and how much is in use."""

from __future__ import annotations

import sys

import torch

ON_CPU = ("can't allocate memory", "could not create a primitive", "could not create a memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, the GPU, or on the CPU PyTorch's allocator or oneDNN (RuntimeErrors both) is out of memory."""
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ON_CPU)


def watch_peak(device: torch.device) -> None:
    """From now on `peak_bytes` counts anew, where the device can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most memory that was in use: on CUDA since `watch_peak`, elsewhere by the process in its life."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
