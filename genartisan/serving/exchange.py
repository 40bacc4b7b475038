"""A request and its answer, as the server between caller and worker passes them on.

Each server has its own kind: TorchServe in `genartisan.serving.handler_context`, Ray Serve in `handlers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genartisan.errors import GenartisanError
from genartisan.serving.request_headers import (
    AUTHORIZATION,
    CALLER,
    REQUEST_ID,
    TRACE_CONTEXT,
    as_text,
    check_request_id,
)


@dataclass
class Exchange(ABC):
    """One request and its answer.

    Attributes:
        number: the server's own for the request, unique.
        fields: of a form or a gRPC input map; or ``body`` alone.
        headers: names in lower case; over gRPC the fields in their place.
        is_explanation: whether it came to ``/explanations``.
        drafts_only: whether runs are refused.
        is_streaming: whether an event has been sent, which freezes status, media type and headers.
        has_left: whether the caller is known to have left, which ends the work.
    """

    number: str
    protocol: Literal["http", "grpc"]
    fields: Mapping[str, Any]
    headers: Mapping[str, Any]
    is_explanation: bool = False
    drafts_only: bool = False
    is_streaming: bool = False
    has_left: bool = False

    @property
    def owner(self) -> str:
        """What entitles to cancel the request: the key, which the server has checked, and the caller named by a proxy.

        Empty without either; over gRPC the caller's field.
        """
        return "\n".join(str(as_text(self.headers.get(name, ""))).strip() for name in (AUTHORIZATION, CALLER)).strip()

    @property
    def request_id(self) -> str:
        """The request's id: the sender's, or else the number.

        Raises:
            InputError: it is malformed.
        """
        chosen = self.headers.get(REQUEST_ID)
        return self.number if chosen is None else check_request_id(chosen)

    @property
    def trace_context(self) -> dict[str, str]:
        """The headers that name the sender's span, as far as there are any."""
        return {name: str(as_text(self.headers[name])) for name in TRACE_CONTEXT if name in self.headers}

    @abstractmethod
    def set_header(self, name: str, value: str) -> None:
        """Sets a header of the answer."""

    @abstractmethod
    def set_media_type(self, media_type: str) -> None:
        """Sets the media type of the answer."""

    @abstractmethod
    def send(self, line: bytes) -> None:
        """Sends one event of a stream."""

    @abstractmethod
    def refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer: sets the status, and returns the body."""
