"""Compares KServe objects with KServe's own models; runs in an environment of its own (.venv/kserve).

Reads a JSON list from stdin, and writes a line for each field that the models lack and each value of another type.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve.models
import kubernetes.client

SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "bool": (bool,), "object": (object,),
    "ResourceQuantity": (str, int), "V1beta1MetricQuantity": (str,),
}  # fmt: skip


def model(name: str) -> Any:
    """A model of KServe or of Kubernetes, which KServe partly names with the package."""
    plain = re.sub(r"^K8sIoApi[A-Z][a-z]+(?=V\d)", "", name)
    return getattr(kserve.models, name, None) or getattr(kubernetes.client, plain)


def objections(value: Any, kind: str, path: str) -> Iterator[str]:
    """What does not fit ``kind``, a type in the notation of ``openapi_types``."""
    if kind in SCALARS:
        if not isinstance(value, SCALARS[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{path}: {value!r} is no {kind}"
    elif item := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for index, entry in enumerate(value):
            yield from objections(entry, item[1], f"{path}[{index}]")
    elif not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
    elif entry_kind := re.fullmatch(r"dict[([]str, (.*)[])]", kind):
        for name, entry in value.items():
            yield from objections(entry, entry_kind[1], f"{path}.{name}")
    else:
        known = model(kind)
        kinds = {known.attribute_map[name]: kind for name, kind in known.openapi_types.items()}
        for name, entry in value.items():
            if name in kinds:
                yield from objections(entry, kinds[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}: {kind} has no such field"


for document in json.load(sys.stdin):
    for line in objections(document, "V1beta1InferenceService", document["kind"]):
        print(line)
