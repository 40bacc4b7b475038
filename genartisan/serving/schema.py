"""The endpoint as JSON schemas and as an OpenAPI 3.1 description, derived from the models."""

from __future__ import annotations

from typing import Any

import genartisan
from genartisan.config import DEFAULT_PRESET, MAX_REGIONS, MAX_STEPS, PRESETS, StyleConfig
from genartisan.errors import (
    CancelledError,
    DeadlineError,
    GenartisanError,
    InputError,
    TooLargeError,
    UnsupportedEncodingError,
    UnsupportedImageError,
)
from genartisan.io.decode import MAX_BYTES
from genartisan.io.images import OUTPUTS
from genartisan.serving.control_schema import REQUEST_ID_SCHEMA, control_operation, control_schema, progress_schema
from genartisan.serving.defaults import CONTROL, DRAFT, JSON, MODEL, URL
from genartisan.serving.error_schemas import error_schema, refusals, server_error_schema
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.media_types import MEDIA_TYPES
from genartisan.validation import MAX_PROMPT, MAX_SEED, REGION_NAME

Schema = dict[str, Any]
PICTURE = "A picture in PNG, JPEG, WebP, BMP, TIFF, GIF, binary PPM or, where the server has the decoder, AVIF or HEIC"
ERRORS = (
    InputError, TooLargeError, UnsupportedImageError, UnsupportedEncodingError, CancelledError, GenartisanError,
    DeadlineError,
)  # fmt: skip
START: Schema = {
    "name": "X-Request-Start", "in": "header", "required": False,
    "description": "When the request was sent, in seconds since 1970; its deadline counts from then, queue included.",
    "schema": {"type": "string", "pattern": r"^t=[0-9]{10}(\.[0-9]{1,9})?$"},
}  # fmt: skip
REQUEST_ID: Schema = {
    "name": "X-Request-Id", "in": "header", "required": False,
    "description": "The request's id, to cancel it by; hard to guess and used once. Default: a random UUID.",
    "schema": REQUEST_ID_SCHEMA,
}  # fmt: skip


def params_schema() -> Schema:
    """The schema of ``params``: every setting, and those of the request alone. Definitions are under ``$defs``."""
    settings = StyleConfig.model_json_schema()
    extra = {
        "preset": {
            "enum": list(PRESETS), "default": DEFAULT_PRESET, "description": "The settings to start from.",
        },
        "seed": {
            "type": "integer", "minimum": 0, "maximum": MAX_SEED, "default": 0,
            "description": "Of the crops and of a random start.",
        },
        "preview_every": {
            "type": "integer", "minimum": 0, "maximum": MAX_STEPS,
            "description": "Steps between two previews in a stream; 0 for none. Default: a quarter, at most 10.",
        },
    }  # fmt: skip
    properties = {name: _optional_default(entry) for name, entry in settings["properties"].items()}
    return {**settings, "title": "Params", "properties": {**extra, **properties}}


def _optional_default(entry: Schema) -> Schema:
    """A field's schema without its default, which presets change."""
    return {name: value for name, value in entry.items() if name != "default"}


def request_schema() -> Schema:
    """The schema of a JSON body."""
    base64 = {"type": "string", "contentEncoding": "base64", "minLength": 1, "maxLength": MAX_BYTES * 4 // 3 + 4}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["photo"],
        "properties": {
            "photo": {**base64, "description": f"{PICTURE}."},
            "prompt": {
                "type": "string", "minLength": 1, "maxLength": MAX_PROMPT,
                "description": "The style in words; a backslash escapes ; : and +. Optional with a style_image, or if "
                "params name a saved style.",
            },
            "style_image": {
                "description": f"{PICTURE}, whose style is wanted, with or without a prompt; or such pictures by the "
                "names of their regions, where `all` is for every region without a style of its own.",
                "anyOf": [base64, {"type": "object", "maxProperties": MAX_REGIONS, "additionalProperties": base64,
                                   "propertyNames": {"pattern": f"^(?!classes$){REGION_NAME.pattern}$"}}],
            },
            "mask": {
                "description": f"{PICTURE}, of the photo's size, white where people are, grey at soft edges; or such "
                "masks by the names of their regions, where `classes` is a PNG of VOC's labels.",
                "anyOf": [base64, {"type": "object", "maxProperties": MAX_REGIONS, "additionalProperties": base64,
                                   "propertyNames": {"pattern": f"^(?!background$){REGION_NAME.pattern}$"}}],
            },
            "params": {"$ref": "#/components/schemas/Params"},
        },
    }  # fmt: skip


