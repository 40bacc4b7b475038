"""Which size of a request would have fitted into the memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genartisan.config import StyleConfig
from genartisan.io.images import MIN_SIDE
from genartisan.method.stylizer import Stylizer
from genartisan.networks.memory import out_of_memory

SHARES = (0.75, 0.5, 0.375, 0.25, 0.125)  # of the size, tried from the first on
MARGIN = 1.25  # how much larger the size tried is than the one named: next time what is free lies in other pieces
STEPS = 2  # the optimiser's memory comes with the first


def fitting_size(
    stylizer: Stylizer,
    photo: Any,
    prompt: str | None,
    config: StyleConfig,
    *,
    between: Callable[[], None],
    **others: Any,
) -> int | None:
    """A size at which this picture does not run out of memory, found by a run at a larger one; None if there is none.

    Args:
        photo, prompt, others: what `Stylizer.steps` takes.
        config: the settings that ran out of memory.
        between: called after each step of a run that is tried.
    """
    for share in SHARES:
        size = int(config.size * share) // 8 * 8
        if size < 2 * MIN_SIDE:
            return None
        stylizer.release()
        try:
            stylizer.steps(photo, prompt, config=config.updated({"size": size}), **others)  # too small for this photo?
            tried = {
                "size": round(MARGIN * size), "steps": min(STEPS, config.steps), "coarse_share": 0.0, "timeout_s": None,
            }  # fmt: skip
            steps = stylizer.steps(photo, prompt, config=config.updated(tried), **others)
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
