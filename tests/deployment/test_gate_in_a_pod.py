"""The gate as a pod runs it: plain HTTP by GATE_BIND, its key by share_key.sh and run.sh, ended by a signal."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from proxies import answering
from servers import ROOT

from genartisan.serving.defaults import Ports

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed"),
]
FOLDER = ROOT / "docker" / "gate"


class Node(BaseHTTPRequestHandler):
    """A worker that answers when it is told to, with the key that it got; its probe, and its metrics."""

    arrived = 0
    health = 200
    go = threading.Event()

    def do_GET(self) -> None:
        self.answer(self.health if self.path == "/healthz" else 200, f"asked for {self.path}")

    def do_POST(self) -> None:
        Node.arrived += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.go.wait(servers.PATIENCE)
        self.answer(200, self.headers["Authorization"])

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Silent."""


class Pod:
    """share_key.sh and run.sh, with the files that they need in ``folder``."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        Node.arrived, Node.health, Node.go = 0, 200, threading.Event()
        self.folder, ports = folder, Ports.free()
        node = stack.enter_context(answering(Node))
        stack.callback(Node.go.set)
        text = (FOLDER / "haproxy.cfg").read_text()
        for address in ("127.0.0.1:8080", "127.0.0.1:8082", "127.0.0.1:8083"):
            text = text.replace(address, node)
        text = text.replace("check port 8083", f"check port {node.rpartition(':')[2]}")
        text = text.replace("/etc/haproxy/", f"{folder}/").replace("/run/haproxy.sock", f"{folder}/haproxy.sock")
        (folder / "haproxy.cfg").write_text(text)
        (folder / "rates.map").write_text("ann 100000\nbob 100000\n")
        (folder / "quotas.map").touch()
        self.call(ann="ann's")
        self.draw("first")
        environment = {
            **os.environ, "GATE_BIND": f"127.0.0.1:{ports.inference}", "GATE_METRICS": f"127.0.0.1:{ports.metrics}",
        }  # fmt: skip
        copied, log = str(folder / "inference"), stack.enter_context((folder / "log").open("w"))

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            stack.callback(process.terminate)
            return process

        self.sharing = start("sh", str(FOLDER / "share_key.sh"), str(folder / "key_file.json"), copied)
        self.gate = start("sh", str(FOLDER / "run.sh"), str(folder / "haproxy.cfg"), copied)
        self.http = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{ports.inference}", trust_env=False, timeout=servers.PATIENCE)
        )
        self.metrics = f"http://127.0.0.1:{ports.metrics}"

    def call(self, **callers: str) -> None:
        """Writes the callers and their keys."""
        hashes = {name: hashlib.sha256(key.encode()).hexdigest().upper() for name, key in callers.items()}
        (self.folder / "callers.map").write_text("".join(f"{hash_} {name}\n" for name, hash_ in hashes.items()))

    def draw(self, key: str) -> None:
        """Writes keys as TorchServe does at each start."""
        keys = {kind: {"key": key if kind == "inference" else kind} for kind in ("management", "inference", "API")}
        (self.folder / "key_file.json").write_text(json.dumps(keys, indent=2))

    def ask(self, key: str = "ann's") -> httpx.Response:
        return self.http.post("/predictions/genartisan", headers={"Authorization": f"Bearer {key}"}, content=b"x")

    def look(self, path: str) -> httpx.Response:
        """From the port for Prometheus and the kubelet."""
        return httpx.get(self.metrics + path, trust_env=False, timeout=servers.PATIENCE)

    def is_ready(self) -> bool:
        try:
            return self.look("/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def pod(tmp_path: Path, interruptible: None) -> Iterator[Pod]:
    with ExitStack() as stack:
        started = Pod(tmp_path, stack)
        servers.eventually(started.is_ready, "the gate is ready")
        yield started


def test_a_new_key_and_new_callers_need_no_restart(pod: Pod) -> None:
    Node.go.set()
    assert pod.ask().text == "Bearer first"
    pod.draw("second")
    servers.eventually(lambda: pod.ask().text == "Bearer second", "the gate has the new key")
    assert pod.ask("bob's").status_code == 401
    pod.call(bob="bob's")
    pod.gate.send_signal(signal.SIGHUP)
    servers.eventually(lambda: pod.ask("bob's").status_code == 200, "the gate has the new caller")
    assert pod.ask().status_code == 401
    assert (pod.gate.poll(), pod.sharing.poll()) == (None, None)


def test_the_gate_passes_its_servers_health_and_metrics_on(pod: Pod) -> None:
    assert "haproxy_backend_current_sessions" in pod.look("/metrics").text
    assert pod.look("/metrics/server").text == "asked for /metrics"
    assert pod.look("/models").status_code == 404
    for status in (404, 503):  # it drains, it is down
        Node.health = status
        assert pod.look("/healthz").status_code == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_who_runs_or_waits_when_the_gate_is_stopped_is_served(number: signal.Signals, pod: Pod) -> None:
    def waiting(count: int) -> bool:
        return f'haproxy_server_current_queue{{proxy="pictures",server="node"}} {count}\n' in pod.look("/metrics").text

    with ThreadPoolExecutor(3) as threads:
        asked: list[Future[Any]] = [threads.submit(pod.ask) for _ in range(3)]
        try:
            servers.eventually(lambda: Node.arrived == 1 and waiting(2), "one runs and two wait")
            pod.gate.send_signal(number)
            servers.eventually(lambda: not pod.is_ready(), "nobody new is accepted")
            assert pod.gate.poll() is None
        finally:
            Node.go.set()
        assert [job.result().status_code for job in asked] == [200, 200, 200]
    assert Node.arrived == 3
    assert pod.gate.wait(servers.PATIENCE) == 0
