"""Streams from a real TorchServe: events, pictures and failures."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import servers
from PIL import Image
from ray_servers import Door
from servers import TINY, call, post
from test_serving import FIELDS, photo

from genartisan.cli.main import main
from genartisan.errors import DisconnectedError, InputError
from genartisan.serving import client, serve

pytestmark = pytest.mark.server
STREAM = {"Accept": "application/x-ndjson"}


def with_params(**params: Any) -> dict[str, bytes]:
    return {**FIELDS, "params": json.dumps({**TINY, **params}).encode()}


def events_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_events_come_in_order_and_end_in_the_picture_of_one_reply(door: Door) -> None:
    params = {"steps": 7, "preview_every": 3}
    answer = post(door, with_params(**params), STREAM)
    assert (answer.status, answer.media_type) == (200, "application/x-ndjson")
    accepted, draft, *progress, result = events_of(answer.content)
    assert draft["event"] == "draft"
    assert accepted == {**accepted, "event": "accepted", "seed": 7, "steps": 7, "bundle": "tiny"}
    assert accepted["request_id"]
    assert {event["event"] for event in progress} == {"progress"}
    steps = [event["step"] for event in progress]
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, 7)
    assert {event["step"] for event in progress if "preview" in event} == {3, 6}
    for event in progress:
        assert event["losses"] == {name: event_loss(result, event["step"], name) for name in event["losses"]}
        assert event["eta_s"] >= 0
        assert event["steps"] == 7
    assert progress[-1]["eta_s"] == 0
    previews = [Image.open(io.BytesIO(base64.b64decode(event["preview"]))) for event in progress if "preview" in event]
    assert [(preview.format, preview.size) for preview in previews] == [("JPEG", (64, 50))] * 2
    assert (result["event"], result["media_type"]) == ("result", "image/png")
    assert base64.b64decode(result["photo"]) == post(door, with_params(**params)).content


def test_the_first_picture_is_the_draft(door: Door, tmp_path: Path) -> None:
    """A run that refines a draft begins with what the preset draft gives."""
    params = {**TINY, "steps": 2, "start": "draft", "contrast": 1.0}
    answer = post(door, with_params(**params), STREAM)
    accepted, draft, first, *_ = events_of(answer.content)
    assert [event["event"] for event in (accepted, draft, first)] == ["accepted", "draft", "progress"]
    assert 0 < draft["seconds"] <= first["seconds"]
    once = post(door, with_params(**{**params, "steps": 0}), {"Accept": "image/jpeg"})
    preview, picture = (Image.open(io.BytesIO(data)) for data in (base64.b64decode(draft["preview"]), once.content))
    assert preview.size == picture.size
    difference = [abs(a - b) for a, b in zip(preview.tobytes(), picture.tobytes(), strict=True)]
    assert sum(difference) / len(difference) < 8  # both are JPEGs, of two qualities
    for others in ({"preview_every": 0}, {"start": "random"}, {"steps": 0}):
        events = events_of(post(door, with_params(**{**params, **others}), STREAM).content)
        assert "draft" not in {event["event"] for event in events}
    previews = tmp_path / "previews"
    (tmp_path / "photo.png").write_bytes(photo())
    command = ["request", str(tmp_path / "photo.png"), "fire", "-o", str(tmp_path / "out.png"), "--preset", "fast"]
    flags = [flag for name in ("size", "steps", "patches", "patch_size") for flag in ("--set", f"{name}={TINY[name]}")]
    where = ["--url", door.url, "--key-file", door.keys, "--previews", str(previews), "--quiet"]
    assert main([*command, *flags, *where]) == 0
    steps = range(TINY["steps"] + 1)  # all, of a short run; 0 is the draft
    assert sorted(path.name for path in previews.iterdir()) == [f"step_{step:04}.jpg" for step in steps]


def event_loss(result: dict[str, Any], step: int, name: str) -> float:
    return float(result["report"]["history"][step - 1][name])


def test_the_picture_has_the_type_accepted_beside_the_stream(door: Door) -> None:
    *_, result = events_of(post(door, FIELDS, {"Accept": "application/x-ndjson, image/webp;q=0.5"}).content)
    assert result["media_type"] == "image/webp"
    assert base64.b64decode(result["photo"]) == post(door, FIELDS, {"Accept": "image/webp"}).content


@pytest.mark.slow
def test_events_come_while_work_is_done(door: Door) -> None:
    """Each event has the door's clock; if all came at the end, the client's would disagree."""
    url, fields = f"{door.url}/predictions/genartisan", with_params(steps=300, preview_every=0)
    arrived, reported = [], []
    headers = {**STREAM, **servers.key(door)}
    with httpx.stream("POST", url, files=fields, headers=headers, trust_env=False, timeout=servers.PATIENCE) as answer:
        assert answer.headers["x-accel-buffering"] == "no"
        for line in answer.iter_lines():
            event = json.loads(line)
            assert "preview" not in event
            if event["event"] == "progress":
                arrived.append(time.perf_counter())
                reported.append(event["seconds"])
    assert len(reported) >= 5
    assert arrived[-1] - arrived[0] > 0.7 * (reported[-1] - reported[0])


def test_bad_input_is_refused_with_a_status_before_anything_is_streamed(door: Door) -> None:
    pid = servers.worker_pid(door)
    for fields, field in (
        (with_params(steps=-1), "steps"),
        (with_params(preview_every=-1), "preview_every"),
        (with_params(preview_every="often"), "preview_every"),
        ({**FIELDS, "photo": b"no picture"}, "photo"),
        ({**FIELDS, "mask": photo(10, 10)}, "mask"),
        (with_params(size=32) | {"photo": photo(640, 48)}, "size"),
    ):
        answer = post(door, fields, STREAM)
        assert answer.status in (400, 415), fields
        assert (answer.media_type, answer.error["field"]) == ("application/json", field)
    assert servers.worker_pid(door) == pid


def test_a_failure_after_the_first_event_is_an_event(door: Door) -> None:
    pid = servers.worker_pid(door)
    answer = post(door, with_params(learning_rate=0.1, steps=30, source_text="Watercolor painting"), STREAM)
    accepted, *_, last = events_of(answer.content)
    assert (answer.status, accepted["event"], last["event"]) == (200, "accepted", "error")
    assert (last["error"]["code"], last["error"]["field"]) == ("bad_input", "prompt")
    where = {"url": door.url, "key_file": door.keys}
    with pytest.raises(InputError, match="means the same as source_text"):
        list(client.stream(photo(), "fire", params={**TINY, "source_text": "fire"}, **where))
    assert post(door, FIELDS).status == 200
    assert servers.worker_pid(door) == pid


def test_a_stream_over_grpc_is_refused_with_a_pointer_to_http(server: serve.Server) -> None:
    answer = call(server, {**FIELDS, "accept": b"application/x-ndjson"})
    assert (answer.status, answer.error["field"]) == ("INVALID_ARGUMENT", "accept")
    assert "POST /predictions/genartisan" in answer.error["message"]
    assert call(server, FIELDS).status == "OK"


def test_the_worker_outlives_clients_that_leave_or_never_read(door: Door) -> None:
    pid, address = servers.worker_pid(door), urlsplit(door.url)
    fields, headers = with_params(steps=40, preview_every=1), {**STREAM, **servers.key(door)}
    request = httpx.Request("POST", f"{door.url}/predictions/genartisan", files=fields, headers=headers)
    head = f"POST {request.url.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
    deaf = socket.create_connection((address.hostname, address.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.sendall(head.encode() + b"\r\n" + request.read())
    where = {"url": door.url, "key_file": door.keys}
    with pytest.raises(GeneratorExit):
        _leave_after_the_first(client.stream(photo(), "fire", params={**TINY, "steps": 40}, **where))
    slow = socket.create_connection((address.hostname, address.port))
    slow.sendall(head.encode()[:40])  # and never the rest
    assert post(door, FIELDS).status == 200
    assert servers.worker_pid(door) == pid
    deaf.close()
    slow.close()
    assert post(door, FIELDS).status == 200


def _leave_after_the_first(events: Iterator[dict[str, Any]]) -> None:
    assert next(events)["event"] == "accepted"
    events.close()  # type: ignore[attr-defined]
    raise GeneratorExit


def test_the_command_line_shows_a_bar_and_keeps_the_previews(
    server: serve.Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.png").write_bytes(photo())
    output, previews = tmp_path / "out.png", tmp_path / "previews"
    settings = [flag for name, value in TINY.items() if name != "seed" for flag in ("--set", f"{name}={value}")]
    line = ["request", str(tmp_path / "photo.png"), "Watercolor painting", "-o", str(output), "--seed", "7", *settings]
    line += ["--set", "steps=4", "--url", server.url, "--key-file", server.keys]
    assert main([*line, "--stream", "--previews", str(previews), "--preview-every", "2"]) == 0
    streamed, shown = output.read_bytes(), capfd.readouterr().err
    assert all(words in shown for words in ("4/4", " left", "total="))
    assert sorted(path.name for path in previews.iterdir()) == [f"step_000{step}.jpg" for step in (0, 2, 4)]
    assert main(line) == 0
    assert output.read_bytes() == streamed
    as_json = tmp_path / "out.json"
    assert main([*line[:4], str(as_json), *line[5:], "--stream", "--quiet"]) == 0
    assert base64.b64decode(json.loads(as_json.read_bytes())["photo"]) == streamed
    assert main([*line, "--stream", "--grpc", server.grpc, "--key-file", server.keys]) == 2
    assert "over HTTP only" in capfd.readouterr().err


def test_a_stream_that_breaks_off_is_an_error() -> None:
    """A server closes the connection within its answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                event = json.dumps({"event": "accepted", "steps": 3}).encode() + b"\n"
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # closing with unread data would reset the connection
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DisconnectedError):
            list(client.stream(b"x", "fire", url=f"http://127.0.0.1:{port}"))
        thread.join()
