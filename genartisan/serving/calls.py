"""The calls of the endpoint, described once for both clients and protocols: their fields and headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genartisan.config import PRESETS
from genartisan.errors import InputError
from genartisan.serving.defaults import CONTROL, JSON, MODEL
from genartisan.serving.request_headers import REQUEST_ID, REQUEST_START, request_start
from genartisan.validation import check_prompt

Source = str | Path | bytes  # a path or encoded bytes
Pictures = Source | Mapping[str, Source]  # one, or several by the names of their regions


@dataclass(frozen=True)
class Call:
    """One request to the endpoint.

    Attributes:
        path: ``predictions`` or ``explanations``.
        fields: the fields of the form.
        accept: the header ``Accept``.
        request_id: chosen by the caller; None to draw one for each attempt.
        is_draft: whether workers for drafts take it: a draft or an explanation.
    """

    path: str
    fields: dict[str, bytes]
    accept: str
    request_id: str | None = None
    is_draft: bool = False

    def http(self, url: str, key: Mapping[str, str], request_id: str, model: str = MODEL) -> dict[str, Any]:
        """One attempt over HTTP, as the arguments of httpx's ``build_request``."""
        return {
            "method": "POST",
            "url": f"{url.rstrip('/')}/{self.path}/{model}",
            "files": {name: (name, content, "application/octet-stream") for name, content in self.fields.items()},
            "headers": {"Accept": self.accept, **key, REQUEST_START: request_start(), REQUEST_ID: request_id},
        }

    def grpc(self, key: Mapping[str, str], request_id: str) -> dict[str, bytes]:
        """One attempt over gRPC, as the map of inputs: TorchServe forwards no metadata."""
        headers = {"accept": self.accept, REQUEST_START: request_start(), REQUEST_ID: request_id, **key}
        return {**self.fields, **{name: value.encode() for name, value in headers.items()}}


@dataclass(frozen=True)
class ControlCall:
    """A request about another one.

    Attributes:
        action: ``cancel`` or ``status``.
        timeout: seconds to wait for the answer.
    """

    action: str
    request_id: str
    timeout: float

    def http(self, url: str, key: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of httpx's ``build_request``."""
        return {
            "method": "POST",
            "url": f"{url.rstrip('/')}/predictions/{CONTROL}",
            "json": {self.action: self.request_id},
            "headers": {"Accept": JSON, **key},
            "timeout": self.timeout,
        }

    def grpc(self, key: Mapping[str, str]) -> dict[str, bytes]:
        """The map of inputs."""
        return {self.action: self.request_id.encode(), **{name: value.encode() for name, value in key.items()}}


def form_fields(
    photo: Source,
    prompt: str | None,
    mask: Pictures | None,
    style_image: Pictures | None,
    params: dict[str, Any] | None,
) -> dict[str, bytes]:
    """A request's fields, as in a form. A bad prompt is refused here, before pictures are uploaded.

    Raises:
        InputError: a file cannot be read, or the prompt is missing or malformed.
    """
    fields = {"photo": _content(photo, "photo")}
    has_style = "all" in style_image if isinstance(style_image, Mapping) else style_image is not None
    if prompt is not None or not (has_style or (params or {}).get("style")):
        fields["prompt"] = check_prompt(prompt).encode()
    for kind, pictures in (("mask", mask), ("style_image", style_image)):
        if isinstance(pictures, Mapping):
            fields |= {f"{kind}.{name}": _content(source, f"{kind}.{name}") for name, source in pictures.items()}
        elif pictures is not None:
            fields[kind] = _content(pictures, kind)
    if params is not None:
        fields["params"] = json.dumps(params).encode()
    return fields


def is_draft(params: Mapping[str, Any] | None) -> bool:
    """Whether the settings, which may be invalid, ask for a draft."""
    params = params or {}
    return {**PRESETS.get(str(params.get("preset")), {}), **params}.get("steps") == 0


def _content(source: Source, field: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{field} {str(source)!r} cannot be read: {error.strerror}.", field) from error
