"""docker/gate/haproxy.cfg in front of a real TorchServe: callers, paths, rates, the queue."""

from __future__ import annotations

import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import grpc
import haproxy
import httpx
import psutil
import pytest
import servers
from haproxy import KEY, HAProxy, hash_of
from proxies import CALLER, FIELDS, FORM, answering, raw, sent
from servers import ROOT

from genartisan.cli.main import main
from genartisan.errors import AccessError, BusyError
from genartisan.serving.client import Client
from genartisan.serving.inference_grpc import METHOD, PACKAGE, decode_response, encode_request
from genartisan.serving.limits import Limits
from genartisan.serving.serve import Server

pytestmark = [pytest.mark.server, pytest.mark.slow, *haproxy.installed]
PICTURE, DRAFT = "/predictions/genartisan", "/predictions/genartisan-draft"
QUEUE = 20  # requests that may wait


class Slow(BaseHTTPRequestHandler):
    """A worker that answers when it is told to, and notes what it got."""

    got: list[str] = []
    keys: list[str] = []
    go = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(self.headers["X-Request-Id"])
        self.keys.append(self.headers["Authorization"])
        self.go.wait(servers.PATIENCE)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


Start = Callable[..., HAProxy]


@pytest.fixture
def start(server: Server, certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[Start]:
    """Starts HAProxy."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(haproxy.running(server, certificate, tmp_path, **options))


def test_requests_streams_and_rpcs_reach_the_server_with_its_key(start: Start, server: Server) -> None:
    gate = start()
    reply = gate.post({**CALLER, "X-Request-Id": "chosen"})
    assert (reply.status_code, reply.content[:4]) == (200, b"\x89PNG")
    assert reply.headers["strict-transport-security"]
    stream = gate.post({**CALLER, "Accept": "application/x-ndjson"})
    assert b'"result"' in stream.content
    assert decode_response(gate.rpc(METHOD, encode_request("genartisan", FIELDS)))[:4] == b"\x89PNG"  # type: ignore[arg-type]
    assert '"client_request_id": "chosen"' in servers.log(server)
    servers.eventually(lambda: '"id": "chosen", "caller": "ann"' in (gate.folder / "log").read_text(), "it is logged")


def test_only_known_callers_a_fixed_path_and_one_rpc_pass(start: Start, server: Server) -> None:
    gate = start(rates="ann 1000\n")
    for headers in ({}, {"Authorization": "Bearer nobody's"}, servers.key(server)):
        assert gate.post(headers).status_code == 401
    assert gate.rpc(METHOD, b"", caller=None) is grpc.StatusCode.UNAUTHENTICATED
    for path in (
        "/", "/ping", "/models", "/models/genartisan?customized=true", "/workflows", "/predictions/genartisan/1.0",
        "/predictions/other", "/predictions/genartisan%0a", "/predictions/../models", "/metrics", "/api-description",
    ):  # fmt: skip
        assert gate.post(path=path).status_code == 404, path
    assert gate.http.get(PICTURE, headers=CALLER).status_code == 405
    for method in ("Ping", "StreamPredictions", "StreamPredictions2"):
        assert gate.rpc(f"/{PACKAGE}.InferenceAPIsService/{method}", b"") is grpc.StatusCode.UNIMPLEMENTED
    limit = Limits().request_bytes
    assert [raw(gate, PICTURE, caller="nobody", length=bytes_) for bytes_ in (limit, limit + 1)] == [401, 413]


def test_keys_are_rotated_without_a_restart(start: Start) -> None:
    gate = start()
    assert gate.post({"Authorization": "Bearer new"}).status_code == 401
    gate.tell(f"add map {gate.folder}/callers.map {hash_of('new')} ann")
    gate.tell(f"del map {gate.folder}/callers.map {hash_of(KEY)}")
    assert gate.post({"Authorization": "Bearer new"}).status_code == 200
    assert gate.post().status_code == 401


@pytest.mark.parametrize(("limits", "seconds"), [({"rates": "ann 3\n"}, "10"), ({"quotas": "ann 3\n"}, "3600")])
def test_a_caller_has_a_rate_and_a_quota(limits: dict[str, str], seconds: str, start: Start) -> None:
    gate = start(**limits)
    replies = [gate.post(path="/predictions/genartisan-control", json={"status": "x"}).status_code for _ in range(6)]
    assert set(replies) == {404}  # from the server: what asks about requests does not count
    replies = [gate.post() for _ in range(5)]
    assert [reply.status_code for reply in replies] == [200] * 3 + [429] * 2
    assert replies[-1].headers["retry-after"] == seconds
    gate.tell(f"add map {gate.folder}/callers.map {hash_of('other')} bob")
    assert gate.post({"Authorization": "Bearer other"}).status_code == 200  # others are not held back


def test_the_gate_queues_for_the_workers_serves_no_one_who_left_and_refuses_when_full(start: Start) -> None:
    Slow.got, Slow.go = [], threading.Event()
    with answering(Slow) as slow, ThreadPoolExecutor(40) as threads:
        gate = start(http=slow, rates="ann 1000\n")

        def ask(name: str, path: str = PICTURE) -> Any:
            return gate.http.post(path, headers={**CALLER, "X-Request-Id": name}, files=FORM)

        try:
            first = threads.submit(ask, "first")
            servers.eventually(lambda: Slow.got == ["first"], "a worker has the first")
            with sent(gate, PICTURE, name="left"):
                servers.eventually(lambda: gate.queued("pictures") == 1, "one waits")
            servers.eventually(lambda: gate.queued("pictures") == 0, "who left waits no more")
            waiting = [threads.submit(ask, f"waits-{number}") for number in range(QUEUE)]
            servers.eventually(lambda: gate.queued("pictures") == QUEUE, "the queue is full")
            began = time.monotonic()
            refused = [ask("too many") for _ in range(5)]
            assert (time.monotonic() - began) / 5 < 2  # 4 ms on idle cores
            assert {reply.status_code for reply in refused} == {503}
            assert refused[0].headers["retry-after"] == "10"
            assert gate.refusals() == len(refused)
            draft = threads.submit(ask, "draft", DRAFT)
            servers.eventually(lambda: "draft" in Slow.got, "a draft does not wait behind pictures")
            assert Slow.got == ["first", "draft"]
        finally:
            Slow.go.set()
        assert {job.result().status_code for job in (first, draft, *waiting)} == {200}
    assert set(Slow.got) == {"first", "draft", *(f"waits-{number}" for number in range(QUEUE))}


def test_a_caller_who_stops_in_the_middle_of_a_body_holds_nobody_up(start: Start) -> None:
    gate = start(body="2s")
    with sent(gate, PICTURE, length=5000) as stalled:
        assert gate.post().status_code == 200
        assert b" 408 " in stalled.makefile("rb").readline()


def test_a_body_of_unknown_size_is_refused(start: Start) -> None:
    gate = start()
    assert gate.post(content=iter([b"x"])).status_code == 411


def test_callers_do_not_see_each_others_requests(start: Start) -> None:
    gate = start()
    gate.tell(f"add map {gate.folder}/callers.map {hash_of('other')} bob")
    asked = {"path": "/predictions/genartisan-control", "json": {"cancel": "chosen"}}
    assert gate.post(**asked).json()["state"] == "waiting"
    asked["json"] = {"status": "chosen"}
    bob = {"Authorization": "Bearer other", "X-Genartisan-Caller": "ann"}
    assert [gate.post(headers, **asked).status_code for headers in (bob, CALLER)] == [404, 200]


def test_a_draining_node_finishes_what_runs_and_waits_and_what_comes_before_anybody_notices(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slow.got, Slow.go = [], threading.Event()
    with answering(Slow) as slow, ThreadPoolExecutor() as threads:
        gate = start(http=slow)
        try:
            jobs = [threads.submit(gate.post, {**CALLER, "X-Request-Id": str(number)}) for number in range(3)]
            servers.eventually(lambda: gate.queued("pictures") == 2, "one runs, two wait")
            monkeypatch.setattr(haproxy.Healthy, "status", 404)
            draining = re.compile("^pictures,node,.*,NOLB", re.M)
            servers.eventually(lambda: draining.search(gate.tell("show stat")) is not None, "HAProxy knows")
            jobs.append(threads.submit(gate.post))
            servers.eventually(lambda: gate.queued("pictures") == 3, "one more waits")
        finally:
            Slow.go.set()
        assert [job.result().status_code for job in jobs] == [200] * 4


def test_a_new_key_of_the_server_is_taken_up_and_no_request_is_cut_off(start: Start, server: Server) -> None:
    Slow.got, Slow.keys, Slow.go = [], [], threading.Event()
    with answering(Slow) as slow, ThreadPoolExecutor(2) as threads:
        gate = start(http=slow)
        try:
            first = threads.submit(gate.post)
            servers.eventually(lambda: len(Slow.keys) == 1, "a worker has the first")
            (old,) = gate.listening()
            (gate.folder / "key").write_text("new")
            servers.eventually(lambda: old not in gate.listening() != set(), "another HAProxy listens")
            second = threads.submit(gate.post)
            servers.eventually(lambda: len(Slow.keys) == 2, "another has the second")
        finally:
            Slow.go.set()
        assert [job.result().status_code for job in (first, second)] == [200, 200]
    assert Slow.keys == [servers.key(server)["Authorization"], "Bearer new"]
    servers.eventually(lambda: not psutil.pid_exists(old), "the first HAProxy has ended")


def test_the_gate_gets_the_key_for_pictures_and_no_other(server: Server, tmp_path: Path) -> None:
    with subprocess.Popen([ROOT / "docker" / "gate" / "share_key.sh", server.keys, tmp_path / "key"]) as process:
        try:
            servers.eventually((tmp_path / "key").exists, "the key is shared")
        finally:
            haproxy.end(process)
    assert f"Bearer {(tmp_path / 'key').read_text()}" == servers.key(server)["Authorization"]
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def client_of(gate: HAProxy, token: str) -> Client:
    context = ssl.create_default_context(cafile=str(gate.certificate))
    return Client(gate.url, retries=0, token=token, transport=httpx.HTTPTransport(verify=context))


def test_our_client_behind_the_gate(start: Start) -> None:
    gate = start()
    with client_of(gate, KEY) as client:
        assert client.stylize(FIELDS["photo"], "Fire", params=servers.TINY).media_type == "image/png"
        sketch = {"preset": "draft", "size": 64}
        assert client.stylize(FIELDS["photo"], "Fire", params=sketch).media_type == "image/png"
    with client_of(gate, "wrong") as client, pytest.raises(AccessError):
        client.stylize(FIELDS["photo"], "Fire", params=servers.TINY)


@pytest.mark.parametrize("flags", [("--url",), ("--grpc",)])
def test_the_command_line_trusts_the_authorities_that_it_is_given(
    flags: tuple[str], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = start()
    (photo := tmp_path / "photo.png").write_bytes(FIELDS["photo"])
    monkeypatch.setenv("GENARTISAN_TOKEN", KEY)
    line = ["request", str(photo), "Fire", "-o", str(tmp_path / "fire.png"), "--preset", "draft", *flags, gate.url]
    assert main(line) == 2
    assert "SSL_CERT_FILE" in capsys.readouterr().err  # the remedy: nobody vouches for the certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(gate.certificate))
    assert main(line) == 0
    assert (tmp_path / "fire.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setenv("SSL_CERT_FILE", "nowhere.pem")
    capsys.readouterr()
    assert main(line) == 2
    assert "(SSL_CERT_FILE) names 'nowhere.pem': No such file" in capsys.readouterr().err


def test_a_node_that_is_down_is_503_with_retry_after(start: Start) -> None:
    gate = start(http="127.0.0.1:1")
    reply = gate.post()
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert gate.refusals() == 0  # there is room in the queue
    with client_of(gate, KEY) as client, pytest.raises(BusyError):
        client.stylize(FIELDS["photo"], "Fire")
