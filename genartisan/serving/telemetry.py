"""Metrics for Prometheus, and one line of JSON in the log for each request.

TorchServe fixes a histogram's buckets at 5 ms to 10 s, too short for jobs of seconds to minutes. So counters measure
phases: how often one ended, its total seconds, and how often it took at most so many ``seconds``, for PromQL's
``histogram_quantile`` (docs/serving.md). The label is not ``le``: ``promtool check metrics`` rejects that outside a
histogram.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_args

from genartisan.config import StyleConfig
from genartisan.errors import CancelledError, ExpiredError, GenartisanError
from genartisan.serving.gauges import Emit, WorkerGauges
from genartisan.serving.log_privacy import public_field
from genartisan.serving.request import StyleRequest

BOUNDS = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0)  # seconds
WITHIN = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
OUTCOMES = ("ok", "timeout", "expired", "cancelled", "refused", "failed")
MODES: tuple[str, ...] = get_args(StyleConfig.model_fields["mode"].annotation)
PHASES = ("queue", "decode", "segment", "text", "plan", "optimise", "render", "encode", "total")
ANSWERS = ("picture", "draft")
CACHE = ("hit", "miss")
COUNTERS: dict[str, dict[str, tuple[str, ...]]] = {
    "genartisan_worker_starts_total": {},
    "genartisan_requests_total": {"outcome": OUTCOMES, "mode": (*MODES, "none")},
    "genartisan_phases_total": {"phase": PHASES},
    "genartisan_phase_seconds_total": {"phase": PHASES},
    "genartisan_phases_within_total": {"phase": PHASES, "seconds": WITHIN},
    "genartisan_answers_within_total": {"answer": ANSWERS, "seconds": WITHIN},
    "genartisan_steps_total": {"mode": MODES},
    "genartisan_pixels_total": {"mode": MODES},
    "genartisan_prompts_total": {"cache": CACHE},
    "genartisan_results_total": {"cache": CACHE},
}
"""Every counter with all values of its labels. All start at 0 with the worker."""
GAUGES = {
    "genartisan_in_flight": ("worker",),
    "genartisan_steps_per_second": ("worker",),
    "genartisan_peak_memory_bytes": ("worker",),
    "genartisan_last_step_timestamp_seconds": ("worker",),
    "genartisan_build_info": ("worker", "version", "bundle", "bundle_sha256", "model_version"),
}
LABELS = {**{name: tuple(labels) for name, labels in COUNTERS.items()}, **GAUGES}
"""Every metric and its labels, in the order of handlers/metrics.yaml."""

logger = logging.getLogger(__name__)


@dataclass
class Record:
    """The log record of one request.

    Attributes:
        request_id: the server's number.
        outcome: ``ok``, ``timeout`` (its deadline passed), ``expired`` (it passed before the work began),
            ``cancelled``, ``refused`` (bad input) or ``failed``.
        mode: of the settings; ``none`` if they are invalid.
        answer: what was asked for, ``picture`` or ``draft``; None for explanations and invalid requests.
        details: further fields of the log line.
    """

    request_id: str
    protocol: str
    kind: str
    outcome: str = "ok"
    status: int = 200
    mode: str = "none"
    answer: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

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


class Telemetry:
    """Counts requests and writes the log.

    Args:
        emit: takes a metric's name, what to add to a counter or set a gauge to, and the values of its labels.
        folder: shared by all workers of a server, for `WorkerGauges`.
        build: the labels of ``genartisan_build_info`` after the worker.
    """

    def __init__(self, emit: Emit, folder: Path, build: Sequence[str]) -> None:
        self._emit = emit
        self._gauges = WorkerGauges(emit, folder, tuple(GAUGES), {"genartisan_build_info": build})
        self._last_step, self._emitted_step = 0.0, 0.0
        for name, labels in COUNTERS.items():
            for values in product(*labels.values()):
                emit(name, 0, list(values))
        emit("genartisan_worker_starts_total", 1, [])
        self._gauge("build_info", 1)

    def begin(self, record: Record) -> None:
        """A request came in."""
        self._gauge("in_flight", 1)
        self.step()

    def step(self) -> None:
        """A step, or another unit of a request's work, is done."""
        self._last_step = time.time()

    def beat(self) -> None:
        """Emits the time of the last step, and resets the gauges of dead workers; runs periodically, in any thread."""
        if self._emitted_step != self._last_step:
            self._emitted_step = self._last_step
            self._gauge("last_step_timestamp_seconds", self._emitted_step)
        self._gauges.reset_dead()

    def end(self, record: Record, peak_memory: int) -> None:
        """The request has been answered.

        Args:
            peak_memory: of the device meanwhile, in bytes.
        """
        record.seconds["total"] = time.perf_counter() - record.began
        emit, details = self._emit, record.details
        emit("genartisan_requests_total", 1, [record.outcome, record.mode])
        for phase, seconds in record.seconds.items():
            self._observe(phase, seconds)
        if record.answer and record.status == 200 and record.outcome != "cancelled":
            waited = record.seconds.get("queue", 0.0)
            self._within("genartisan_answers_within_total", record.answer, waited + record.seconds["total"])
        if "cache" in details:
            emit("genartisan_results_total", 1, [details["cache"]])
        if "steps" in details:
            width, height = details["size"]
            emit("genartisan_steps_total", details["steps"], [record.mode])
            emit("genartisan_pixels_total", width * height, [record.mode])
            emit("genartisan_prompts_total", 1, ["hit" if details["prompt_cached"] else "miss"])
            if details["steps"]:  # a draft has none
                self._gauge("steps_per_second", details["steps"] / max(record.seconds["optimise"], 1e-3))
        self._gauge("peak_memory_bytes", peak_memory)
        self._gauge("in_flight", 0)
        line = {name: getattr(record, name) for name in ("request_id", "protocol", "kind", "outcome", "status", "mode")}
        rounded = {phase: round(value, 3) for phase, value in record.seconds.items()}
        logger.info("%s", json.dumps({**line, "seconds": rounded, "peak_memory": peak_memory, **details}))

    def _observe(self, phase: str, seconds: float) -> None:
        self._within("genartisan_phases_within_total", phase, seconds)
        self._emit("genartisan_phase_seconds_total", round(seconds, 4), [phase])
        self._emit("genartisan_phases_total", 1, [phase])

    def _within(self, name: str, label: str, seconds: float) -> None:
        for bound, within in zip((*BOUNDS, float("inf")), WITHIN, strict=True):
            if seconds <= bound:
                self._emit(name, 1, [label, within])

    def _gauge(self, name: str, value: float) -> None:
        self._gauges.set(f"genartisan_{name}", value)
