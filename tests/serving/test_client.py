"""The clients against servers that are busy, slow, broken or good, without a TorchServe."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tenacity.nap

from genartisan.errors import (
    AccessError,
    BusyError,
    DisconnectedError,
    GenartisanError,
    InputError,
    LateError,
    ServeError,
    TooLargeError,
    WorkerDiedError,
)
from genartisan.serving.client import AsyncClient, Client
from genartisan.serving.replies import Reply, from_rpc

PICTURE = httpx.Response(200, content=b"picture", headers={"content-type": "image/jpeg"})
TOO_OFTEN = httpx.Response(429, html="<html>429 Too Many Requests</html>")  # a proxy's
NO_MODEL = httpx.Response(404, json={"code": 404, "message": "Model not found: genartisan-draft"})
BUSY = httpx.Response(503, json={"message": "no worker is available."})
REFUSED = httpx.Response(400, json={"error": {"code": "bad_input", "message": "steps is 0.", "field": "steps"}})
EVENTS = [{"event": "accepted", "steps": 1}, {"event": "progress", "step": 1}, {"event": "result", "photo": "AA=="}]
STREAM = httpx.Response(200, content="".join(json.dumps(event) + "\n" for event in EVENTS))

Answer = httpx.Response | BaseException
Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, recorded instead of waited for."""
    waited: list[float] = []

    async def asleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(tenacity.nap.time, "sleep", waited.append)
    monkeypatch.setattr(asyncio, "sleep", asleep)
    return waited


