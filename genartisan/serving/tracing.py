"""Traces by OpenTelemetry: a span for each request, and within it the queue, each phase and the steps.

Off unless OpenTelemetry's own ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) names a
collector, which gets them by OTLP over HTTP; its other variables hold as well. A request's spans are made when it has
been answered, from the times in its record.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genartisan.errors import ServeError

if TYPE_CHECKING:  # it imports PyTorch, and `genartisan status` only asks `is_wanted`
    from genartisan.serving.record import Record

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
MOST_EVENTS = 100  # of the span of the steps; the SDK keeps 128


def is_wanted() -> bool:
    """Whether the environment names a collector.

    Raises:
        ServeError: it does, but OpenTelemetry's packages are not installed.
    """
    named = [name for name in ENDPOINTS if os.environ.get(name)]
    if not named or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk  # noqa: F401
    except ImportError as error:
        reason = f"{named[0]} is set, but OpenTelemetry is not installed"
        raise ServeError(f"{reason}; unset it, or install: pip install 'genartisan[tracing]'.", named[0]) from error
    return True


class Tracing:
    """Exports requests as traces, in a thread of its own.

    Args:
        build: package version, bundle, hash of the bundle, model version.
    """

    def __init__(self, build: Sequence[str]) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class TraceIds(RandomIdGenerator):
            """Takes a request's id where it is a UUID, as a gate's is: who has it has the trace."""

            request_id = ""

            def generate_trace_id(self) -> int:
                try:
                    return uuid.UUID(self.request_id).int or super().generate_trace_id()
                except ValueError:
                    return super().generate_trace_id()

        version, bundle, bundle_hash, model_version = build
        about: dict[str, str | int] = {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", "genartisan"),
            "service.version": version,
            "process.pid": os.getpid(),
            "genartisan.bundle": bundle,
            "genartisan.bundle_sha256": bundle_hash,
            "genartisan.model_version": model_version,
        }
        self._ids = TraceIds()
        self._provider = TracerProvider(resource=Resource.create(about), id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("genartisan", version)

    def export(self, record: Record) -> str:
        """Exports an answered request, in its sender's trace if it named one; the trace's id, 32 hexadecimal digits."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        offset = time.time() - time.perf_counter()

        def nanoseconds(at: float) -> int:
            return int((offset + at) * 1e9)

        self._ids.request_id = record.own_id
        root = self._tracer.start_span(
            record.kind,
            TraceContextTextMapPropagator().extract(record.trace_context),
            SpanKind.SERVER,
            attributes_of(record),
            start_time=nanoseconds(record.began - record.seconds.get("queue", 0.0)),
        )
        if record.outcome == "failed":
            root.set_status(StatusCode.ERROR)
        within = set_span_in_context(root)
        for name, (began, seconds) in phases_of(record).items():
            span = self._tracer.start_span(name, within, start_time=nanoseconds(began))
            if name == "optimise":
                for step in range(0, len(record.steps), -(-len(record.steps) // MOST_EVENTS)):
                    span.add_event("step", {"step": step + 1}, nanoseconds(record.steps[step]))
            span.end(nanoseconds(began + seconds))
        root.end(nanoseconds(record.began + record.seconds["total"]))
        return f"{root.get_span_context().trace_id:032x}"


def phases_of(record: Record) -> dict[str, tuple[float, float]]:
    """When each phase of a request began, by `time.perf_counter`, and its seconds."""
    phases: dict[str, tuple[float, float]] = {}
    if waited := record.seconds.get("queue"):
        phases["queue"] = record.began - waited, waited
    for ran in (record.work, record.seconds):
        phases |= {name: (began, ran[name]) for name, began in ran.began.items() if name in ran}
    if record.steps:
        began = sum(phases["plan"])
        phases["optimise"] = began, record.steps[-1] - began
    return phases


def attributes_of(record: Record) -> dict[str, Any]:
    """What the log says of a request; its prompt only if the log has it."""
    said = {name: getattr(record, name) for name in ("protocol", "outcome", "status", "mode")}
    said |= {**record.details, "request_id": record.own_id}
    return {f"genartisan.{name}": value for name, value in said.items() if value is not None}
