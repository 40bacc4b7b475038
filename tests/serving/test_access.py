"""Keys: every request needs one, wherever it comes from, and they can be replaced."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import servers
from servers import TINY, managed, post
from test_serving import FIELDS, photo

from genartisan.cli.main import main
from genartisan.errors import AccessError, ServeError
from genartisan.serving import client, serve

pytestmark = pytest.mark.server


def test_every_request_needs_its_key(server: serve.Server) -> None:
    inference, management = servers.key(server), servers.key(server, "management")
    for path in ("predictions/genartisan", "explanations/genartisan"):
        for wrong in ({}, {"Authorization": "Bearer wrong"}, management):
            answer = httpx.post(f"{server.url}/{path}", files=FIELDS, headers=wrong, trust_env=False)
            assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")
    requests = [("GET", "models"), ("POST", "models?url=genartisan.mar"), ("DELETE", "models/genartisan")]
    requests += [
        ("PUT", "models/genartisan?min_worker=0"),
        ("POST", "workflows?url=x"),
        ("GET", "token?type=inference"),
    ]
    for method, path in requests:
        for wrong in ({}, inference):
            answer = httpx.request(method, f"{server.management}/{path}", headers=wrong, trust_env=False)
            assert answer.status_code == 400, (method, path)
    assert Path(server.keys).stat().st_mode & 0o077 == 0
    for protocol in ({"url": server.url}, {"grpc": server.grpc}):
        with pytest.raises(AccessError, match="GENARTISAN_KEY_FILE"):
            client.request(photo(), "fire", params=TINY, **protocol)  # type: ignore[arg-type]
        with pytest.raises(AccessError):
            client.request(photo(), "fire", params=TINY, token="wrong", **protocol)  # type: ignore[arg-type]


def test_the_key_comes_from_arguments_environment_or_state_folder(
    server: serve.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(**settings: Any) -> bool:
        replies = [
            client.request(photo(), "fire", params=TINY, **protocol, **settings).content  # type: ignore[arg-type]
            for protocol in ({"url": server.url}, {"grpc": server.grpc})
        ]
        return replies[0] == replies[1]

    token = servers.key(server)["Authorization"].split()[1]
    monkeypatch.chdir(tmp_path)
    assert answers(token=token)
    assert answers(key_file=server.keys)
    with monkeypatch.context() as patch:
        patch.setenv("GENARTISAN_TOKEN", token)
        assert answers()
    with monkeypatch.context() as patch:
        patch.setenv("GENARTISAN_KEY_FILE", server.keys)
        assert answers()
    with pytest.raises(AccessError):
        answers()
    shutil.copytree(Path(server.logs).parent, tmp_path / ".serve", ignore=shutil.ignore_patterns("logs", "run"))
    assert answers()
    with pytest.raises(ServeError, match=r"none\.json.*running server"):
        answers(key_file=tmp_path / "none.json")


def test_key_rotation_voids_old_keys_and_interrupts_no_client(
    server: serve.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    state_folder = str(Path(server.logs).parent)
    old, answered, failures, stopped = servers.key(server), list[bytes](), list[Exception](), threading.Event()

    def ask() -> None:
        with client.Client(server.url, key_file=server.keys) as asker:
            while not stopped.is_set():
                try:
                    answered.append(asker.stylize(photo(), "fire", params=TINY).content)
                except Exception as error:
                    failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            assert main(["keys", "rotate", "--state", state_folder]) == 0
            assert capsys.readouterr().out.strip() == server.keys
            before = len(answered)
            while len(answered) < before + 2 and not failures:
                threading.Event().wait(0.05)
    finally:
        stopped.set()
        asking.join()
    assert failures == []
    assert main(["keys", "show", "--state", state_folder]) == 0
    assert capsys.readouterr().out.strip() == servers.key(server)["Authorization"].removeprefix("Bearer ")
    assert post(server, FIELDS, old).status == 400
    assert post(server, FIELDS).status == 200
    assert managed(server, "GET", "models").status_code == 200
