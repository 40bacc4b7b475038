"""Validation of what callers pass, with messages that give field, value and range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from genartisan.errors import InputError

MAX_PROMPT = 1000  # characters; CLIP reads 77 tokens, which is about 300
HIDDEN = re.compile(  # written out: Python's Unicode tables lack emoji newer than they are
    "[\0-\x1f\x7f-\x9f"  # controls
    "\ud800-\udfff"  # surrogates
    "\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\ufdd0-\ufdef" + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000)) + "]"
)  # the last are noncharacters
MAX_SEED = 2**63 - 1  # what torch.Generator takes
STYLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a saved style, and of its file
REGION_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
BACKGROUND, PORTRAIT = "background", "portrait"  # regions of every photo
PERSON = "person"  # VOC's class for portrait
CLASSES = "classes"  # the name of a mask of VOC's labels
M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], data: Any, field: str | None = None) -> M:
    """A ``model`` of ``data``.

    Raises:
        InputError: ``data`` is invalid; the message names the field, the value and the range.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])[:80] or field or "params"  # callers may choose long names
        raise InputError(_explanation(path, first, model), path) from error


def mask_field(region: str) -> str:
    """A request's field for the mask of a region: ``mask`` for the portrait, ``mask.sky`` for the sky."""
    return "mask" if region == PORTRAIT else f"mask.{region}"


def check_mask_name(name: object) -> str:
    """The region of a mask by its name; ``person`` is an alias of ``portrait``.

    Raises:
        InputError: the name is invalid.
    """
    region = region_by(name)
    if region is None or region == BACKGROUND:
        raise InputError(
            f"mask.{shown(name)} is of no region; name a mask by up to 32 a-z, 0-9 and _. The rest is the background.",
            f"mask.{str(name)[:40]}",
        )
    return region


def region_by(name: object) -> str | None:
    """The region by that name, where ``person`` is an alias of ``portrait``; None if the name is invalid."""
    if not isinstance(name, str) or not REGION_NAME.fullmatch(name):
        return None
    return PORTRAIT if name == PERSON else name


def plain(text: str) -> str:
    """The text with each run of white space collapsed to one space.

    Raises:
        ValueError: it is empty, longer than `MAX_PROMPT`, or has a hidden character (`hidden`).
    """
    if not text.strip() or len(text) > MAX_PROMPT or hidden(text):
        raise ValueError(f"must be plain, non-empty text of at most {MAX_PROMPT} characters")
    return " ".join(text.split())


def check_prompt(prompt: object) -> str:
    """The prompt with each run of white space collapsed to one space.

    Raises:
        InputError: it is no text, empty, longer than `MAX_PROMPT`, or has a hidden character (`hidden`).
    """
    if prompt is None:
        raise InputError('prompt is missing; describe a style, such as "Watercolor painting".', "prompt")
    if not isinstance(prompt, str):
        raise InputError(f"prompt must be text, got {type(prompt).__name__}.", "prompt")
    if not prompt.strip():
        raise InputError('prompt is empty; describe a style, such as "Watercolor painting".', "prompt")
    if len(prompt) > MAX_PROMPT:
        raise InputError(
            f"prompt has {len(prompt)} characters; at most {MAX_PROMPT} are allowed. Shorten it.", "prompt"
        )
    if character := hidden(prompt):
        raise InputError(f"prompt has the invisible character {shown(character)}; send plain text.", "prompt")
    return " ".join(prompt.split())


def hidden(text: str) -> str:
    """The first invisible character of ``text`` (`HIDDEN`), or "".

    White space is allowed, and so are the joiners of emoji and many scripts, and unassigned code points.
    """
    match = HIDDEN.search(" ".join(text.split()))
    return "" if match is None else match[0]


def check_style_name(name: str) -> str:
    """The name of a saved style.

    Raises:
        ValueError: it is invalid.
    """
    if not STYLE_NAME.fullmatch(name):
        raise ValueError("must be the name of a saved style: up to 64 letters, digits, dots, - and _")
    return name


def check_seed(seed: object) -> int:
    """The seed, an integer in [0, 2^63 - 1].

    Raises:
        InputError: it is anything else.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed is {shown(seed)}; it must be a whole number from 0 to {MAX_SEED}.", "seed")
    return seed


def shown(value: object, limit: int = 80) -> str:
    """``value`` for a message, abbreviated to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` merged into it, recursively."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def _explanation(path: str, error: Any, model: type[BaseModel]) -> str:
    """One sentence for a pydantic error: field, value, range."""
    owner = _owner(model, error["loc"])
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        return f"{path} is no setting; known are {', '.join(owner.model_fields)}."
    if error["type"] == "missing":
        return f"{path} is missing."
    if error["type"] == "model_type":  # pydantic would name our class
        return f"{path} is {shown(error['input'])}; it must be an object with settings."
    expected = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    allowed = _allowed(owner, name)
    return f"{path} is {shown(error['input'])}; it {expected}{f' (allowed: {allowed})' if allowed else ''}."


def _owner(model: type[BaseModel], location: Sequence[str | int]) -> type[BaseModel]:
    """The model that has, or should have, the last part of ``location`` as a field."""
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        if field is None and (others := getattr(model, "OTHERS", None)) is not None:
            model = others
            continue
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            break
        model = field.annotation
    return model


def _allowed(model: type[BaseModel], name: str) -> str:
    """The range of a number field, such as "from 1 to 5000"."""
    schema = model.model_json_schema()["properties"].get(name, {})
    schema = next((s for s in schema.get("anyOf", []) if "type" in s and s["type"] != "null"), schema)
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    parts = [f"from {low}" if low is not None else "", f"above {above}" if above is not None else ""]
    return " ".join(part for part in (*parts, f"to {high}" if high is not None else "") if part)
