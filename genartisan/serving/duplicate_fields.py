"""What is sent twice is refused, since nobody can say which of the two was meant: parts of a form, keys of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from genartisan.errors import InputError

Batch = list[dict[str, Any]]


def load_json(text: str) -> Any:
    """JSON parsed, each object with each of its keys once.

    Raises:
        InputError: an object has a key twice.
        ValueError, RecursionError: as `json.loads`.
    """
    return json.loads(text, object_pairs_hook=_once)


def check_once(fields: Mapping[str, Any]) -> None:
    """Refuses the fields of a form of which one was sent more than once: its value is then a list.

    Raises:
        InputError: naming it.
    """
    for name, value in fields.items():
        if isinstance(value, list):
            raise InputError(f"{name[:80]} was sent {len(value)} times; send it once.", name[:80])


def repeats_kept(fields_of: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    """TorchServe's function that makes a dict of each request's parameters, and of two by one name keeps the last.

    Args:
        fields_of: it; of a batch, each request with ``parameters``, a list of ``name`` and ``value``, its second result
            is those dicts.

    Returns:
        The same, but where a name came more than once its value is the list of all its values.
    """

    def fields_of_all(batch: Batch) -> Any:
        made = fields_of(batch)
        for request, fields in zip(batch, made[1], strict=True):
            if len(fields) < len(request["parameters"]):
                fields.update(_repeated(request["parameters"]))
        return made

    return fields_of_all


def _repeated(parameters: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    values = dict[str, list[Any]]()
    for parameter in parameters:
        values.setdefault(parameter["name"], []).append(parameter["value"])
    return {name: several for name, several in values.items() if len(several) > 1}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)[:80]
        raise InputError(f"{twice} is a key twice in one JSON object; give it once.", twice)
    return made