class Server:
    """Gives one answer after another, and records the requests, and which are cancelled."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers: Iterator[Answer] = iter(answers)
        self.requests: list[httpx.Request] = []
        self.cancelled: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/predictions/genartisan-control":
            self.cancelled.append(json.loads(request.content)["cancel"])
            return httpx.Response(200, json={"id": self.cancelled[-1], "state": "cancelling"})
        self.requests.append(request)
        answer = next(self.answers)
        if isinstance(answer, BaseException):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def ask(kind: str, server: Server, method: str, key_file: Path | None = None, retries: int = 4, **keywords: Any) -> Any:
    """One call of either client; for a stream, all its events."""
    keywords = {"photo": b"photo", "prompt": "fire", **keywords}
    transport = httpx.MockTransport(server)
    if kind == "sync":
        with Client(timeout=9, key_file=key_file, transport=transport, retries=retries) as client:
            answer = getattr(client, method)(**keywords)
            return list(answer) if method == "stream" else answer

    async def called() -> Any:
        async with AsyncClient(timeout=9, key_file=key_file, transport=transport, retries=retries) as client:
            answer = getattr(client, method)(**keywords)
            return [event async for event in answer] if method == "stream" else await answer

    return asyncio.run(called())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
def test_requests_and_replies(kind: str) -> None:
    server = Server([PICTURE])
    params = {"preset": "fast", "seed": 3}
    reply = ask(kind, server, "stylize", mask=b"mask", params=params, accept="image/jpeg")
    assert reply == Reply(b"picture", "image/jpeg")
    (request,) = server.requests
    assert (request.url.path, request.headers["accept"]) == ("/predictions/genartisan", "image/jpeg")
    for name, content in (("photo", b"photo"), ("prompt", b"fire"), ("mask", b"mask"), ("params", b'"seed": 3')):
        assert f'name="{name}"'.encode() in request.content
        assert content in request.content
    server = Server([PICTURE])
    ask(kind, server, "stylize", mask={"portrait": b"people", "sky": b"above"})
    for name, content in (("mask.portrait", b"people"), ("mask.sky", b"above")):
        assert f'name="{name}"'.encode() in server.requests[0].content
        assert content in server.requests[0].content
    server = Server([PICTURE])
    ask(kind, server, "stylize", prompt=None, style_image=b"wave")
    assert b'name="style_image"' in server.requests[0].content
    assert b"wave" in server.requests[0].content
    assert b'name="prompt"' not in server.requests[0].content
    server = Server([PICTURE])
    ask(kind, server, "explain", style_image={"all": b"wave", "sky": b"clouds"})
    for name, content in (("style_image.all", b"wave"), ("style_image.sky", b"clouds"), ("prompt", b"fire")):
        assert f'name="{name}"'.encode() in server.requests[0].content
        assert content in server.requests[0].content
    server = Server([PICTURE])
    ask(kind, server, "explain")
    assert (server.requests[0].url.path, server.requests[0].headers["accept"]) == (
        "/explanations/genartisan-draft", "application/json",
    )  # fmt: skip


@both
@pytest.mark.parametrize("method", ["stylize", "explain", "stream"])
def test_drafts_go_to_their_own_workers_or_to_the_others_if_there_are_none(
    kind: str, method: str, pauses: list[float]
) -> None:
    kind_of = "explanations" if method == "explain" else "predictions"
    for params, model in (({"preset": "draft"}, "genartisan-draft"), ({"steps": 0}, "genartisan-draft")):
        server = Server([STREAM])
        assert ask(kind, server, method, params=params)
        assert server.requests[0].url.path == f"/{kind_of}/{model}"
    for missing in (NO_MODEL, httpx.Response(404, html="<html>404 Not Found</html>")):
        server = Server([missing, STREAM])
        assert ask(kind, server, method, params={"preset": "draft"}, retries=0)
        assert [request.url.path for request in server.requests] == [
            f"/{kind_of}/genartisan-draft", f"/{kind_of}/genartisan",
        ]  # fmt: skip
    assert set(pauses) == {0.0}
    with pytest.raises(ServeError, match="Model not found"):
        ask(kind, Server([NO_MODEL] * 9), method, params={"preset": "draft"})


def test_a_server_without_workers_for_drafts_is_remembered() -> None:
    server = Server([NO_MODEL, PICTURE, PICTURE])
    with Client(transport=httpx.MockTransport(server)) as client:
        for _ in range(2):
            client.stylize(b"photo", "fire", params={"preset": "draft"})
    assert [request.url.path.rsplit("/")[-1] for request in server.requests] == [
        "genartisan-draft", "genartisan", "genartisan",
    ]  # fmt: skip


@both
def test_a_stream_gives_its_events(kind: str) -> None:
    server = Server([STREAM])
    assert ask(kind, server, "stream", accept="image/webp") == EVENTS
    assert server.requests[0].headers["accept"] == "application/x-ndjson, image/webp;q=0.5"


@both
@pytest.mark.parametrize("method", ["stylize", "explain", "stream"])
def test_a_busy_or_silent_server_is_retried(kind: str, method: str, pauses: list[float]) -> None:
    server = Server([BUSY, httpx.ReadTimeout("slow"), TOO_OFTEN, STREAM])
    assert ask(kind, server, method)
    assert (len(server.requests), len(pauses)) == (4, 3)
    assert all(0 <= pause <= 20 for pause in pauses)
    assert len({request.content.split(b"\r\n", 1)[1].count(b"photo") for request in server.requests}) == 1


@both
@pytest.mark.parametrize("method", ["stylize", "explain", "stream"])
@pytest.mark.parametrize(
    ("lost", "error"),
    [
        (httpx.Response(500, json={"code": 500, "message": "Worker died."}), WorkerDiedError),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), DisconnectedError),
        (httpx.ReadError("Connection reset by peer"), DisconnectedError),
        (httpx.WriteError("Broken pipe"), DisconnectedError),
    ],
)
def test_a_request_lost_with_its_worker_or_connection_is_sent_once_more(
    kind: str, method: str, lost: Answer, error: type[Exception]
) -> None:
    server = Server([lost, STREAM])
    assert ask(kind, server, method)
    server = Server([lost] * 9)
    with pytest.raises(error):
        ask(kind, server, method)
    assert len(server.requests) == 2
    with pytest.raises(error):
        ask(kind, server := Server([lost] * 9), method, retries=0)
    assert len(server.requests) == 1


@both
def test_retry_after_is_honoured(kind: str, pauses: list[float]) -> None:
    def busy(seconds: str) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": seconds})

    soon = email.utils.formatdate(time.time() + 7, usegmt=True)
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert ask(kind, Server([busy("2"), busy(soon), busy(past), PICTURE]), "stylize")
    assert pauses[0] == 2
    assert pauses[1] == pytest.approx(7, abs=2)
    assert pauses[2] == 0
    server = Server([busy("10")])  # beyond the client's timeout
    with pytest.raises(BusyError, match="in 10 s") as caught:
        ask(kind, server, "stylize")
    assert (caught.value.retry_after, len(server.requests)) == (10, 1)
    assert ask(kind, Server([busy("soon"), PICTURE]), "stylize")
    assert 0 <= pauses[3] <= 20


@both
def test_retries_are_limited(kind: str) -> None:
    server = Server([BUSY] * 9)
    with pytest.raises(BusyError, match="busy or not ready: no worker is available"):
        ask(kind, server, "stylize")
    assert len(server.requests) == 5
    with pytest.raises(BusyError, match=r"busy or not ready: Too Many Requests\. Try"):
        ask(kind, Server([TOO_OFTEN] * 9), "stylize")
    with pytest.raises(LateError, match="within 9 s"):
        ask(kind, Server([httpx.ReadTimeout("slow")] * 9), "stream")


@both
@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (REFUSED, InputError, "steps is 0"),
        (httpx.Response(401, html="<html>401 Authorization Required</html>"), AccessError, "without a valid key"),
        (httpx.Response(413), TooLargeError, r"the request has \d{3,} bytes"),
        (httpx.Response(500, text="broken"), ServeError, "answered 500: broken"),
        (httpx.ConnectError("refused"), ServeError, "no server answers"),
    ],
)
def test_other_failures_are_raised_at_once(
    kind: str, answer: Answer, error: type[Exception], words: str, pauses: list[float]
) -> None:
    for method in ("stylize", "stream"):
        server = Server([answer])
        with pytest.raises(error, match=words):
            ask(kind, server, method)
        assert (len(server.requests), pauses) == (1, [])


@both
def test_a_failure_within_a_stream_is_not_retried(kind: str) -> None:
    failing = {"event": "error", "error": {"code": "internal", "message": "The server failed.", "field": None}}
    lines = "".join(json.dumps(event) + "\n" for event in (EVENTS[0], failing))
    server = Server([httpx.Response(200, content=lines)])
    with pytest.raises(Exception, match="The server failed"):
        ask(kind, server, "stream")
    cut = Server([httpx.Response(200, content=json.dumps(EVENTS[0]))])
    with pytest.raises(ServeError, match="without a result"):
        ask(kind, cut, "stream")
    assert len(server.requests) == len(cut.requests) == 1


@both
@pytest.mark.parametrize("method", ["stylize", "stream"])
def test_a_late_attempt_is_cancelled_and_the_next_has_another_id(kind: str, method: str, pauses: list[float]) -> None:
    server = Server([httpx.ReadTimeout("slow"), BUSY, STREAM])
    assert ask(kind, server, method)
    ids = [request.headers["x-request-id"] for request in server.requests]
    assert len(set(ids)) == 3
    assert server.cancelled == ids[:1]
    server = Server([httpx.ReadTimeout("slow"), STREAM])
    assert ask(kind, server, method, request_id="chosen")
    assert [request.headers["x-request-id"] for request in server.requests] == ["chosen"] * 2
    assert server.cancelled == []  # that would cancel the second attempt as well


@both
def test_only_what_is_left_is_cancelled(kind: str, pauses: list[float]) -> None:
    for answers in ([PICTURE], [REFUSED], [httpx.RemoteProtocolError("gone")] * 2, [BUSY] * 9):
        server = Server(answers)
        with contextlib.suppress(GenartisanError):
            ask(kind, server, "stylize")
        assert server.cancelled == []
    for error in (KeyboardInterrupt, SystemExit):
        server = Server([error()])
        with pytest.raises(error):
            ask(kind, server, "stylize")
        assert server.cancelled == [request.headers["x-request-id"] for request in server.requests]
        assert len(server.cancelled) == 1


@pytest.mark.parametrize(("kind", "retrying"), [("sync", "Retrying"), ("async", "AsyncRetrying")])
def test_who_leaves_as_a_stream_opens_cancels_it(kind: str, retrying: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come between the first line of the answer and the first event."""
    original = getattr(tenacity, retrying).__call__

    def interrupted(*arguments: Any) -> Any:
        if kind == "sync":
            original(*arguments)
            raise KeyboardInterrupt

        async def called() -> Any:
            await original(*arguments)
            raise asyncio.CancelledError

        return called()

    monkeypatch.setattr(getattr(tenacity, retrying), "__call__", interrupted)
    server = Server([STREAM])
    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        ask(kind, server, "stream")
    assert server.cancelled == [server.requests[0].headers["x-request-id"]]


