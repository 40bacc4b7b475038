"""Peak memory, out-of-memory errors, and what glibc does with memory that is freed."""

from __future__ import annotations

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE = 32 * 1024 * 1024  # bytes, the most that glibc takes as M_MMAP_THRESHOLD
ON_CPU = ("can't allocate memory", "could not create a primitive", "could not create a memory")


def keep_freed_memory() -> None:
    """Has this process keep what it frees until `return_freed_memory`, where the C library is glibc.

    A step allocates again what the last one freed. By default glibc returns it meanwhile, and the kernel clears every
    page anew: a tenth of a step. Blocks of `LARGE` bytes and more are returned all the same, or they would leave gaps.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, -1)  # never
        mallopt(M_MMAP_THRESHOLD, LARGE)


def return_freed_memory() -> None:
    """Returns to the system what this process keeps."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


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
