"""Metrics without a server: initial values, and the gauges of dead workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import ROOT

from genartisan.config import StyleConfig
from genartisan.errors import CancelledError, DeadlineError, ExpiredError, GenartisanError, InputError
from genartisan.serving.gauges import WorkerGauges
from genartisan.serving.request import StyleRequest
from genartisan.serving.telemetry import Record, Telemetry

BUILD = ("0.1", "tiny", "hash", "1.0")


class Registry:
    """Accumulates counters and sets gauges, as a server does."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def emit(self, name: str, value: float, labels: list[str]) -> None:
        key = (name, *labels)
        self.values[key] = value + (self.values.get(key, 0) if name.endswith("_total") else 0)


def kill_worker(folder: Path, registry: Registry) -> None:
    """Starts a worker that is killed in a request; what it emitted is in the registry."""
    script = (
        "import json, os, sys\nfrom pathlib import Path\nfrom genartisan.serving.gauges import WorkerGauges\n"
        "names = 'genartisan_in_flight', 'genartisan_build_info'\n"
        "labels = {'genartisan_build_info': ['0.0', 'old', 'h', '0.9']}\n"
        "gauges = WorkerGauges(lambda *emitted: print(json.dumps(emitted)), Path(sys.argv[1]), names, labels)\n"
        "for name in names:\n    gauges.set(name, 1)\n"
        "sys.stdout.flush()\nos.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == -9
    for line in done.stdout.splitlines():
        registry.emit(*json.loads(line))


@pytest.mark.parametrize("replaced", [True, False])
def test_the_gauges_of_a_dead_worker_are_reset(replaced: bool, tmp_path: Path) -> None:
    registry = Registry()
    other = None if replaced else Telemetry(registry.emit, tmp_path, BUILD)  # it has number 0
    kill_worker(tmp_path, registry)
    number = "0" if replaced else "1"
    dead = ("genartisan_build_info", number, "0.0", "old", "h", "0.9")
    assert registry.values["genartisan_in_flight", number] == registry.values[dead] == 1
    if other is None:
        Telemetry(registry.emit, tmp_path, BUILD)
    else:
        other.beat()
    assert registry.values["genartisan_in_flight", number] == registry.values[dead] == 0
    assert registry.values[("genartisan_build_info", "0", *BUILD)] == 1
    assert registry.values[("genartisan_worker_starts_total",)] == 1


def test_living_workers_have_different_numbers(tmp_path: Path) -> None:
    registry = Registry()
    first, second = (WorkerGauges(registry.emit, tmp_path, ["busy"]) for _ in range(2))
    first.set("busy", 1)
    second.set("busy", 2)
    second.reset_dead()
    assert registry.values == {("busy", "0"): 1, ("busy", "1"): 2}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InputError("steps is -1"), "refused"),
        (DeadlineError("over"), "timeout"),
        (ExpiredError("over before"), "expired"),
        (CancelledError("left"), "cancelled"),
        (GenartisanError("failed"), "failed"),
    ],
)
def test_a_request_is_counted_by_its_outcome(error: GenartisanError, outcome: str, tmp_path: Path) -> None:
    registry = Registry()
    telemetry, record = Telemetry(registry.emit, tmp_path, BUILD), Record("some-id", "http", "prediction")
    before = dict(registry.values)
    telemetry.begin(record)
    assert registry.values["genartisan_in_flight", "0"] == 1
    record.refused(error)
    record.seconds["queue"] = 30.0
    telemetry.end(record, 1000)
    gained = {key: value - before[key] for key, value in registry.values.items() if value != before[key]}
    assert gained[("genartisan_requests_total", outcome, "none")] == 1
    assert [key for key in gained if key[0] == "genartisan_requests_total"] == [
        ("genartisan_requests_total", outcome, "none")
    ]
    within = {key[2] for key in gained if key[:2] == ("genartisan_phases_within_total", "queue")}
    assert within == {"40", "80", "160", "320", "640", "1280", "2560", "+Inf"}
    assert gained["genartisan_phase_seconds_total", "queue"] == 30
    assert registry.values["genartisan_in_flight", "0"] == 0


@pytest.mark.parametrize(
    ("steps", "kind", "error", "expected"),
    [
        (2, "prediction", None, "picture"),
        (0, "prediction", None, "draft"),
        (2, "prediction", DeadlineError("over"), None),
        (2, "prediction", CancelledError("left"), None),
        (2, "explanation", None, None),
    ],
)
def test_an_answers_time_includes_its_wait(
    steps: int, kind: str, error: GenartisanError | None, expected: str | None, tmp_path: Path
) -> None:
    registry = Registry()
    telemetry, record = Telemetry(registry.emit, tmp_path, BUILD), Record("some-id", "http", kind)
    telemetry.begin(record)
    config = StyleConfig(steps=steps, start="draft")
    request = StyleRequest(b"", "Fire", {}, {}, config, 0, "image/png", "image/png", 0)
    record.requested(request, (), with_prompt=False)
    record.seconds["queue"] = 30.0
    if error:
        record.refused(error)
    telemetry.end(record, 0)
    name, bounds = "genartisan_answers_within_total", ("40", "80", "160", "320", "640", "1280", "2560", "+Inf")
    counted = [key[1:] for key, value in registry.values.items() if key[0] == name and value]
    assert counted == ([(expected, bound) for bound in bounds] if expected else [])
