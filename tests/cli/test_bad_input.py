"""Every bad input over command line, HTTP and gRPC: the same error, and the server goes on."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import servers
from bad_inputs import CASES, GOOD, Case
from ray_servers import Door
from servers import call, post, send

from genartisan.cli.main import main
from genartisan.serving.serve import Server

BY_COMMAND_LINE = [case for case in CASES if case.flags is not None]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.server
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_over_http_and_grpc(case: Case, door: Door) -> None:
    pid = servers.worker_pid(door)
    fields = {name: content for name, content in {**GOOD, **case.fields}.items() if content is not None}

    over_http = post(door, fields)
    assert over_http.status == case.status, over_http.content[:300]
    error = over_http.error
    assert error["field"] == case.at[:80]
    assert case.says in error["message"]
    assert case.at.rsplit(".", 1)[0][:80] in error["message"]
    assert len(error["message"]) < 1000

    if isinstance(door, Server):
        over_grpc = call(door, fields)
        assert over_grpc.status == "INVALID_ARGUMENT"
        assert over_grpc.content.decode().splitlines()[0] == error["message"]
        assert over_grpc.error == error

    assert post(door, GOOD).status == 200
    assert servers.worker_pid(door) == pid


@pytest.mark.parametrize("case", BY_COMMAND_LINE, ids=lambda case: case.name)
def test_refused_by_the_command_line(
    case: Case, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo").write_bytes(case.fields.get("photo", GOOD["photo"]) or b"")
    flags = ["-o", str(tmp_path / "out.png"), "--bundle", str(tiny_folder), "--device", "cpu", "--quiet"]
    if "mask" in case.fields:
        (tmp_path / "mask").write_bytes(case.fields["mask"] or b"")
        flags += ["--mask", str(tmp_path / "mask")]
    for name, value in json.loads(GOOD["params"]).items():
        flags += ["--set", f"{name}={value}"]
    prompt = (case.fields.get("prompt", GOOD["prompt"]) or b"").decode()

    assert main(["stylize", str(tmp_path / "photo"), prompt, *flags, *(case.flags or [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("genartisan: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert case.says in error
    assert not (tmp_path / "out.png").exists()


BASE64 = base64.b64encode(GOOD["photo"]).decode()
AS_JSON = {"Content-Type": "application/json"}
BODIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "JSON cut short": ({"content": b'{"photo": "', "headers": AS_JSON}, "body", "not valid JSON"),
    "JSON not UTF-8": ({"content": b'{"\xff": 1}', "headers": AS_JSON}, "body", "UTF-8"),
    "JSON list": ({"json": [1, 2]}, "body", "JSON object"),
    "JSON null": ({"json": None}, "body", "curl -F"),
    "JSON empty": ({"json": {}}, "photo", "missing"),
    "deeply nested": ({"content": b"[" * 100_000, "headers": AS_JSON}, "body", "nested"),
    "photo no base64": ({"json": {"photo": "so/so!", "prompt": "fire"}}, "photo", "base64"),
    "photo a path": ({"json": {"photo": "/etc/passwd", "prompt": "fire"}}, "photo", "photo"),
    "photo a URL": ({"json": {"photo": "https://example.org/a.png", "prompt": "fire"}}, "photo", "base64"),
    "photo a number": ({"json": {"photo": 3, "prompt": "fire"}}, "photo", "base64 text, got a number"),
    "photo null": ({"json": {"photo": None, "prompt": "fire"}}, "photo", "missing"),
    "no prompt": ({"json": {"photo": BASE64}}, "prompt", "missing"),
    "prompt a number": ({"json": {"photo": BASE64, "prompt": 3}}, "prompt", "must be text"),
    "prompt a list": ({"json": {"photo": BASE64, "prompt": ["fire"]}}, "prompt", "must be text"),
    "params text": ({"json": {"photo": BASE64, "prompt": "fire", "params": '{"steps": 1}'}}, "params", "JSON object"),
    "mask a boolean": ({"json": {"photo": BASE64, "prompt": "fire", "mask": True}}, "mask", "got a boolean"),
    "unknown key": ({"json": {"photo": BASE64, "prompt": "fire", "style": "x"}}, "style", "known are photo, prompt"),
    "raw photo": ({"content": GOOD["photo"], "headers": {"Content-Type": "image/png"}}, "body", "type image/png"),
    "raw text": ({"content": b"fire", "headers": {"Content-Type": "text/plain"}}, "body", "multipart/form-data"),
    "no body": ({}, "body", "multipart/form-data"),
    "prompt twice": ({"files": [("photo", b"x"), ("prompt", b"fire"), ("prompt", b"")]}, "prompt", "sent 2 times"),
    "photo twice": ({"files": [("photo", b"x"), ("photo", b"x"), ("prompt", b"fire")]}, "photo", "sent 2 times"),
    "key twice": ({"content": b'{"photo": "AAAA", "photo": "AAAA"}', "headers": AS_JSON}, "photo", "a key twice"),
    "params' key twice": (
        {"files": [("photo", b"x"), ("prompt", b"fire"), ("params", b'{"seed": 1, "seed": 2}')]}, "seed", "a key twice",
    ),
    "gzip": (
        {"content": gzip.compress(b"{}"), "headers": {**AS_JSON, "Content-Encoding": "gzip"}},
        "content-encoding", "gzip",
    ),
    "gzip form": (
        {"content": gzip.compress(b"--x--"),
         "headers": {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}},
        "content-encoding", "gzip",
    ),
}  # fmt: skip


@pytest.mark.server
@pytest.mark.parametrize("name", BODIES)
def test_refused_over_http_only(name: str, door: Door) -> None:
    pid, before = servers.worker_pid(door), len(servers.log(door))
    body, at, says = BODIES[name]
    answer = send(door, **body)
    assert answer.status in (400, 415), answer.content[:300]
    assert answer.error["field"] == at
    assert says in answer.error["message"]
    assert post(door, GOOD).status == 200
    assert servers.worker_pid(door) == pid
    assert "Traceback" not in servers.log(door)[before:]


@pytest.mark.server
@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "nonsense", "image/*;q=0, text/*"])
def test_unsupported_media_types(accept: str, door: Door) -> None:
    over_http = post(door, GOOD, {"Accept": accept})
    assert over_http.status == 400
    if isinstance(door, Server):
        over_grpc = call(door, {**GOOD, "accept": accept.encode()})
        assert (over_grpc.status, over_grpc.error) == ("INVALID_ARGUMENT", over_http.error)
    assert over_http.error["field"] == "accept"
    assert "choose one of image/png, image/jpeg, image/webp, application/json" in over_http.error["message"]
    hint = post(door, {**GOOD, "accept": accept.encode()})
    assert (hint.status, hint.error["field"]) == (400, "accept")
    assert "Accept header" in hint.error["message"]
