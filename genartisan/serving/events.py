"""The events of a stream, which a server sends and a client reads: one JSON object a line (application/x-ndjson).

``accepted`` comes first, when the input is known to be good; then a ``draft``, where the run starts from a network that
draws in the style already; then ``progress``; last ``result``, or ``error``. An event of another name is to be skipped:
later versions may send more. ``held`` and ``released`` belong to another request, by
which a worker is kept idle before it is removed (`genartisan.serving.management`).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from genartisan.errors import GenartisanError

if TYPE_CHECKING:  # a client need not wait for torch
    from PIL import Image

    from genartisan.method.engine import Step
    from genartisan.method.stylization import Stylization

MEDIA_TYPE = "application/x-ndjson"
PAUSE = 0.2  # seconds between two progress events without a preview; reading the losses of every step slows a GPU
PREVIEW_QUALITY = 80  # of a preview's JPEG

HOLD = 20.0  # seconds that a worker is held; removing it takes less than one
LONGEST_HOLD = 100  # bytes of a request for that

Event = dict[str, Any]


def accepted(request_id: str, seed: int, steps: int, bundle: str) -> Event:
    """The input is good, and work begins."""
    return {"event": "accepted", "request_id": request_id, "seed": seed, "steps": steps, "bundle": bundle}


def progress(steps: Stylization, preview_every: int) -> Iterator[Event]:
    """Runs the steps, and tells now and then how it goes: of the first and last step, and of each with a preview.

    A run with steps whose start draws in the style begins with its draft; one without steps has it as its result.

    Args:
        preview_every: steps between two previews, the picture so far; 0 for none, and no draft.
    """
    told = -PAUSE
    if preview_every > 0 and steps.run.config.steps > 0 and (drawn := steps.draft()) is not None:
        yield draft(drawn, time.perf_counter() - steps.run.began)
    for step in steps:
        with_preview = preview_every > 0 and step.index % preview_every == 0
        if with_preview or step.index in (1, step.total) or time.perf_counter() - told >= PAUSE:
            told = time.perf_counter()
            yield _progress(step, with_preview)


def draft(picture: Image.Image, seconds: float) -> Event:
    """The picture before the first step, so many seconds after the request came in."""
    return {"event": "draft", "seconds": round(seconds, 3), "preview": _preview(picture)}


def _preview(picture: Image.Image) -> str:
    """In base64, as JPEG."""
    from genartisan.io.images import encode

    return base64.b64encode(encode(picture, "image/jpeg", PREVIEW_QUALITY)).decode()


def _progress(step: Step, with_preview: bool) -> Event:
    event: Event = {
        "event": "progress",
        "step": step.index,
        "steps": step.total,
        "seconds": round(step.seconds, 3),
        "eta_s": round(step.eta, 3),
        "losses": step.losses,
    }
    if with_preview:
        event["preview"] = _preview(step.preview())
    return event


def result(answer: Event) -> Event:
    """The finished picture, in base64, and its report: what one reply in JSON holds."""
    return {"event": "result", **answer}


def failed(error: GenartisanError) -> Event:
    """What went wrong after the input was accepted."""
    return {"event": "error", **error.as_dict()}


def held(worker: int) -> Event:
    """This worker does nothing now."""
    return {"event": "held", "worker": worker}


def to_hold(fields: Mapping[str, Any]) -> Any:
    """The worker that a request asks to be held, where its only field is a body like ``{"hold": 123}``; else None."""
    body = fields.get("body") if fields.keys() == {"body"} else None
    if not isinstance(body, bytes | bytearray) or len(body) > LONGEST_HOLD:
        return None
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return asked["hold"] if isinstance(asked, dict) and asked.keys() == {"hold"} else None


def released(worker: int) -> Event:
    """It takes requests again; or the worker that was to be held is another one."""
    return {"event": "released", "worker": worker}


def line(event: Event) -> bytes:
    """An event as it is sent."""
    return json.dumps(event).encode() + b"\n"
