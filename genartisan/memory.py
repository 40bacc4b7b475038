"""Running out of memory: how to know it, and which size would have fitted."""

from __future__ import annotations

import gc
import sys
from typing import Any

import torch

from genartisan.config import StyleConfig
from genartisan.images import MIN_SIDE
from genartisan.stylizer import Stylizer

ON_CPU = ("can't allocate memory", "could not create a primitive", "could not create a memory")
SHARES = (0.75, 0.5, 0.375, 0.25, 0.125)  # of the size, tried from the first on
MARGIN = 1.25  # how much larger the size tried is than the one named: next time what is free lies in other pieces
STEPS = 2  # the optimiser's memory comes with the first


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, the GPU, or on the CPU PyTorch's allocator or oneDNN (RuntimeErrors both) is out of memory."""
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in ON_CPU)


def fitting_size(stylizer: Stylizer, photo: Any, prompt: str | None, config: StyleConfig, **others: Any) -> int | None:
    """A size at which this picture does not run out of memory, found by a run at a larger one; None if there is none.

    Args:
        photo, prompt, others: what `Stylizer.steps` takes.
        config: the settings that ran out of memory.
    """
    for share in SHARES:
        size = int(config.size * share) // 8 * 8
        if size < 2 * MIN_SIDE:
            return None
        release(stylizer)
        try:
            stylizer.steps(photo, prompt, config=config.updated({"size": size}), **others)  # too small for this photo?
            tried = {
                "size": round(MARGIN * size), "steps": min(STEPS, config.steps), "coarse_share": 0.0, "timeout_s": None,
            }  # fmt: skip
            steps = stylizer.steps(photo, prompt, config=config.updated(tried), **others)
            for _ in steps:
                pass
            steps.result()
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            return size
        finally:
            release(stylizer)
    return None


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


def release(stylizer: Stylizer) -> None:
    """Gives back what nothing refers to any more, and the memory of captured steps."""
    gc.collect()
    if stylizer.graphs is not None:
        stylizer.graphs.clear()
    if stylizer.device.type == "cuda":
        torch.cuda.empty_cache()
