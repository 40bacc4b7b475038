"""The errors of the endpoint as JSON schemas, ours and TorchServe's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genartisan.errors import GenartisanError
from genartisan.serving.defaults import JSON

Schema = dict[str, Any]
TORCHSERVE_STATUSES = (400, 500, 503, 507)  # an invalid key, a worker that died, a full queue, too little memory
TORCHSERVE_ALONE = 507


def refusals(errors: Sequence[type[GenartisanError]]) -> Schema:
    """The responses with these errors, and those of TorchServe itself."""
    statuses: dict[int, list[str]] = {}
    for error in errors:
        statuses.setdefault(error.status, []).append((error.__doc__ or "").splitlines()[0])
    responses: Schema = {
        str(status): {
            "description": " ".join(words),
            "content": {JSON: {"schema": _refusal_schema(status)}},
        }
        for status, words in sorted(statuses.items())
    }
    responses["400"]["description"] += " Or the key is missing or invalid."
    for status, words in (
        (503, "Busy: the queue is full, no worker is up, or the server is about to end."),
        (507, "The worker was killed, perhaps out of memory."),
    ):
        responses[str(status)] = {"description": words, "content": {JSON: {"schema": _refusal_schema(status)}}}
    return responses


def _refusal_schema(status: int) -> Schema:
    """The schema of an error with this status, of ours or of TorchServe."""
    senders = {"Error": status != TORCHSERVE_ALONE, "ServerError": status in TORCHSERVE_STATUSES}
    schemas = [{"$ref": f"#/components/schemas/{name}"} for name, sends in senders.items() if sends]
    return {"anyOf": schemas} if len(schemas) > 1 else schemas[0]


def error_schema() -> Schema:
    """The schema of our errors."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "field"],
                "properties": {"code": text, "message": text, "field": {"type": ["string", "null"]}},
            }
        },
    }


def server_error_schema() -> Schema:
    """The schema of TorchServe's errors."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["code", "type", "message"],
        "properties": {"code": {"type": "integer"}, "type": text, "message": text},
    }
