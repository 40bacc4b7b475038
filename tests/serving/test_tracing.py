"""Traces: what a collector gets of real requests by way of the gate, over HTTP and gRPC."""

from __future__ import annotations

import gzip
import re
import sys
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import haproxy
import pytest
import servers
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from proxies import FIELDS, answering

from genartisan.errors import ServeError
from genartisan.serving import serve, tracing
from genartisan.serving.record import Record
from genartisan.serving.serve import Server

pytestmark = [pytest.mark.server, pytest.mark.slow, *haproxy.installed]
SENDER = {"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    got: list[Any] = []

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
        self.got += ExportTraceServiceRequest.FromString(body).resource_spans
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def traced(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose requests are traced."""
    with answering(Collector) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # ms
        with servers.running(tiny_folder, tmp_path_factory.mktemp("traced")) as server:
            yield server


def spans_of(trace: str, root: str) -> dict[str, Any]:
    """The spans of a trace by name, once ``root`` has come."""

    def found() -> dict[str, Any]:
        everything = [span for each in Collector.got for scope in each.scope_spans for span in scope.spans]
        return {span.name: span for span in everything if span.trace_id.hex() == trace}

    servers.eventually(lambda: root in found(), "the trace is exported")
    return found()


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


def test_the_gates_id_leads_to_the_phases_and_steps_of_a_run(
    traced: Server, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with haproxy.running(traced, certificate, tmp_path) as gate:
        assert gate.post().status_code == 200
        servers.eventually(lambda: '"caller": "ann"' in (tmp_path / "log").read_text(), "the gate logs it")
    name = uuid.UUID(re.findall(r'"id": "(.*?)"', (tmp_path / "log").read_text())[-1])
    spans = spans_of(name.hex, "prediction")
    root = spans.pop("prediction")
    assert list(spans) == ["queue", "decode", "segment", "text", "plan", "render", "encode", "optimise"]
    assert {span.parent_span_id for span in spans.values()} == {root.span_id}
    order = sorted(spans.values(), key=lambda span: span.start_time_unix_nano)
    assert [span.name for span in order][-3:] == ["optimise", "render", "encode"]
    for span, following in pairwise(order):
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= following.start_time_unix_nano + 1e6
    assert order[-1].end_time_unix_nano <= root.end_time_unix_nano
    said = attributes(root)
    assert [attributes(event)["step"] for event in spans["optimise"].events] == [
        step + 1 for step in range(said["genartisan.steps"])
    ]
    assert (said["genartisan.outcome"], said["genartisan.request_id"]) == ("ok", str(name))
    assert FIELDS["prompt"].decode().lower() not in str(Collector.got).lower()
    assert f'"trace_id": "{name.hex}"' in servers.log(traced)
    assert attributes(Collector.got[0].resource)["service.name"] == "genartisan"


def test_a_sender_over_grpc_has_it_in_his_own_trace_and_a_refusal_has_its_code(traced: Server) -> None:
    assert servers.call(traced, {**FIELDS, **SENDER}).status == "OK"
    refused = {**FIELDS, "photo": b"no photo", "traceparent": SENDER["traceparent"].replace(b"0af7", b"1bf7")}
    assert servers.call(traced, refused).status == "INVALID_ARGUMENT"
    made, failed = (spans_of(f"{start}651916cd43dd8448eb211c80319c", "prediction") for start in ("0af7", "1bf7"))
    assert "optimise" in made
    assert list(failed) == ["prediction"]
    assert made["prediction"].parent_span_id.hex() == "b7ad6b7169203331"
    said = attributes(failed["prediction"])
    assert (said["genartisan.outcome"], said["genartisan.code"]) == ("refused", "unsupported_image")


def test_a_collector_that_is_away_holds_no_request_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # s, at the end of this process
    traced = tracing.Tracing(("0", "tiny", "some-hash", "1.0"))
    record = Record("some-id", "http", "prediction")
    record.seconds["total"] = 1.0
    began = time.monotonic()
    assert int(traced.export(record), 16)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_traces_are_off_unless_a_collector_is_named(
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_wanted() is wanted


def test_a_server_that_cannot_trace_does_not_start(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    unable = pytest.raises(ServeError, match="OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed")
    with servers.prepared(tiny_folder, tmp_path) as arguments, unable:
        serve.start(**arguments)
