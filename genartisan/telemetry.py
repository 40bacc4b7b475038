"""What a server tells of its requests: metrics for Prometheus, and one line of JSON a request for the log.

TorchServe fixes a histogram's buckets at 5 ms to 10 s, too short for jobs of seconds to minutes. But a Prometheus
histogram is counters by convention: one for each upper bound ``le``, a sum and a count. So they are made here from
plain counters, and ``histogram_quantile`` reads them as any other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genartisan.errors import GenartisanError

BUCKETS = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0)  # seconds
LABELS = {
    "genartisan_requests_total": ("outcome", "mode"),
    "genartisan_phase_seconds_bucket": ("phase", "le"),
    "genartisan_phase_seconds_sum": ("phase",),
    "genartisan_phase_seconds_count": ("phase",),
    "genartisan_steps_total": ("mode",),
    "genartisan_pixels_total": ("mode",),
    "genartisan_prompts_total": ("cache",),
    "genartisan_results_total": ("cache",),
    "genartisan_in_flight": ("worker",),
    "genartisan_steps_per_second": ("worker",),
    "genartisan_peak_memory_bytes": ("worker",),
}
"""Every metric and its labels, in the order that handlers/metrics.yaml declares them in. The last three are gauges.

Several workers would overwrite one another's gauges, so each has a number of its own (`slot`)."""

SLOTS = 256  # workers of a server
logger = logging.getLogger(__name__)
Emit = Callable[[str, float, list[str]], None]


@dataclass
class Record:
    """One request, filled in as it goes.

    Attributes:
        outcome: ``ok``, ``timeout`` (its deadline came first), ``refused`` (the input was at fault), ``failed``.
        mode: of the settings; ``none`` where they could not be read.
        details: what else the log tells.
    """

    request_id: str
    protocol: str
    kind: str
    outcome: str = "ok"
    status: int = 200
    mode: str = "none"
    seconds: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def refused(self, error: GenartisanError) -> None:
        """Notes an error."""
        self.status = error.status
        self.outcome = "timeout" if error.status == 504 else "refused" if error.status < 500 else "failed"
        self.details |= {"code": error.code, "field": error.field}

    def made(self, report: dict[str, Any], wanted_steps: int, prompt_cached: bool) -> None:
        """Notes a picture."""
        if report["steps"] < wanted_steps:
            self.outcome = "timeout"
        self.seconds |= {phase: value for phase, value in report["seconds"].items() if phase != "total"}
        self.details |= {name: report[name] for name in ("preset", "seed", "steps", "size")}
        self.details["prompt_cached"] = prompt_cached


class Telemetry:
    """Counts requests and writes the log.

    Args:
        emit: takes a metric's name, what to add to it or set it to, and the values of its labels.
        worker: a number that no other living worker has, the label of the gauges.
    """

    def __init__(self, emit: Emit, worker: int) -> None:
        self._emit, self._worker = emit, str(worker)
        self._gauge("in_flight", 0)  # of a worker that died in the midst of a request, 1 would stay

    def begin(self, record: Record) -> None:
        """A request has come."""
        self._gauge("in_flight", 1)

    def end(self, record: Record, peak_memory: int) -> None:
        """It has been answered.

        Args:
            peak_memory: bytes, the most that its device held meanwhile.
        """
        record.seconds["total"] = time.perf_counter() - record.began
        emit, details = self._emit, record.details
        emit("genartisan_requests_total", 1, [record.outcome, record.mode])
        for phase, seconds in record.seconds.items():
            self._observe(phase, seconds)
        if "cache" in details:
            emit("genartisan_results_total", 1, [details["cache"]])
        if "steps" in details:
            width, height = details["size"]
            emit("genartisan_steps_total", details["steps"], [record.mode])
            emit("genartisan_pixels_total", width * height, [record.mode])
            emit("genartisan_prompts_total", 1, ["hit" if details["prompt_cached"] else "miss"])
            if details["steps"]:  # a draft has none, and says nothing of the pace
                self._gauge("steps_per_second", details["steps"] / max(record.seconds["optimise"], 1e-3))
        self._gauge("peak_memory_bytes", peak_memory)
        self._gauge("in_flight", 0)
        told = {name: getattr(record, name) for name in ("request_id", "protocol", "kind", "outcome", "status", "mode")}
        seconds_told = {phase: round(value, 3) for phase, value in record.seconds.items()}
        logger.info("%s", json.dumps({**told, "seconds": seconds_told, "peak_memory": peak_memory, **details}))

    def _observe(self, phase: str, seconds: float) -> None:
        for bound in BUCKETS:
            if seconds <= bound:
                self._emit("genartisan_phase_seconds_bucket", 1, [phase, f"{bound:g}"])
        self._emit("genartisan_phase_seconds_bucket", 1, [phase, "+Inf"])
        self._emit("genartisan_phase_seconds_sum", round(seconds, 4), [phase])
        self._emit("genartisan_phase_seconds_count", 1, [phase])

    def _gauge(self, name: str, value: float) -> None:
        self._emit(f"genartisan_{name}", round(value, 3), [self._worker])


def slot(folder: Path) -> int:
    """The lowest number that no other living process has taken in this folder. It is free again when this one ends.

    Raises:
        OSError: all are taken, or the folder cannot be written to.
    """
    for number in range(SLOTS):
        try:
            file = os.open(folder / f"worker-{number}", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError:  # another user's
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        return number  # the file stays open, and locked, as long as the process lives
    raise OSError(f"{SLOTS} workers are alive in {folder}")
