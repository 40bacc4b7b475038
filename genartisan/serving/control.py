"""Requests about requests, ``{"cancel": ID}`` and ``{"status": ID}``, and their answers. Knows no server."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from genartisan.errors import GenartisanError, InputError
from genartisan.serving.defaults import JSON
from genartisan.serving.duplicate_fields import check_once, load_json
from genartisan.serving.exchange import Exchange
from genartisan.serving.jobs import Jobs
from genartisan.serving.request_headers import AUTHORIZATION, as_text, check_request_id
from genartisan.serving.tracebacks import trace

logger = logging.getLogger(__name__)

ACTIONS = ("cancel", "status")
MAX_BODY = 1000  # bytes
USAGE = 'send {"cancel": ID} or {"status": ID}, where ID is that of a request, as in its event accepted'


def answer_control(jobs: Jobs, exchange: Exchange) -> bytes:
    """One request, one answer; any error becomes a refusal, and the worker lives on."""
    fields = exchange.fields
    if exchange.protocol == "grpc":
        fields = {name: value for name, value in fields.items() if name != AUTHORIZATION}
    try:
        content = respond(jobs, exchange.owner, fields)
    except GenartisanError as error:
        return exchange.refusal(error)
    except Exception as error:
        logger.error("request %s failed\n%s", exchange.number, trace(error))
        reason = f"The server failed; its log says why, at request {exchange.number}."
        return exchange.refusal(GenartisanError(reason))
    exchange.set_media_type(JSON)
    return content


def respond(jobs: Jobs, owner: str, fields: Mapping[str, Any]) -> bytes:
    """The answer to a request: JSON with the id, and how far the request is.

    Args:
        fields: of a form or a gRPC input map; or JSON in ``body`` alone.

    Raises:
        InputError: the request is malformed.
        UnknownRequestError, BusyError: as in `genartisan.serving.jobs.Jobs`.
    """
    action, request_id = read_control(fields)
    progress = jobs.cancel(owner, request_id) if action == "cancel" else jobs.status(owner, request_id)
    return json.dumps({"id": request_id, **asdict(progress)}).encode()


def read_control(fields: Mapping[str, Any]) -> tuple[str, str]:
    """The action, one of `ACTIONS`, and the id.

    Raises:
        InputError: not one of `ACTIONS`, or other fields, or a malformed id.
    """
    named = _body(fields["body"]) if fields.keys() == {"body"} else fields
    if not isinstance(named, Mapping):
        raise InputError(f"The body must be a JSON object; {USAGE}.", "body")
    check_once(named)
    if unknown := next((name[:80] for name in named if name not in ACTIONS), None):
        raise InputError(f"{unknown} is no field; {USAGE}.", unknown)
    if len(named) != 1:
        raise InputError(f"The request has {len(named)} of the fields {' and '.join(ACTIONS)}; {USAGE}.", "body")
    ((action, request_id),) = named.items()
    return action, check_request_id(request_id, action)


def _body(body: Any) -> Any:
    """Parsed JSON; what the server has parsed already stays as it is."""
    text = as_text(body)
    if not isinstance(text, str):
        return text
    if len(text) > MAX_BODY:
        raise InputError(f"The body has {len(text):,} characters; at most {MAX_BODY:,}: {USAGE}.", "body")
    try:
        return load_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The body is not valid JSON; {USAGE}.", "body") from error
