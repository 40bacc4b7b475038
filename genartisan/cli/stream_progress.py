"""A stream of events as a progress bar, and its previews as files."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from genartisan.errors import CancelledError, InputError, ServeError
from genartisan.io.atomic import write_whole
from genartisan.serving.events import Event

BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"  # the server estimates the time left
PREVIEWS = "step_*.jpg"  # file names of previews; the step has at least four digits


def watch(events: Iterable[Event], previews: Path | None = None, quiet: bool = False) -> Event:
    """Shows progress until the ``result`` event, and returns it.

    Args:
        previews: folder for the previews (``step_0010.jpg``; the draft is step 0), created if missing.

    Raises:
        CancelledError: somebody else cancelled the request.
        InputError: a preview cannot be written.
        ServeError: the stream ended without a result.
    """
    if previews is not None:
        _make_folder(previews)
    with tqdm(unit="step", disable=quiet, file=sys.stderr, bar_format=BAR) as bar:
        for event in events:
            if event["event"] == "accepted":
                bar.reset(total=event["steps"])
            elif event["event"] == "progress":
                losses = ", ".join(f"{name}={value:.4g}" for name, value in event["losses"].items())
                bar.set_postfix_str(f"{bar.format_interval(event['eta_s'])} left, {losses}", refresh=False)
                bar.update(event["step"] - bar.n)
            elif event["event"] == "result":
                bar.update(event["report"]["steps"] - bar.n)
                return event
            elif event["event"] == "cancelled":
                raise CancelledError(f"the request was cancelled after {bar.n} of {bar.total} steps.")
            if previews is not None and "preview" in event:
                number = f"{event.get('step', 0):04}"
                _write(previews / PREVIEWS.replace("*", number), base64.b64decode(event["preview"]))
    raise ServeError("the stream ended without a result.", "stream")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"previews {str(folder)!r} cannot be a folder: {error.strerror}.", "previews") from error


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"previews {str(path)!r} cannot be written: {error.strerror}.", "previews") from error