def openapi() -> Schema:
    """The OpenAPI description of the inference endpoint."""
    params = params_schema()
    definitions = params.pop("$defs")
    schemas = {
        "Params": params, **definitions, "Request": request_schema(), "Form": form_schema(), "Error": error_schema(),
        "ServerError": server_error_schema(),
        "Report": {"type": "object", "description": "What was done and measured."},
        "Event": event_schema(), "Control": control_schema(), "Progress": progress_schema(),
    }  # fmt: skip
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "genartisan",
            "version": genartisan.__version__,
            "summary": "A photo and a sentence in, a picture in that style out, the people in it recognisable.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": URL}],
        "security": [{"token": []}],
        "paths": {
            f"/predictions/{MODEL}": {
                "post": operation("stylise", "A picture", picture_answer("photo", "report"), streams=True)
            },
            f"/explanations/{MODEL}": {
                "post": operation("explain", "The regions, and what each would get", explanation_answer())
            },
            f"/predictions/{DRAFT}": {
                "post": operation(
                    "draft", "A draft, which waits for no run", picture_answer("photo", "report"), streams=True
                )
            },
            f"/explanations/{DRAFT}": {
                "post": operation("explainSoon", "An explanation, which waits for no run", explanation_answer())
            },
            f"/predictions/{CONTROL}": {"post": control_operation()},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    relocated: Schema = _relocated(described)
    return relocated


def operation(name: str, summary: str, answer: Schema, streams: bool = False) -> Schema:
    """A POST operation.

    Args:
        answer: the schema of the answer in JSON.
    """
    content: Schema = {media_type: {"schema": {}} for media_type in OUTPUTS}
    content[JSON] = {"schema": answer}
    if streams:
        content[EVENTS] = {"schema": {"$ref": "#/components/schemas/Event"}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [START, REQUEST_ID],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {"$ref": "#/components/schemas/Form"}},
                JSON: {"schema": {"$ref": "#/components/schemas/Request"}},
            },
        },
        "responses": {"200": {"description": summary, "content": content}, **refusals(ERRORS)},
    }


def form_schema() -> Schema:
    """The schema of a form: pictures are files, ``params`` is JSON text."""
    binary = {"type": "string", "contentMediaType": "application/octet-stream"}
    body = request_schema()
    properties = {**body["properties"], "photo": binary, "style_image": binary, "mask": binary}
    more = {
        rf"^mask\.(?!background$){REGION_NAME.pattern}$": {
            **binary, "description": "The mask of a region by its name.",
        },
        rf"^style_image\.(?!classes$){REGION_NAME.pattern}$": {
            **binary, "description": "The style picture of a region by its name.",
        },
    }  # fmt: skip
    properties["params"] = {"type": "string", "contentMediaType": JSON, "description": "Params as JSON text."}
    return {**body, "properties": properties, "patternProperties": more}


def picture_answer(picture: str, facts: str) -> Schema:
    """The schema of an answer in JSON."""
    return {
        "type": "object",
        "required": ["media_type", picture, facts],
        "properties": {
            "media_type": {"enum": list(OUTPUTS)},
            picture: {"type": "string", "contentEncoding": "base64"},
            facts: {"$ref": "#/components/schemas/Report"},
        },
    }


def explanation_answer() -> Schema:
    """The schema of an explanation in JSON."""
    answer = picture_answer("overlay", "explanation")
    classes = {
        "type": "string", "contentEncoding": "base64",
        "description": "The regions as VOC's labels, a grey PNG of the photo's size, as the mask `classes` takes it. "
        "Absent if a region is none of VOC's classes, or there are no regions.",
    }  # fmt: skip
    return {**answer, "properties": {**answer["properties"], "classes": classes}}


def event_schema() -> Schema:
    """The schema of one line of a stream."""
    return {
        "type": "object",
        "required": ["event"],
        "properties": {"event": {"enum": ["accepted", "draft", "progress", "result", "cancelled", "error"]}},
    }


def description() -> Schema:
    """The input of the endpoint, in short, as a worker reports it."""
    return {"media_types": list(MEDIA_TYPES), "presets": PRESETS, "params": params_schema()}


def _relocated(value: Any) -> Any:
    """Turns references into pydantic's ``$defs`` into references into OpenAPI's components."""
    if isinstance(value, dict):
        return {
            name: entry.replace("#/$defs/", "#/components/schemas/") if name == "$ref" else _relocated(entry)
            for name, entry in value.items()
        }
    return [_relocated(entry) for entry in value] if isinstance(value, list) else value
