"""Locust against a real server: every kind of job, both models, gates, workers, the web interface."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from servers import ROOT, TINY

from genartisan.serving.defaults import Ports
from genartisan.serving.serve import Server

pytestmark = [
    pytest.mark.server,
    # Importing it here would let gevent patch this process.
    pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="no Locust"),
]

COMMAND = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")]
PARAMS = json.dumps({name: TINY[name] for name in ("size", "patches", "patch_size")})


def target(server: Server) -> list[str]:
    """The flags for a server."""
    flags = ["--host", server.url, "--grpc", server.grpc, "--key-file", server.keys, "--params", PARAMS]
    return [*flags, "--metrics", f"{server.metrics}/metrics", "--state", str(server.state)]


def run(server: Server, *flags: str, report: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A load test without the web interface."""
    command = [*COMMAND, *target(server), "--headless", "--only-summary", *flags]
    if report is not None:
        command += ["--report", str(report)]
    return subprocess.run(command, capture_output=True, text=True, timeout=servers.PATIENCE, check=False)


def read(report: Path) -> dict[str, Any]:
    return json.loads((report / "report.json").read_text())


def outcomes(report: Path) -> Counter[str]:
    return Counter(outcome for *_, outcome in read(report)["samples"])


@pytest.mark.slow
def test_a_target_elsewhere_must_be_ones_own_and_bad_flags_are_named() -> None:
    def refusal(*flags: str) -> str:
        done = subprocess.run([*COMMAND, "--headless", *flags], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "--i-own-this" in refusal("--host", "http://example.org", "--run-time", "1s")
    assert "none of picture" in refusal("--host", "http://127.0.0.1:1", "--mix", "pictures")
    assert "no server answers" in refusal("--host", "http://127.0.0.1:1", "--run-time", "50s")
    assert "LEVELxSECONDS" in refusal("--host", "http://127.0.0.1:1", "--levels", "1-5")
    assert "--state" in refusal("--host", "http://127.0.0.1:1", "--kill-every", "5")
    assert "JSON" in refusal("--host", "http://127.0.0.1:1", "--params", "[1]")


@pytest.mark.slow
def test_every_kind_of_job_is_done_and_reported(server: Server, tmp_path: Path) -> None:
    mix = "picture=4,grpc=2,stream=2,explain=2,cancel=2,leave,bad=2"
    flags = ("--users", "3", "--run-time", "40s", "--mix", mix, "--presets", "draft,fast", "--check-share", "0.5")
    missing = {"picture", "grpc", "stream", "explain", "cancel", "leave", "bad"}
    for seed in range(8):  # a busy machine does few jobs in the time
        done = run(server, *flags, "--seed", str(seed), report=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        report = read(tmp_path)
        assert set(outcomes(tmp_path)) == {"ok"}
        missing -= {job.split()[0] for job in report["jobs"]}
        if not missing:
            break
    assert not missing
    parts = {part.split(": ")[1] for part in report["parts"]}
    assert parts & {"first event", "draft", "cancelled", "wasted"}
    for name in ("in progress", "waiting", "workers' memory", "descriptors"):
        assert any(moment["server"].get(name) for moment in report["moments"]), name
    assert "pictures, closed model, 3 users" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len(read(tmp_path)["service"]) >= outcomes(tmp_path)["ok"] // 4


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_caller_his_picture(server: Server, tmp_path: Path) -> None:
    starts = servers.worker_starts(server)
    flags = ("--users", "2", "--run-time", "40s", "--presets", "fast", "--check-share", "1")
    done = run(server, *flags, "--kill-every", "25", "--retries", "1", report=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "times a worker was killed" in done.stdout
    assert set(outcomes(tmp_path)) == {"ok"}
    servers.eventually(lambda: servers.worker_starts(server) > starts, "the start of the next worker is counted")


@pytest.mark.slow
def test_gates_decide_on_the_exit_status(server: Server) -> None:
    done = run(server, "--users", "1", "--run-time", "15s", "--p95", "picture draft=0.0001", "--check-share", "0")
    assert done.returncode == 1
    assert "GATE MISSED: p95 of picture draft" in done.stderr, done.stdout + done.stderr


@pytest.mark.slow
def test_arrivals_do_not_wait_for_answers(server: Server, tmp_path: Path) -> None:
    flags = ("--rate", "8", "--run-time", "12s", "--presets", "fast", "--max-in-flight", "3", "--check-share", "0")
    run(server, *flags, "--constant", report=tmp_path)
    counts = outcomes(tmp_path)
    assert counts["ok"] > 0
    assert counts["dropped"] > 0
    due = sorted(intended for _, _, intended, _, _ in read(tmp_path)["samples"])
    assert all(abs(after - before - 1 / 8) < 1e-6 for before, after in pairwise(due))


@pytest.mark.slow
def test_two_workers_report_to_a_master(server: Server, tmp_path: Path) -> None:
    port = str(Ports.free().inference)
    worker = [*COMMAND, *target(server), "--worker", "--master-port", port]
    workers = [subprocess.Popen(worker, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        flags = ("--master", "--master-bind-port", port, "--expect-workers", "2", "--levels", "2x12,4x8")
        done = run(server, *flags, report=tmp_path)
    finally:
        for process in workers:
            process.terminate()
            process.wait(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(tmp_path)["ok"] > 4
    assert [level for level, _ in read(tmp_path)["levels"]] == [2, 4]
    assert max(moment["in_flight"] for moment in read(tmp_path)["moments"]) > 1


@pytest.mark.slow
def test_the_web_interface_asks_for_a_password(server: Server) -> None:
    port = Ports.free().inference
    environment = {**os.environ, "GENARTISAN_LOADTEST_PASSWORD": "correct horse"}
    process = subprocess.Popen([*COMMAND, *target(server), "--web-port", str(port)], env=environment)
    url = f"http://127.0.0.1:{port}/"

    def answer(**options: Any) -> int | None:
        try:
            return httpx.get(url, trust_env=False, **options).status_code
        except httpx.TransportError:
            return None

    try:
        servers.eventually(lambda: answer() is not None, "the web interface is up")
        assert answer() == 401
        assert answer(auth=("ann", "wrong")) == 401
        assert answer(auth=("ann", "correct horse")) == 200
    finally:
        process.terminate()
        process.wait(60)
