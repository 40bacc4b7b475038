"""Duplicates are ambiguous, and refused: parts of a form, and keys of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genartisan.errors import InputError

Batch = list[dict[str, Any]]


def load_json(text: str) -> Any:
    """Parsed JSON without duplicate keys.

    Raises:
        InputError: an object has a key twice.
        ValueError, RecursionError: as `json.loads`.
    """
    return json.loads(text, object_pairs_hook=_without_duplicates)


def check_once(fields: Mapping[str, Any]) -> None:
    """Refuses a form with a field that was sent more than once: its value is a list.

    Raises:
        InputError: naming the field.
    """
    for name, value in fields.items():
        if isinstance(value, list):
            raise InputError(f"{name[:80]} was sent {len(value)} times; send it once.", name[:80])


def repeats_kept(fields_of: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    """Wraps TorchServe's reading of a batch, which keeps the last of several parameters by one name.

    Args:
        fields_of: takes a batch of requests, each with ``parameters``, a list of ``name`` and ``value``; its second
            result has a dict of fields for each request.

    Returns:
        The same, but a field that was sent more than once is the list of its values.
    """

    def fields_of_all(batch: Batch) -> Any:
        read = fields_of(batch)
        for request, fields in zip(batch, read[1], strict=True):
            if len(fields) < len(request["parameters"]):
                fields.update(_repeated(request["parameters"]))
        return read

    return fields_of_all


def _repeated(parameters: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    values = dict[str, list[Any]]()
    for parameter in parameters:
        values.setdefault(parameter["name"], []).append(parameter["value"])
    return {name: repeated for name, repeated in values.items() if len(repeated) > 1}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)[:80]
        raise InputError(f"{twice} is a key twice in one JSON object; give it once.", twice)
    return fields
