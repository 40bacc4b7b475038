"""Runs a stylization and reports it as the events of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from PIL import Image

from genartisan.io.images import encode
from genartisan.method.step import Step
from genartisan.method.stylization import Stylization
from genartisan.serving import events

PAUSE = 0.2  # seconds between two progress events without a preview; reading the losses of every step slows a GPU
PREVIEW_QUALITY = 80  # JPEG


def run_events(steps: Stylization, preview_every: int, after: Callable[[Step], None]) -> Iterator[events.Event]:
    """Runs the steps; yields events for the first step, the last, each with a preview, and others `PAUSE` apart.

    A run that refines a draft begins with it; a run without steps has it as its result.

    Args:
        preview_every: steps between two previews; 0 for none, and no draft.
        after: called after each step; what it raises ends the run.
    """
    if preview_every > 0 and steps.run.config.steps > 0 and (picture := steps.draft()) is not None:
        yield events.draft(_preview(picture), time.perf_counter() - steps.run.began)
    reported = float("-inf")
    for step in steps:
        after(step)
        with_preview = preview_every > 0 and step.index % preview_every == 0
        if with_preview or step.index in (1, step.total) or time.perf_counter() - reported >= PAUSE:
            reported = time.perf_counter()
            yield events.progress(
                step=step.index,
                steps=step.total,
                seconds=step.seconds,
                eta=step.eta,
                losses=step.losses,
                preview=_preview(step.preview()) if with_preview else None,
            )


def _preview(picture: Image.Image) -> bytes:
    return encode(picture, "image/jpeg", PREVIEW_QUALITY)
