"""The events of a stream on the wire: one JSON object a line (application/x-ndjson).

``accepted`` comes first, once the input is valid; then a ``draft``, if the run starts from a network that already
draws in the style; then ``progress``; last ``result``, ``cancelled`` or ``error``. Clients skip unknown events, which
later versions may add. ``held`` and ``released`` answer another request, which keeps a worker idle until it is removed
(`genartisan.serving.management`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from genartisan.errors import GenartisanError

MEDIA_TYPE = "application/x-ndjson"
HOLD = 20.0  # seconds that a worker is held; removing it takes less than one
MAX_HOLD_REQUEST = 100  # bytes

LAST = ("result", "cancelled")  # of a stream; an ``error`` is raised

Event = dict[str, Any]


def accepted(request_id: str, seed: int, steps: int, bundle: str) -> Event:
    """The input is valid, and work begins."""
    return {"event": "accepted", "request_id": request_id, "seed": seed, "steps": steps, "bundle": bundle}


def draft(preview: bytes, seconds: float) -> Event:
    """The picture before the first step.

    Args:
        preview: an encoded picture.
        seconds: since the request came in.
    """
    return {"event": "draft", "seconds": round(seconds, 3), "preview": _base64(preview)}


def progress(
    *, step: int, steps: int, seconds: float, eta: float, losses: dict[str, float], preview: bytes | None = None
) -> Event:
    """A step is done.

    Args:
        step: from 1 to ``steps``.
        seconds: since the run began.
        eta: seconds until the last step ends.
        preview: the picture so far, encoded.
    """
    event: Event = {
        "event": "progress",
        "step": step,
        "steps": steps,
        "seconds": round(seconds, 3),
        "eta_s": round(eta, 3),
        "losses": losses,
    }
    return event if preview is None else {**event, "preview": _base64(preview)}


def result(answer: Event) -> Event:
    """The finished picture in base64 and its report, as in an answer in JSON."""
    return {"event": "result", **answer}


def cancelled(answer: Event | None) -> Event:
    """The request was cancelled.

    Args:
        answer: the picture so far and its report, as in `result`; None if there is no picture yet.
    """
    return {"event": "cancelled", **(answer or {})}


def failed(error: GenartisanError) -> Event:
    """An error after the input was accepted."""
    return {"event": "error", **error.as_dict()}


def held(worker: int) -> Event:
    """This worker is idle now."""
    return {"event": "held", "worker": worker}


def released(worker: int) -> Event:
    """The worker takes requests again; or another one answers."""
    return {"event": "released", "worker": worker}


def to_hold(fields: Mapping[str, Any]) -> Any:
    """The worker to hold, of a request whose body is ``{"hold": 123}``; None for any other request."""
    body = fields.get("body") if fields.keys() == {"body"} else None
    if not isinstance(body, bytes | bytearray) or len(body) > MAX_HOLD_REQUEST:
        return None
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return request["hold"] if isinstance(request, dict) and request.keys() == {"hold"} else None


def line(event: Event) -> bytes:
    """The event as it is sent."""
    return json.dumps(event).encode() + b"\n"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
