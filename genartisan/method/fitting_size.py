"""Finds a size that fits into memory, after a request that did not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genartisan.config import StyleConfig
from genartisan.io.images import MIN_SIDE
from genartisan.method.stylizer import Stylizer
from genartisan.networks.memory import out_of_memory

SHARES = (0.75, 0.5, 0.375, 0.25, 0.125)  # of the size, in this order
MARGIN = 1.25  # of the size that is tried over the result: free memory may be fragmented next time
STEPS = 2  # the optimiser allocates its state in the first


def fitting_size(
    stylizer: Stylizer,
    photo: Any,
    prompt: str | None,
    config: StyleConfig,
    *,
    between: Callable[[], None],
    **others: Any,
) -> int | None:
    """A size at which this picture fits into memory, with a margin; None if none does.

    Args:
        photo, prompt, others: arguments of `Stylizer.steps`.
        config: the settings that ran out of memory.
        between: called after each step of a trial.
    """
    for share in SHARES:
        size = int(config.size * share) // 8 * 8
        if size < 2 * MIN_SIDE:
            return None
        stylizer.release()
        try:
            stylizer.steps(photo, prompt, config=config.updated({"size": size}), **others)  # refuses one too small
            trial = {
                "size": round(MARGIN * size), "steps": min(STEPS, config.steps), "coarse_share": 0.0, "timeout_s": None,
            }  # fmt: skip
            steps = stylizer.steps(photo, prompt, config=config.updated(trial), **others)
            for _ in steps:
                between()
            steps.result()
        except Exception as error:
            if not out_of_memory(error):
                raise
        else:
            return size
        finally:
            stylizer.release()
    return None
