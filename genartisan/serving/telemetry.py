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
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import get_args

from genartisan.config import StyleConfig
from genartisan.serving.gauges import Emit, WorkerGauges
from genartisan.serving.record import Record
from genartisan.serving.tracing import Tracing

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


class Telemetry:
    """Counts requests and writes the log.

    Args:
        emit: takes a metric's name, what to add to a counter or set a gauge to, and the values of its labels.
        folder: shared by all workers of a server, for `WorkerGauges`.
        build: the labels of ``genartisan_build_info`` after the worker.
        tracing: exports requests as traces; None: nothing does.
    """

    def __init__(self, emit: Emit, folder: Path, build: Sequence[str], tracing: Tracing | None = None) -> None:
        self._emit, self._tracing = emit, tracing
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
        if self._tracing is not None:
            details["trace_id"] = self._tracing.export(record)
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
