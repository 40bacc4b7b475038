"""Requests are cancelled on a real TorchServe: by their sender, by id, in the queue, and by clients that leave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from PIL import Image
from ray_servers import Door
from servers import TINY, Answer, call, control, eventually, post
from test_serving import FIELDS, photo

from genartisan.client import AsyncClient, Client
from genartisan.config import MAX_STEPS
from genartisan.errors import CancelledError, InputError, UnknownRequestError
from genartisan.serving import serve
from genartisan.serving.management import Models

pytestmark = pytest.mark.server
LONG = {**TINY, "steps": MAX_STEPS}  # a minute or more
SOON = 30.0  # seconds: many times a step and a small request, far below a LONG run
FORM = {**FIELDS, "params": json.dumps(LONG).encode()}
STREAM = {"Accept": "application/x-ndjson"}


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def is_free(door: Door) -> bool:
    """Whether no worker has a request, by the folder that they share."""
    return not [path for path in (Path(door.temporary) / "jobs").iterdir() if path.suffix != ".cancel"]


@contextlib.contextmanager
def freed(door: Door) -> Iterator[None]:
    """After the block the worker, still the same, answers another request at once."""
    pid = servers.worker_pid(door)
    yield
    began = time.monotonic()
    assert post(door, FIELDS).status == 200
    assert time.monotonic() - began < SOON
    assert servers.worker_pid(door) == pid


def await_steps(door: Door, request_id: str) -> dict[str, Any]:
    """Waits until a request has taken a step; its status."""
    found: dict[str, Any] = {}

    def has_steps() -> bool:
        answer = control(door, status=request_id)
        found.update(json.loads(answer.content))
        return answer.status == 200 and bool(found["step"])

    eventually(has_steps, f"the first step of {request_id}")
    return found


def outcomes(door: Door) -> int:
    """The number of cancelled requests so far."""
    return servers.log(door).count('"outcome": "cancelled"')


def test_a_cancelled_stream_ends_with_the_picture_so_far(door: Door) -> None:
    before = outcomes(door)
    with freed(door):
        url, headers = f"{door.url}/predictions/genartisan", {**STREAM, **servers.key(door)}
        with httpx.stream(
            "POST", url, files=FORM, headers=headers, trust_env=False, timeout=servers.PATIENCE
        ) as answer:
            lines = map(json.loads, answer.iter_lines())
            accepted = next(lines)
            next(event for event in lines if event["event"] == "progress" and event["step"] > 1)
            cancelled = json.loads(control(door, cancel=accepted["request_id"]).content)
            began = time.monotonic()
            *_, last = lines
        assert time.monotonic() - began < SOON
    assert (cancelled["id"], cancelled["state"]) == (accepted["request_id"], "cancelling")
    assert (last["event"], last["media_type"]) == ("cancelled", "image/png")
    assert 1 < last["report"]["steps"] < MAX_STEPS
    assert Image.open(io.BytesIO(base64.b64decode(last["photo"]))).size == (64, 50)
    assert outcomes(door) == before + 1
    assert control(door, status=accepted["request_id"]).status == 404


def test_a_cancelled_reply_is_an_error(door: Door, threads: ThreadPoolExecutor) -> None:
    with freed(door):
        pending = threads.submit(post, door, FORM, {"X-Request-ID": "one-reply"})
        status = await_steps(door, "one-reply")
        assert (status["state"], status["steps"]) == ("running", MAX_STEPS)
        assert status["eta_s"] > 0
        control(door, cancel="one-reply")
        answer = pending.result(SOON)
    assert (answer.status, answer.error["code"], answer.error["field"]) == (499, "cancelled", None)
    assert re.search(r"after \d+ of \d+ steps", answer.error["message"])
    line = next(line for line in servers.log(door).splitlines() if '"client_request_id": "one-reply"' in line)
    assert '"outcome": "cancelled"' in line


def test_an_explanation_and_a_finished_request_leave_nothing(door: Door) -> None:
    assert post(door, FIELDS, {"X-Request-Id": "finished"}).status == 200
    assert servers.send(door, {"X-Request-Id": "explained"}, "explanations", files=FIELDS).status == 200
    assert is_free(door)
    for request_id in ("finished", "explained", "never-came"):
        answer = control(door, status=request_id)
        assert (answer.status, answer.error["code"]) == (404, "unknown_request")


def test_a_request_in_the_queue_is_cancelled_before_any_work(server: serve.Server, threads: ThreadPoolExecutor) -> None:
    models = Models(server)
    with freed(server):
        first = threads.submit(post, server, FORM, {"X-Request-Id": "first"})
        await_steps(server, "first")
        second = threads.submit(post, server, FORM, {"X-Request-Id": "second"})
        eventually(lambda: models.version().waiting == 1, "the second request waits")
        assert control(server, status="second").status == 404
        assert json.loads(control(server, cancel="second").content)["state"] == "waiting"
        assert json.loads(control(server, status="second").content)["state"] == "waiting"
        control(server, cancel="first")
        assert first.result(SOON).status == second.result(SOON).status == 499
    assert "before its first step" in second.result().error["message"]


def test_over_grpc_only_the_owner_cancels(server: serve.Server, threads: ThreadPoolExecutor) -> None:
    def asked(**fields: str) -> Answer:
        return call(server, {name: value.encode() for name, value in fields.items()}, "genartisan-control")

    owner = servers.key(server)["Authorization"]
    with freed(server):
        fields = {**FORM, "x-request-id": b"by-grpc", "authorization": owner.encode()}
        pending: Future[Answer] = threads.submit(call, server, fields)
        await_steps(server, "by-grpc")  # over HTTP, with the same key
        for other in ({}, {"authorization": "Bearer another"}):
            assert (asked(status="by-grpc", **other).status, asked(status="x", **other).status) == ("NOT_FOUND",) * 2
            assert json.loads(asked(cancel="by-grpc", **other).content)["state"] == "waiting"
        assert json.loads(asked(status="by-grpc", authorization=owner).content)["state"] == "running"
        assert json.loads(asked(cancel="by-grpc", authorization=owner).content)["state"] == "cancelling"
        answer = pending.result(SOON)
    assert (answer.status, answer.error["code"]) == ("CANCELLED", "cancelled")
    for action in ("cancel", "status"):
        url = f"{server.url}/predictions/genartisan-control"
        denied = httpx.post(url, json={action: "x"}, headers={"Authorization": "Bearer no"}, trust_env=False)
        assert (denied.status_code, denied.json()["type"]) == (400, "InvalidKeyException")


def test_malformed_requests_are_refused_by_name(server: serve.Server) -> None:
    for body, field in (({}, "body"), ({"cancel": "a", "status": "b"}, "body"), ({"stop": "a"}, "stop")):
        answer = control(server, **body)
        assert (answer.status, answer.error["field"]) == (400, field)
    assert (call(server, {"cancel": b"two words"}, "genartisan-control")).error["field"] == "cancel"
    for request_id in ("two words", "x" * 129):
        answer = post(server, FIELDS, {"X-Request-Id": request_id})
        assert (answer.status, answer.error["field"]) == (400, "x-request-id")
    assert call(server, {**FIELDS, "x-request-id": b"\xff"}).error["field"] == "x-request-id"


def test_the_control_is_no_version_of_the_model(server: serve.Server) -> None:
    assert [version.archive for version in Models(server).versions()] == ["genartisan.mar"]
    described = servers.managed(server, "GET", "models/genartisan-control?customized=true").json()[0]
    assert described["customizedMetadata"] == {"version": "0.1.0"}


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_clients_cancel_by_id(protocol: str, server: serve.Server, threads: ThreadPoolExecutor) -> None:
    where: dict[str, Any] = {"key_file": server.keys, "grpc": server.grpc if protocol == "grpc" else None}
    with Client(server.url, **where) as client, freed(server):
        request_id = f"of-a-client-{protocol}"
        pending = threads.submit(client.stylize, photo(), "fire", params=LONG, request_id=request_id)
        await_steps(server, request_id)
        assert client.status(request_id)["state"] == "running"
        assert client.cancel(request_id)["state"] == "cancelling"
        with pytest.raises(CancelledError, match="The request was cancelled after"):
            pending.result(SOON)
        with pytest.raises(UnknownRequestError):
            client.status(request_id)
        with pytest.raises(InputError, match="printable ASCII"):
            client.cancel("two words")
        with pytest.raises(InputError, match="printable ASCII"):
            client.stylize(photo(), "fire", request_id="")


def test_clients_that_leave_cancel(door: Door) -> None:
    where = {"key_file": door.keys, "timeout": 100}
    with freed(door):
        client = Client(door.url, **where)
        for event in client.stream(photo(), "fire", params=LONG):
            if event["event"] == "progress":
                break
        eventually(lambda: is_free(door), "the stream that was left ended", SOON)
        events = client.stream(photo(), "fire", params=LONG)
        assert next(events)["event"] == "accepted"
        client.close()
        eventually(lambda: is_free(door), "the stream of a closed client ended", SOON)
        assert list(Client(door.url, **where).stream(photo(), "fire", params=TINY))[-1]["event"] == "result"

    async def leave() -> None:
        async with AsyncClient(door.url, **where) as client:
            task = asyncio.create_task(client.stylize(photo(), "fire", params=LONG, request_id="task"))
            await asyncio.to_thread(await_steps, door, "task")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(eventually, lambda: is_free(door), "the cancelled task's request ended", SOON)
            events = client.stream(photo(), "fire", params=LONG)
            assert (await anext(events))["event"] == "accepted"
            await events.aclose()
            await asyncio.to_thread(eventually, lambda: is_free(door), "the closed stream ended", SOON)

    with freed(door):
        asyncio.run(leave())


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("flags", [[], ["--stream"], ["--grpc"]])
def test_ctrl_c_cancels(flags: list[str], server: serve.Server, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo())
    settings = [part for name, value in LONG.items() if name != "seed" for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "genartisan", "request", "photo.png", "fire", "-o", "out.png", *settings]
    command += ["--url", server.url, "--key-file", server.keys, *flags, *([server.grpc] if "--grpc" in flags else [])]
    with freed(server):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ""})
        eventually(lambda: not is_free(server), "the request came in")
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=servers.PATIENCE)[1].decode()
        eventually(lambda: is_free(server), "the request ended", SOON)
    assert process.returncode == 130, shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out.png").exists()


@pytest.mark.slow
def test_the_command_line_says_that_another_cancelled(
    server: serve.Server, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    (tmp_path / "photo.png").write_bytes(photo())
    settings = [part for name, value in LONG.items() if name != "seed" for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "genartisan", "request", "photo.png", "fire", "-o", "out.png", *settings]
    command += ["--url", server.url, "--key-file", server.keys, "--stream"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ""})
    eventually(lambda: not is_free(server), "the request came in")
    (job,) = [path for path in (Path(server.temporary) / "jobs").iterdir() if path.suffix != ".cancel"]
    job.with_suffix(".cancel").touch()
    shown = process.communicate(timeout=servers.PATIENCE)[1].decode()
    assert (process.returncode, (tmp_path / "out.png").exists()) == (2, False)
    assert re.search(r"genartisan: [Tt]he request was cancelled", shown)
