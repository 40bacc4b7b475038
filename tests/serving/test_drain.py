"""SIGTERM and `stop --drain` lose no request; a frontend that dies is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from proxies import FORM

from genartisan.cli.main import main
from genartisan.errors import BusyError, EndedError
from genartisan.serving import serve, supervisor
from genartisan.serving.client import Client
from genartisan.serving.defaults import Ports
from genartisan.serving.drain import unsent_bytes
from genartisan.serving.jobs import Jobs
from genartisan.serving.state import Server

LONG = {"size": 64, "steps": 400, "patches": 2, "patch_size": 32, "seed": 7}  # some seconds


@dataclass
class Foreground:
    """A server in the foreground, in a process of its own."""

    process: subprocess.Popen[str]
    server: Server
    health: str
    errors: Path

    def probe(self) -> tuple[int, str]:
        answer = servers.http("GET", self.health)
        return answer.status_code, answer.json()["status"]

    def ask(self, params: dict[str, Any]) -> bytes:
        """A picture, by a client that does not try again."""
        with Client(self.server.url, retries=0, key_file=self.server.keys) as client:
            return client.stylize(FORM[0][1][1], "Fire", params=params).content


@pytest.fixture
def foreground(tiny_folder: Path, tmp_path: Path) -> Iterator[Foreground]:
    with servers.prepared(tiny_folder, tmp_path) as arguments, running(arguments, tmp_path) as started:
        yield started


@contextmanager
def running(arguments: dict[str, Any], folder: Path) -> Iterator[Foreground]:
    probe, errors = Ports.free().inference, folder / "stderr"
    flags = [f"--{name.replace('_', '-')}-port={port}" for name, port in vars(arguments["ports"]).items()]
    files = [f"--{name}={arguments[name]}" for name in ("store", "state", "config")]
    command = [sys.executable, "-m", "genartisan", "serve", "--foreground", f"--probe-port={probe}", *flags, *files]
    environment = {**os.environ, "PYTHONPATH": str(servers.ROOT)}
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, text=True, env=environment) as process,
    ):

        def ready() -> bool:
            assert process.poll() is None, errors.read_text()
            return "ready:" in errors.read_text()

        try:
            servers.eventually(ready, "the server is ready")
            server = serve.current(arguments["state"])
            assert server is not None
            yield Foreground(process, server, f"http://127.0.0.1:{probe}/healthz", errors)
        finally:
            process.send_signal(signal.SIGINT)


def begun(server: Server, job: Future[Any]) -> bool:
    assert not job.done(), job.result()
    return Jobs(Path(server.temporary)).in_progress() == 1


@pytest.mark.slow
@pytest.mark.server
def test_sigterm_finishes_what_is_in_progress_and_in_the_queue_and_then_ends_everything(foreground: Foreground) -> None:
    family = servers.family(foreground.server)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(foreground.ask, LONG)
        servers.eventually(lambda: begun(foreground.server, first), "a worker has it")
        second = threads.submit(foreground.ask, servers.TINY)
        foreground.process.send_signal(signal.SIGTERM)
        servers.eventually(lambda: foreground.probe() == (404, "draining"), "the probe says so")
        assert main(["status", "--state", str(foreground.server.state)]) == 1
        assert [job.result()[:4] for job in (first, second)] == [b"\x89PNG"] * 2
    assert foreground.process.wait(servers.PATIENCE) == 0
    assert not [process for process in family if servers.alive(process)]
    assert "draining" in foreground.errors.read_text()


@pytest.mark.slow
@pytest.mark.server
def test_stop_can_drain_and_a_stopped_server_is_not_restarted(foreground: Foreground) -> None:
    with ThreadPoolExecutor() as threads:
        job = threads.submit(foreground.ask, LONG)
        servers.eventually(lambda: begun(foreground.server, job), "a worker has it")
        assert main(["stop", "--state", str(foreground.server.state), "--drain"]) == 0
        assert job.result()[:4] == b"\x89PNG"
    assert foreground.process.wait(servers.PATIENCE) == 0
    assert foreground.errors.read_text().count("ready:") == 1


@pytest.mark.server
def test_a_closed_server_refuses_with_retry_after_and_clients_try_again(server: Server) -> None:
    jobs = Jobs(Path(server.temporary))
    jobs.close()
    try:
        answer = httpx.post(
            f"{server.url}/predictions/genartisan", headers=servers.key(server), files=FORM, trust_env=False
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert answer.json()["error"]["code"] == "busy"
        for where in ({"url": server.url}, {"grpc": server.grpc}):
            with (
                Client(**where, retries=0, key_file=server.keys) as client,
                pytest.raises(BusyError, match="about to end"),
            ):
                client.stylize(FORM[0][1][1], "Fire", params=servers.TINY)
        sent_before = {**servers.key(server), "X-Request-Start": f"t={time.time() - 60:.3f}"}
        answer = httpx.post(f"{server.url}/predictions/genartisan", headers=sent_before, files=FORM, trust_env=False)
        assert answer.status_code == 200  # it has waited in a proxy
    finally:
        jobs.open()
    assert servers.post(server, {name: content for name, (_, content, _) in FORM}).status == 200


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """When servers were started, each of which crashes at once."""
    started: list[float] = []

    class Dead:
        def has_ended(self, within: float) -> bool:
            return True

        def exit_reason(self) -> str:
            return "signal SIGKILL"

    def start(*_: object, **__: object) -> tuple[Server, Dead]:
        started.append(time.monotonic())
        server = Server(state=tmp_path, pid=1, created=0, host="127.0.0.1", ports=serve.Ports(), store=tmp_path)
        server.note()
        return server, Dead()

    monkeypatch.setattr(serve, "start_process", start)
    monkeypatch.setattr(serve, "stop", lambda *_, **__: True)
    return started


def test_more_crashes_than_allowed_end_the_supervisor(starts: list[float], tmp_path: Path) -> None:
    said: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(EndedError, match="SIGKILL"):
        supervisor.run(state=tmp_path, say=said.append)
    assert len(starts) == 1 + supervisor.RESTARTS == 1 + len(said)
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_while_a_crash_is_cleaned_up_is_not_lost(
    starts: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serve, "stop", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    supervisor.run(state=tmp_path, say=[].append)
    assert len(starts) == 1


def test_unsent_bytes_are_those_of_slow_readers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as reader:
            sender, _ = listener.accept()
            assert unsent_bytes([port]) == 0
            count = 20_000_000
            thread = threading.Thread(target=sender.sendall, args=(bytes(count),))
            thread.start()
            servers.eventually(lambda: unsent_bytes([port]) > 0, "it cannot send all")
            reader.settimeout(servers.PATIENCE)
            while count:
                received = len(reader.recv(1 << 20))
                assert received, "the connection is closed"
                count -= received
            thread.join()
            servers.eventually(lambda: unsent_bytes([port]) == 0, "the last bytes are acknowledged")
            sender.close()
