"""Peak memory and out-of-memory errors."""

from __future__ import annotations

import sys

import torch

ON_CPU = ("can't allocate memory", "could not create a primitive", "could not create a memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` means out of memory; PyTorch's CPU allocator and oneDNN raise plain RuntimeErrors."""
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ON_CPU)


def watch_peak(device: torch.device) -> None:
    """Resets `peak_bytes` where the device supports it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Peak memory: on CUDA since `watch_peak`, elsewhere of the process since its start."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
