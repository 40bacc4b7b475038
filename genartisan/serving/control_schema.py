"""Requests about requests as JSON schemas, and as an operation in OpenAPI."""

from __future__ import annotations

from typing import Any, get_args

from genartisan.errors import GenartisanError, InputError, UnknownRequestError
from genartisan.serving.control import ACTIONS
from genartisan.serving.defaults import JSON
from genartisan.serving.error_schemas import refusals
from genartisan.serving.jobs import State
from genartisan.serving.request_headers import MAX_ID

Schema = dict[str, Any]
ERRORS = (InputError, UnknownRequestError, GenartisanError)
REQUEST_ID_SCHEMA: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID, "pattern": "^[!-~]+$"}


def control_operation() -> Schema:
    """The POST operation that cancels a request, or tells how far it is."""
    summary = "Cancel a request of this key, or ask how far it is"
    responses = {
        "200": {
            "description": "How far the request is",
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Progress"}}},
        },
        **refusals(ERRORS),
    }
    return {
        "operationId": "control",
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Control"}}},
        },
        "responses": responses,
    }


def control_schema() -> Schema:
    """The schema of a request about another one: either action, and the id."""
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
        "properties": dict.fromkeys(ACTIONS, REQUEST_ID_SCHEMA),
    }


def progress_schema() -> Schema:
    """The schema of how far a request is."""
    number = {"type": ["number", "null"], "minimum": 0}
    whole = {"type": ["integer", "null"], "minimum": 0}
    return {
        "type": "object",
        "required": ["id", "state"],
        "properties": {
            "id": REQUEST_ID_SCHEMA,
            "state": {
                "enum": list(get_args(State)),
                "description": "waiting: no worker has it, and the first to take it within an hour ends it; "
                "cancelling: its worker ends it after its present step.",
            },
            "step": whole,
            "steps": whole,
            "eta_s": number,
            "seconds": {**number, "description": "Since a worker took it."},
        },
    }