def test_a_stream_ends_with_its_last_event_and_is_cancelled_before() -> None:
    for last in ("result", "cancelled"):
        lines = "".join(json.dumps({"event": name}) + "\n" for name in ("accepted", last, "never"))
        server = Server([httpx.Response(200, content=lines)] * 3)
        with Client(transport=httpx.MockTransport(server)) as client:
            assert [event["event"] for event in client.stream(b"photo", "fire")] == ["accepted", last]
            events = client.stream(b"photo", "fire")
            assert [next(events), next(events)] == [{"event": "accepted"}, {"event": last}]
            events.close()
            assert server.cancelled == []
            events = client.stream(b"photo", "fire")
            next(events)
        assert server.cancelled == [server.requests[-1].headers["x-request-id"]]  # by closing the client
        events.close()
        assert len(server.cancelled) == 1


def test_a_cancellation_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/predictions/genartisan-control":
            return httpx.Response(404, json={"code": 404, "message": "Model not found: genartisan-control"})
        return httpx.Response(200, content=json.dumps({"event": "accepted"}) + "\n" * 2)

    with Client(transport=httpx.MockTransport(refuse)) as client:
        events = client.stream(b"photo", "fire", request_id="chosen")
        next(events)
        events.close()
        assert "request chosen could not be cancelled: the server" in caplog.text
        with pytest.raises(ServeError, match="Model not found"):
            client.cancel("chosen")
    html = httpx.MockTransport(lambda request: httpx.Response(200, html="<html>"))
    with Client(transport=html) as client, pytest.raises(ServeError, match="not JSON"):
        client.status("chosen")


