"""Versions and workers on a real TorchServe, under load."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from servers import TINY, call, post
from test_serving import FIELDS

from genartisan.cli.main import main
from genartisan.errors import ServeError
from genartisan.serving import serve
from genartisan.serving.archive import archive
from genartisan.serving.management import Models

pytestmark = [pytest.mark.server, pytest.mark.slow]
LOAD = {**FIELDS, "params": json.dumps({**TINY, "steps": 12}).encode()}


@pytest.fixture(scope="module")
def managed_server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serve.Server]:
    """A server for tests to modify; its store has a second version of the model, and one that fails to load."""
    folder = tmp_path_factory.mktemp("managed")
    with servers.running(tiny_folder, folder) as server:
        settings = folder / "model-config.yaml"
        archive(tiny_folder, folder / "store", "2.0", settings)
        broken = folder / "broken.yaml"
        broken.write_text(re.sub(r"precision: \w+", "precision: fp3", settings.read_text()))
        archive(tiny_folder, folder / "store", "3.0-broken", broken)
        yield server


@pytest.fixture
def models(managed_server: serve.Server) -> Iterator[Models]:
    """The server's versions: 1.0 with one worker, before and after."""
    models = Models(managed_server, timeout=servers.PATIENCE)
    assert state(models) == {"1.0": (True, 1)}
    yield models
    if state(models) != {"1.0": (True, 1)}:
        if "1.0" not in state(models):
            models.register("genartisan.mar")
        models.scale(1, "1.0")
        models.set_default("1.0")
        for name in set(state(models)) - {"1.0"}:
            models.remove(name)


def state(models: Models) -> dict[str, tuple[bool, int]]:
    """Version -> (default, ready workers)."""
    return {version.name: (version.default, version.ready) for version in models.versions()}


class Load:
    """Context manager: clients that send requests without a pause and count the answers."""

    def __init__(self, server: serve.Server, clients: int = 4) -> None:
        self.server, self.stopped, self.answers = server, threading.Event(), Counter[tuple[Any, bytes]]()
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def _ask(self, number: int) -> None:
        while not self.stopped.is_set():
            try:
                answer = call(self.server, LOAD) if number == 0 else post(self.server, LOAD)
                self.answers[answer.status, answer.content] += 1
            except Exception as error:
                self.answers["none", repr(error).encode()] += 1

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def test_no_request_fails_while_workers_come_and_go_and_a_version_is_rolled_out(models: Models) -> None:
    server = models.server
    expected = post(server, LOAD).content
    with Load(server) as load:
        assert models.scale(2).ready == 2
        assert models.scale(1).ready == 1
        assert models.register("genartisan-2.0.mar").ready == 1
        assert state(models) == {"1.0": (True, 1), "2.0": (False, 1)}
        for version in ("1.0", "2.0"):
            assert servers.send(server, path="predictions", version=version, files=LOAD).content == expected
        models.set_default("2.0")
        models.remove("1.0")
        assert state(models) == {"2.0": (True, 1)}
        before = load.answers.total()
        while load.answers.total() < before + 4:  # the new version alone answers
            threading.Event().wait(0.05)
    assert set(load.answers) == {(200, expected), ("OK", expected)}, {key[0]: key[1][:200] for key in load.answers}
    assert (Path(server.logs).parent.parent / "store" / "genartisan.mar").is_file()


def test_what_cannot_be_registered_leaves_everything_as_it_was(models: Models) -> None:
    for name, field in (("../genartisan-2.0.mar", "archive"), ("genartisan", "archive"), ("none.mar", "archive")):
        with pytest.raises(ServeError) as refused:
            models.register(name)
        assert refused.value.field == field
    with pytest.raises(ServeError):
        models.register("genartisan.mar")  # this version is there already
    with pytest.raises(ServeError, match=r"died while it started; see the logs"):
        models.register("genartisan-3.0-broken.mar")
    assert state(models) == {"1.0": (True, 1)}
    assert post(models.server, FIELDS).status == 200


def test_the_default_version_and_the_last_worker_stay(models: Models) -> None:
    with pytest.raises(ServeError, match="is the default"):
        models.remove("1.0")
    with pytest.raises(ServeError, match="workers is 0"):
        models.scale(0)
    for act in (models.set_default, models.remove):
        with pytest.raises(ServeError, match=r"version '9' is not registered; known: 1\.0"):
            act("9")
    assert state(models) == {"1.0": (True, 1)}


def test_a_hold_for_another_worker_is_released(models: Models) -> None:
    answer = servers.send(models.server, json={"hold": 1})
    assert json.loads(answer.content) == {"event": "released", "worker": 1}
    assert post(models.server, FIELDS).status == 200


def test_the_command_line(models: Models, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--state", str(Path(models.server.logs).parent)]
    assert main(["models", "register", "genartisan-2.0.mar", *where]) == 0
    assert main(["models", "scale", "2", "--version", "2.0", *where]) == 0
    assert main(["models", "scale", "1", "--version", "2.0", *where]) == 0
    assert main(["models", "default", "2.0", *where]) == 0
    capsys.readouterr()
    assert main(["models", "list", *where]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [
        ["genartisan", "1.0", "1/1", "0", "genartisan.mar"],
        ["genartisan", "2.0", "yes", "1/1", "0", "genartisan-2.0.mar"],
    ]
    assert main(["models", "remove", "2.0", *where]) == 2
    assert "is the default" in capsys.readouterr().err
    assert main(["models", "default", "1.0", *where]) == 0
    assert main(["models", "remove", "2.0", "--json", *where]) == 0
    out = capsys.readouterr().out
    (left,) = json.loads(out[out.index("[\n") :])
    assert (left["name"], left["default"], len(left["workers"])) == ("1.0", True, 1)


def test_managing_needs_a_running_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["models", "list"], ["keys", "rotate"]):
        assert main([*command, "--state", str(tmp_path)]) == 2
        assert "genartisan serve" in capsys.readouterr().err


def test_metrics_and_limits_hold_for_each_worker(models: Models) -> None:
    models.scale(2)
    with Load(models.server):
        servers.eventually(lambda: in_flight(models.server) == {"0": 1, "1": 1}, "both workers are at a request")
    servers.eventually(lambda: in_flight(models.server) == {"0": 0, "1": 0}, "neither is")


def in_flight(server: serve.Server) -> dict[str, float]:
    """`servers.in_flight` of the first two workers, without those of earlier tests."""
    return {worker: value for worker, value in servers.in_flight(server).items() if worker in ("0", "1")}
