"""The endpoint on Ray Serve, where it is not TorchServe's: keys, queue, drafts, callers who leave.

What holds for both takes the fixture `door`: test_streaming.py, test_cancel.py, test_serving.py, test_bad_input.py and
test_fuzz.py.
"""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import servers
from ray_servers import RayServer
from servers import TINY, eventually, post, send
from test_cancel import FORM, LONG, SOON, await_steps, freed, is_free
from test_serving import FIELDS, photo

from genartisan.client import Client
from genartisan.errors import AccessError, DeadlineError, TooLargeError
from genartisan.serving.defaults import DRAFT
from genartisan.serving.limits import Limits

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.ray]
QUEUE = 100  # jobQueueSize
PICTURES = "/predictions/genartisan"


@pytest.fixture
def client(ray_server: RayServer) -> Iterator[Client]:
    with Client(ray_server.url, key_file=ray_server.keys, retries=0, timeout=servers.PATIENCE) as client:
        yield client


def test_a_key_is_needed_and_can_be_replaced(ray_server: RayServer) -> None:
    keys = Path(ray_server.keys)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    for header in ({"Authorization": "Bearer no"}, {"Authorization": ""}):
        answer = post(ray_server, FIELDS, header)
        assert (answer.status, json.loads(answer.content)["type"]) == (400, "InvalidKeyException")
    with pytest.raises(AccessError), Client(ray_server.url, token="no", retries=0) as stranger:
        stranger.stylize(photo(), "Fire")
    before = keys.read_text()
    try:
        keys.write_text('{"inference": {"key": "another"}}')
        assert post(ray_server, FIELDS).status == 200
    finally:
        keys.write_text(before)


def test_paths_and_readiness(ray_server: RayServer) -> None:
    ready = httpx.get(f"{ray_server.url}/healthz", trust_env=False)
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    for path in ("", "predictions/other", "predictions/genartisan/1.0", "explanations/genartisan-control", "models"):
        answer = servers.http("POST", f"{ray_server.url}/{path}", headers=servers.key(ray_server))
        assert answer.status_code == 404, path
    assert servers.http("GET", ray_server.url + PICTURES, headers=servers.key(ray_server)).status_code == 405


def test_a_body_is_refused_as_soon_as_it_is_too_large(ray_server: RayServer) -> None:
    """By its length before any of it is read; without a length, at the limit."""
    limit, address = Limits().request_bytes, urlsplit(ray_server.url)
    head = f"POST {PICTURES} HTTP/1.1\r\nHost: x\r\nAuthorization: {servers.key(ray_server)['Authorization']}\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=servers.PATIENCE) as connection:
        connection.sendall(f"{head}Content-Length: {limit + 1}\r\n\r\n".encode())
        assert b" 413 " in connection.makefile("rb").readline()
    with socket.create_connection((address.hostname, address.port), timeout=servers.PATIENCE) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        part = b"%x\r\n%s\r\n" % (1_000_000, bytes(1_000_000))
        for _ in range(limit // 1_000_000 + 1):
            connection.sendall(part)
        assert b" 413 " in connection.makefile("rb").readline()
    with pytest.raises(TooLargeError, match="smaller photo"):
        Client(ray_server.url, key_file=ray_server.keys, retries=0).stylize(bytes(limit + 1), "Fire")


def test_drafts_and_explanations_are_answered_during_a_run(ray_server: RayServer, client: Client) -> None:
    sketch = {"preset": "draft", "size": 64, "seed": 7}
    with freed(ray_server), closing(client.stream(photo(), "Fire", params=LONG)) as run:
        while next(run)["event"] != "progress":
            pass
        assert client.stylize(photo(), "Fire", params=sketch).media_type == "image/png"
        assert json.loads(client.explain(photo(), "Fire").content)["explanation"]
        assert next(run)["event"] == "progress"
    refused = send(ray_server, model=DRAFT, files=FIELDS)
    assert (refused.status, refused.error["field"]) == (400, "steps")


def test_a_full_queue_refuses_at_once_and_the_rest_is_answered(ray_server: RayServer) -> None:
    with ThreadPoolExecutor(QUEUE + 20) as threads:
        first = threads.submit(post, ray_server, FORM, {"X-Request-Id": "holds"})
        await_steps(ray_server, "holds")
        body = {**FIELDS, "params": json.dumps({**TINY, "steps": 1, "mode": "clipstyler"}).encode()}

        def ask() -> httpx.Response:
            return servers.http("POST", ray_server.url + PICTURES, files=body, headers=servers.key(ray_server))

        waiting = [threads.submit(ask) for _ in range(QUEUE + 10)]
        eventually(lambda: sum(job.done() for job in waiting) >= 9, "those beyond the queue are refused")
        assert not first.done()
        servers.control(ray_server, cancel="holds")
        statuses = [job.result().status_code for job in waiting]
        refused = [job.result() for job in waiting if job.result().status_code == 503]
    assert first.result().status == 499
    assert set(statuses) == {200, 503}
    assert 9 <= len(refused) <= 11
    assert {(answer.headers["retry-after"], answer.json()["code"]) for answer in refused} == {("10", 503)}


@pytest.mark.parametrize("accept", ["image/png", "application/x-ndjson"])
def test_a_caller_who_leaves_is_noticed_and_frees_the_worker(accept: str, ray_server: RayServer) -> None:
    """Who says nothing: the connection is closed, in the run and in the queue."""
    address, headers = urlsplit(ray_server.url), servers.key(ray_server)

    def left(name: str) -> socket.socket:
        url = ray_server.url + PICTURES
        request = httpx.Request("POST", url, files=FORM, headers={**headers, "Accept": accept, "X-Request-Id": name})
        head = f"POST {PICTURES} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
        connection = socket.create_connection((address.hostname, address.port))
        connection.sendall(head.encode() + b"\r\n" + request.read())
        return connection

    with freed(ray_server):
        running, waiting = left(f"running-{accept}"), left(f"waiting-{accept}")
        await_steps(ray_server, f"running-{accept}")
        waiting.close()
        running.close()
        began = time.monotonic()
        eventually(lambda: is_free(ray_server), "the run ended", SOON)
    assert time.monotonic() - began < SOON
    assert f'"client_request_id": "waiting-{accept}"' not in servers.log(ray_server)  # no worker got it


def test_deadlines_count_from_when_a_request_was_sent(ray_server: RayServer, client: Client) -> None:
    since = f"t={time.time() - 60:.3f}"
    late = {**FIELDS, "params": json.dumps({**TINY, "timeout_s": 50}).encode()}
    answer = post(ray_server, late, {"X-Request-Start": since})
    assert (answer.status, answer.error["code"], answer.error["field"]) == (504, "deadline", "timeout_s")
    with pytest.raises(DeadlineError, match=r"timeout_s of 1\.5 s ended the run"):
        client.stylize(photo(), "Fire", params={**LONG, "timeout_s": 1.5, "on_timeout": "error"})