@both
def test_input_that_cannot_be_sent_is_refused_before_anything_is_sent(kind: str) -> None:
    for method in ("stylize", "stream", "explain"):
        server = Server([])
        with pytest.raises(InputError, match="prompt is empty"):
            ask(kind, server, method, prompt=" ")
        with pytest.raises(InputError, match="cannot be read"):
            ask(kind, server, method, photo="no/such/file")
        with pytest.raises(InputError, match=r"style_image.sky .* cannot be read") as caught:
            ask(kind, server, method, style_image={"sky": "no/such/file"})
        assert caught.value.field == "style_image.sky"
        for style_image in (None, {"sky": b"of the sky alone"}):
            with pytest.raises(InputError, match="prompt is missing"):
                ask(kind, server, method, prompt=None, style_image=style_image)
        assert not server.requests


@both
@pytest.mark.parametrize("method", ["stylize", "explain", "stream"])
def test_each_attempt_carries_its_own_time(kind: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = iter(("t=1700000000.250", "t=1700000009.500"))
    monkeypatch.setattr("genartisan.serving.calls.request_start", lambda: next(stamps))
    server = Server([BUSY, STREAM])
    ask(kind, server, method)
    assert [request.headers["x-request-start"] for request in server.requests] == [
        "t=1700000000.250",
        "t=1700000009.500",
    ]


def test_an_invalid_url_is_named() -> None:
    for url in ("127.0.0.1:8080", "ftp://127.0.0.1"):
        with pytest.raises(ServeError, match="Write it as in http://"), Client(url, retries=0) as client:
            client.stylize(base64.b64decode("AAAA"), "fire")


def test_a_rotated_key_is_sent_with_the_next_attempt(tmp_path: Path) -> None:
    file = tmp_path / "key_file.json"
    denied = httpx.Response(400, json={"code": 400, "type": "InvalidKeyException", "message": "Token ..."})

    def write(key: str) -> None:
        file.write_text(json.dumps({"inference": {"key": key}}))

    class Rotating(Server):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            write("new")
            return super().__call__(request)

    for kind in ("sync", "async"):
        write("old")
        server = Rotating([denied, PICTURE])
        assert ask(kind, server, "stylize", key_file=file).content == b"picture"
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]
        with pytest.raises(AccessError):
            ask(kind, Server([denied, denied]), "stylize", key_file=file)


def test_a_malformed_key_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("a\nb", "ключ", "two words"):
        monkeypatch.setenv("GENARTISAN_TOKEN", token)
        with pytest.raises(ServeError, match="GENARTISAN_TOKEN"):
            Client()


def test_over_grpc_a_dead_worker_is_distinguished_from_a_request_that_is_too_large() -> None:
    died = from_rpc("RESOURCE_EXHAUSTED", "Worker died.", "127.0.0.1:7070", 9)
    assert (type(died), died.field) == (WorkerDiedError, "grpc")
    assert isinstance(from_rpc("RESOURCE_EXHAUSTED", "message larger than max", "127.0.0.1:7070", 9), TooLargeError)
