"""Drafts and explanations have workers of their own, and do not wait behind runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import servers
from servers import TINY, call, send
from test_serving import FIELDS, photo

from genartisan.cli.main import main
from genartisan.client import AsyncClient, Client
from genartisan.errors import InputError
from genartisan.serving import serve
from genartisan.serving.archive import archive
from genartisan.serving.defaults import DRAFT, MODEL
from genartisan.serving.versions import versions_of

pytestmark = [pytest.mark.server, pytest.mark.slow]
RUN = {**TINY, "preset": "fast", "steps": 2000, "coarse_share": 0.0}
SKETCH = {"preset": "draft", "size": 64, "seed": 7}


@pytest.fixture(scope="module")
def arguments(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Those of a server with workers for drafts."""
    with servers.prepared(tiny_folder, tmp_path_factory.mktemp("drafts"), with_drafts=True) as prepared:
        yield prepared


@pytest.fixture(scope="module")
def server(arguments: dict[str, Any]) -> Iterator[serve.Server]:
    running = serve.start(**arguments)
    with servers.stopped_after(running):
        yield running


@pytest.fixture
def connected(server: serve.Server) -> Iterator[Client]:
    with Client(server.url, key_file=server.keys, retries=0, timeout=servers.PATIENCE) as client:
        yield client


def test_drafts_and_explanations_are_answered_during_a_run(server: serve.Server, connected: Client) -> None:
    over_grpc = Client(server.url, grpc=server.grpc, key_file=server.keys, retries=0)

    async def awaited() -> list[bytes]:
        async with AsyncClient(server.url, grpc=server.grpc, key_file=server.keys, retries=0) as client:
            return [(await client.stylize(photo(), "Fire", params=SKETCH)).content]

    with closing(connected.stream(photo(), "Fire", params=RUN)) as run:
        while next(run)["event"] != "progress":
            pass
        drafts = [each.stylize(photo(), "Fire", params=SKETCH).content for each in (connected, over_grpc)]
        drafts += asyncio.run(awaited())
        streamed = list(connected.stream(photo(), "Fire", params=SKETCH))
        assert json.loads(connected.explain(photo(), "Fire").content)["explanation"]
        step = next(run)
        assert step["event"] == "progress"
        assert step["step"] < RUN["steps"]
    assert drafts[0] == drafts[1] == drafts[2]
    assert [event["event"] for event in streamed] == ["accepted", "result"]


def test_status_waits_for_a_draft_and_not_for_a_run(
    server: serve.Server, connected: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["status", "--state", str(server.state), "--draft-within"]
    with closing(connected.stream(photo(), "Fire", params=RUN)) as run:
        while next(run)["event"] != "progress":
            pass
        assert main([*asked, str(servers.PATIENCE)]) == 0
    (worker,) = serve.workers(server, DRAFT)
    drafter = psutil.Process(worker["pid"])
    drafter.suspend()
    try:
        assert main([*asked, "1"]) == 1
        assert "not ready" in capsys.readouterr().out
    finally:
        drafter.resume()
    assert main([*asked, str(servers.PATIENCE)]) == 0


def test_workers_for_drafts_refuse_runs(server: serve.Server, connected: Client) -> None:
    answer = send(server, model=DRAFT, files=FIELDS)
    assert answer.status == 400
    assert answer.error["field"] == "steps"
    assert call(server, FIELDS, DRAFT).error["field"] == "steps"
    assert send(server, model=DRAFT, path="explanations", files=FIELDS).status == 200
    with pytest.raises(InputError, match="size"):  # other bad input is refused as ever
        connected.stylize(photo(), "Fire", params={**SKETCH, "size": 1})


def test_runs_give_way_to_drafts_on_a_cpu(server: serve.Server) -> None:
    niceness = {
        model: [psutil.Process(worker["pid"]).nice() for worker in serve.workers(server, model)]
        for model in (MODEL, DRAFT)
    }
    assert niceness == {MODEL: [10], DRAFT: [0]}


def test_versions_and_workers_of_drafts_follow_and_are_restored(
    server: serve.Server, arguments: dict[str, Any], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last test of this file: it leaves a server of another version."""

    def in_service(model: str) -> dict[str, tuple[bool, int]]:
        return {version.name: (version.default, version.ready) for version in versions_of(running, model)}

    running, state = server, arguments["state"]
    archive(tiny_folder, arguments["store"], "2.0", state.parent / "model-config.yaml")
    where = ["--state", str(state)]
    assert main(["models", "register", "genartisan-2.0.mar", *where]) == 0
    assert main(["models", "scale", "2", "--drafts", *where]) == 0
    assert in_service(DRAFT) == {"1.0": (True, 2), "2.0": (False, 1)}
    assert in_service(MODEL) == {"1.0": (True, 1), "2.0": (False, 1)}
    assert main(["models", "default", "2.0", *where]) == 0
    assert in_service(DRAFT) == {"1.0": (False, 2), "2.0": (True, 1)}
    capsys.readouterr()
    assert main(["status", *where]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("genartisan")]
    assert [row[:2] for row in rows] == [[MODEL, "1.0"], [MODEL, "2.0"], [DRAFT, "1.0"], [DRAFT, "2.0"]]
    serve.stop(state)
    running = serve.start(**arguments)
    assert in_service(DRAFT) == {"1.0": (False, 2), "2.0": (True, 1)}
    assert main(["models", "remove", "1.0", *where]) == 0
    assert in_service(DRAFT) == in_service(MODEL) == {"2.0": (True, 1)}
