"""What log, metrics and trace say of a request."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from genartisan.errors import CancelledError, ExpiredError, GenartisanError
from genartisan.method.phases import Phases
from genartisan.serving.log_privacy import public_field
from genartisan.serving.request import StyleRequest


@dataclass
class Record:
    """A request, as far as it is known.

    Attributes:
        request_id: the server's number.
        outcome: ``ok``, ``timeout`` (its deadline passed), ``expired`` (it passed before the work began),
            ``cancelled``, ``refused`` (bad input) or ``failed``.
        mode: of the settings; ``none`` if they are invalid.
        answer: what was asked for, ``picture`` or ``draft``; None for explanations and invalid requests.
        seconds: of each phase.
        work: the phases of the work on the picture, with their beginnings.
        steps: when each step ended, by `time.perf_counter`.
        trace_context: W3C's headers of the sender's span, as far as there are any.
        details: further fields of the log line.
    """

    request_id: str
    protocol: str
    kind: str
    outcome: str = "ok"
    status: int = 200
    mode: str = "none"
    answer: str | None = None
    seconds: Phases = field(default_factory=Phases)
    work: Phases = field(default_factory=Phases)
    steps: list[float] = field(default_factory=list)
    trace_context: Mapping[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    @property
    def own_id(self) -> str:
        """The request's id: the sender's, or else the server's number."""
        return str(self.details.get("client_request_id", self.request_id))

    def identified(self, request_id: str) -> str:
        """Notes the id if its sender chose it, and returns it."""
        if request_id != self.request_id:
            self.details["client_request_id"] = request_id
        return request_id

    def requested(self, request: StyleRequest, styles: Container[str], with_prompt: bool) -> None:
        """Notes a valid request.

        Args:
            styles: the names of the saved styles; any other name is the user's and stays out of the log.
        """
        self.mode = request.config.mode
        if self.kind == "prediction":
            self.answer = "picture" if request.config.steps else "draft"
        self.details["prompt_characters"] = len(request.prompt or "")
        if request.config.style is not None and request.config.style in styles:
            self.details["style"] = request.config.style
        if request.style_images:
            self.details["style_images"] = len(request.style_images)
        if with_prompt:
            self.details["prompt"] = request.prompt

    def refused(self, error: GenartisanError) -> None:
        """Notes an error."""
        self.status = error.status
        self.outcome = "timeout" if error.status == 504 else "refused" if error.status < 500 else "failed"
        if isinstance(error, ExpiredError | CancelledError):
            self.outcome = "expired" if isinstance(error, ExpiredError) else "cancelled"
        self.details |= {"code": error.code, "field": public_field(error.field)}

    def cancelled(self) -> None:
        """Notes that a stream ended with the picture so far."""
        self.outcome = "cancelled"

    def made(self, report: dict[str, Any], requested_steps: int, prompt_cached: bool) -> None:
        """Notes a finished picture."""
        if report["steps"] < requested_steps:
            self.outcome = "timeout"
        self.seconds |= {phase: value for phase, value in report["seconds"].items() if phase != "total"}
        self.details |= {name: report[name] for name in ("preset", "seed", "steps", "size")}
        self.details["prompt_cached"] = prompt_cached
