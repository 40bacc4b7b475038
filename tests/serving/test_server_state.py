"""The state folder: an untrusted note, logs, versions to restore, and which files and processes are ours."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import servers

from genartisan.cli.main import main
from genartisan.errors import ServeError
from genartisan.serving import describe, management, restore, serve, stuck_workers, versions
from genartisan.serving.access import Access
from genartisan.serving.defaults import Ports
from genartisan.serving.management import Models
from genartisan.serving.processes import MARK, members
from genartisan.serving.server_log import CANNOT_LOAD, failure, relay, rotate
from genartisan.serving.state import KEY_FILE, LOGS, NOTE, RUN, Server, forget, make_run, noted, prepare
from genartisan.serving.versions import Version, Worker

Start = Callable[..., psutil.Process]


@pytest.fixture
def process() -> Iterator[Start]:
    """Starts idle processes, with the mark of a state folder if one is given."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, of: Path | None = None) -> psutil.Process:
        environment = {**os.environ, **({} if of is None else {MARK: str(of)})}
        code = "print(flush=True); import time; time.sleep(600)"
        started.append(
            subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.PIPE)
        )
        assert started[-1].stdout is not None
        started[-1].stdout.readline()
        return psutil.Process(started[-1].pid)

    yield start
    for each in started:
        each.kill()
        each.communicate()


def server_of(state: Path, process: psutil.Process) -> Server:
    """Records a server whose Java is this process."""
    state.mkdir(exist_ok=True)
    server = Server(
        state=state, pid=process.pid, created=process.create_time(), host="127.0.0.1", ports=Ports.free(),
        store=state,
    )  # fmt: skip
    server.note()
    return server


def test_a_false_note_ends_no_process_and_removes_no_folder(tmp_path: Path, process: Start) -> None:
    """Neither a process with that PID and start time, nor one of another server, nor any folder it names."""
    state, precious = tmp_path / "state", tmp_path / "precious"
    precious.mkdir()
    bystander, other = process(f"{state}/run/config.properties"), process(of=tmp_path / "other")
    for victim in (bystander, other):
        server_of(state, victim)
        text = (state / NOTE).read_text()
        for more in ({}, {"temporary": str(precious)}, {"state": str(precious)}, {"logs": str(precious)}):
            (state / NOTE).write_text(json.dumps({**json.loads(text), **more}))
            assert serve.current(state) is None
            assert serve.stop(state) is False
    for lie in ("", "[]", "null", '{"pid": -1}', '{"temporary": "/"}'):
        (state / NOTE).write_text(lie)
        assert serve.stop(state) is False
    assert servers.alive(bystander)
    assert servers.alive(other)
    assert precious.is_dir()


def test_marked_processes_are_ended_and_a_reused_pid_is_not_the_server(tmp_path: Path, process: Start) -> None:
    state = tmp_path / "state"
    java, worker = process(of=state), process(of=state)
    server = server_of(state, java)
    assert serve.current(state) == server
    assert set(members(state)) == {java, worker}
    server.model_copy(update={"created": server.created - 3600}).note()
    assert serve.current(state) is None
    server.note()
    (state / KEY_FILE).write_text("{}")
    assert serve.stop(state, timeout=0.5) is True
    assert not servers.alive(java)
    assert not servers.alive(worker)
    assert not (state / NOTE).exists()
    assert not (state / KEY_FILE).exists()


def test_only_our_folder_is_removed(tmp_path: Path) -> None:
    state, precious = tmp_path / "state", tmp_path / "precious"
    for folder in (state / RUN, precious):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    forget(state)
    assert (state / RUN / "file").exists()  # no mark of ours
    (state / KEY_FILE).touch()
    forget(state)
    assert (state / KEY_FILE).exists()  # no note of ours
    (state / RUN / "file").unlink()
    (state / RUN).rmdir()
    make_run(precious)
    (state / RUN).symlink_to(precious / RUN)
    forget(state)
    assert (precious / RUN).is_dir()  # a link to elsewhere
    (state / RUN).unlink()
    assert make_run(state) == state / RUN
    forget(state)
    assert not (state / RUN).exists()


def test_a_long_path_gets_a_short_link_removed_with_it(tmp_path: Path) -> None:
    state = tmp_path / ("x" * 100)
    state.mkdir()
    short = make_run(state)
    assert len(str(short)) < 90
    assert short.resolve() == (state / RUN).resolve()
    forget(state)
    assert not short.parent.exists()
    assert not (state / RUN).exists()


def test_a_state_folder_is_the_servers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Start) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "thesis.tex").touch()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    for name in ("project", "link"):
        with pytest.raises(ServeError, match=r"contains other files \('thesis\.tex'\)"):
            prepare(tmp_path / name)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ServeError, match="writable by others than you"):
        prepare(tmp_path / "open")
    prepare(tmp_path / "new")
    (tmp_path / "new" / "mine").touch()
    prepare(tmp_path / "new")  # already ours
    server_of(tmp_path / "new", process())
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(ServeError, match="and you are 12345"):
        noted(tmp_path / "new")


def test_the_key_file_is_in_the_state_folder_whatever_its_note_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Start
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GENARTISAN_TOKEN", raising=False)
    monkeypatch.delenv("GENARTISAN_KEY_FILE", raising=False)
    server = server_of(tmp_path / ".serve", process())
    secret = tmp_path / "secret.json"
    secret.write_text('{"inference": {"key": "secret"}}')
    note = tmp_path / ".serve" / NOTE
    assert Access.to(server.url).key() is None
    note.write_text(json.dumps({**json.loads(note.read_text()), "keys": str(secret)}))
    assert Access.to(server.url).key() is None
    server.note()
    Path(server.keys).write_text('{"inference": {"key": "local"}}')
    assert Access.to(server.url).key() == Access.to(server.grpc).key() == "local"
    assert Access.to("http://127.0.0.1:1").key() is None


def test_logs_of_earlier_starts_are_kept(tmp_path: Path) -> None:
    for start in range(8):
        rotate(tmp_path)
        (tmp_path / "worker.log").write_text(f"start {start}")
    logs = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert logs == {"worker.log": "start 7", **{f"worker.log.{n}": f"start {7 - n}" for n in range(1, 6)}}


def test_the_error_of_a_dead_worker_is_read_from_its_traceback_and_only_once_it_is_written(tmp_path: Path) -> None:
    said = [
        ("W-9000", "SomeWarning: Error of a library that goes on"),
        ("W-9001", "Torch worker started."),
        ("W-9000", CANNOT_LOAD),
        ("W-9000", "Traceback (most recent call last):"),
        ("W-9001", "FileError: of another worker"),
        ("W-9000", '  File "bundle.py", line 1, in load'),
        ("W-9000", "zipfile.BadZipFile: File is not a zip file"),
        ("W-9000", "    "),
        ("W-9000", "The above exception was the direct cause of the following exception:"),
        ("W-9000", "Traceback (most recent call last):"),
        ("W-9000", '  File "bundle.py", line 2, in load'),
        ("W-9000", "genartisan.errors.BundleError: clip.pt is damaged;"),
        ("W-9000", "copy it again."),
    ]
    log = tmp_path / "worker.log"
    assert failure(tmp_path, "") == ""
    reasons = []
    for number in range(len(said) + 1):
        log.write_text("".join(f"2026-11-29T23:38:55,985 INFO  {thread} - {line}\n" for thread, line in said[:number]))
        reasons.append(failure(tmp_path, ""))
    cause, error = "zipfile.BadZipFile: File is not a zip file", "genartisan.errors.BundleError: clip.pt is damaged;"
    assert reasons == [""] * 7 + [cause] * 5 + [error] * 2
    assert failure(tmp_path, "TorchServe died") == f"TorchServe died: {error} (logs: {tmp_path})"


@pytest.mark.parametrize(
    ("log", "line", "times", "reason"),
    [
        ("server", "Load model failed: genartisan, error: Worker died.", 3, "ended 3 times .* memory may not suffice"),
        ("server", "Load model failed: genartisan, error: Worker died.", 2, ""),
        ("server", "WorkerInitializationException: Backend worker did not respond in given time", 1, "given time"),
        ("console", "Caused by: java.io.IOException: No space left on device", 1, "No space left on device"),
    ],
)
def test_workers_that_end_without_a_word_and_a_full_disk_are_told_of(
    log: str, line: str, times: int, reason: str, tmp_path: Path
) -> None:
    (tmp_path / f"{log}.log").write_text(f"2026-11-29T23:38:55,985 WARN  W-9000-genartisan_1.0 - {line}\n" * times)
    assert re.search(reason, failure(tmp_path, ""))
    assert bool(failure(tmp_path, "")) == bool(reason)
    assert reason == "" or re.search(reason, failure(tmp_path, "the worker was not ready in time"))


def test_java_output_is_relayed_as_json() -> None:
    class Console(io.StringIO):
        def close(self) -> None:
            """Keeps its text readable."""

    request = '{"request_id": "7", "status": 200}'
    lines = [
        "no JSON\n",
        "[1]\n",
        json.dumps({"source": "worker", "level": "INFO", "message": request}) + "\n",
        json.dumps({"source": "server", "level": "WARN", "message": 'a "word" é '}) + "\n",
    ]
    console, out = Console(), io.StringIO()
    relay(lines, console, out)
    assert console.getvalue() == "no JSON\n[1]\n"
    first, second, third, fourth = map(json.loads, out.getvalue().splitlines())
    assert (first["source"], first["message"], second["message"]) == ("console", "no JSON", "[1]")
    assert third == {"source": "worker", "level": "INFO", "request_id": "7", "status": 200}
    assert fourth == {"source": "server", "level": "WARN", "message": 'a "word" é'}


def test_recorded_versions_are_planned_again(tmp_path: Path) -> None:
    store, lines = tmp_path / "store", list[str]()
    store.mkdir()
    assert restore.plan(tmp_path, store, lines.append) == [restore.ALONE]
    workers = (Worker(1, "READY"), Worker(2, "READY"))
    old = Version("genartisan", "1.0", "genartisan.mar", False, workers[:1], 0)
    new = Version("genartisan", "2.0", "new.mar", True, workers, 0)
    restore.remember(tmp_path, store, [old, new], [])
    with pytest.raises(ServeError, match=r"new\.mar was in service and is not in .*--fresh"):
        restore.plan(tmp_path, store, lines.append)
    for name in ("genartisan.mar", "new.mar"):
        (store / name).touch()
    expected = [restore.Planned("new.mar", 2), restore.Planned("genartisan.mar", 1)]
    assert restore.plan(tmp_path, store, lines.append) == expected
    assert "new.mar (2 workers), genartisan.mar (1 workers)" in lines[-1]
    restore.remember(tmp_path, store, [old, new], [replace(new, model="genartisan-draft")])
    assert restore.plan(tmp_path, store, lines.append) == [replace(expected[0], draft_workers=2), expected[1]]
    assert restore.plan(tmp_path, tmp_path / "other", lines.append) == [restore.ALONE]
    assert str(store) in lines[-1]
    (tmp_path / "models.json").write_text('{"versions": [{"archive": 1}]}')
    with pytest.raises(ServeError, match="cannot be read"):
        restore.plan(tmp_path, store, lines.append)


def test_versions_are_restored_with_their_workers_and_a_failure_names_a_remedy(
    tmp_path: Path, process: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []

    class Models:
        def __init__(self, *_: object, **__: object) -> None: ...

        def register(self, archive: str, workers: int, draft_workers: int) -> None:
            if archive == "bad.mar":
                raise ServeError("it cannot be loaded.", "archive")
            done.append((archive, workers, draft_workers))

        def scale(self, workers: int) -> None:
            done.append(workers)

    monkeypatch.setattr(management, "Models", Models)
    server, planned = (
        server_of(tmp_path / "state", process()),
        [restore.Planned("b.mar", 3, 4), restore.Planned("a.mar", 2, 5)],
    )
    management.restore_versions([restore.ALONE], server, 1, done.append)
    assert done == []  # workers as in its settings
    management.restore_versions(planned, server, 1, done.append)
    assert done == [("a.mar", 2, 5), 3]  # there are no workers for drafts
    with_drafts = server.model_copy(update={"has_drafts": True})
    management.restore_versions(planned, with_drafts, 1, done.append)
    assert done[2:] == [("a.mar", 2, 5), 3, 4]
    with pytest.raises(ServeError, match=r"cannot be loaded\. Or start with .*--fresh"):
        management.restore_versions([*planned, restore.Planned("bad.mar", 1)], server, 1, done.append)


@pytest.mark.parametrize("answers", [[500, 200], [500, 404], [500, 500, 200]])
def test_a_call_that_meets_torchserves_race_is_repeated(
    answers: list[int], tmp_path: Path, process: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers 500 if a worker restarts meanwhile, and may have removed the version by then."""
    calls = list[str]()

    class Management(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            calls.append(self.path)
            self.send_response(answers[len(calls) - 1])
            self.end_headers()
            self.wfile.write(b'{"code": 500, "type": "ConcurrentModificationException"}')

    with HTTPServer(("127.0.0.1", 0), Management) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        server = server_of(tmp_path / "state", process())
        ports = replace(server.ports, management=web.server_port)
        server = server.model_copy(update={"ports": ports})
        described = {"modelUrl": "a.mar", "workers": [{"pid": 1, "status": "LOADING"}]}
        both = [{**described, "modelVersion": version} for version in ("1.0", "2.0")]
        monkeypatch.setattr(versions, "describe", lambda _, version="", model="": both if version else both[1:])
        Models(server, persistent=False).remove("1.0")
        web.shutdown()
    assert calls == ["/models/genartisan/1.0"] * len(answers)


def test_a_description_that_meets_the_race_is_repeated(tmp_path: Path, process: Start) -> None:
    calls = list[bytes]()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        calls.append(request)
        if len(calls) < 3:
            raise RuntimeError("a worker restarts meanwhile")  # the caller gets UNKNOWN, as from TorchServe
        return describe.ManagementResponse(msg='[{"modelVersion": "1.0", "workers": []}]').SerializeToString()

    methods = {"DescribeModel": grpc.unary_unary_rpc_method_handler(answer)}
    with ThreadPoolExecutor(1) as pool:
        rpc = grpc.server(pool)
        rpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(describe.SERVICE, methods),))
        port = rpc.add_insecure_port("127.0.0.1:0")
        rpc.start()
        server = server_of(tmp_path / "state", process())
        server = server.model_copy(update={"ports": replace(server.ports, grpc_management=port)})
        assert [version["modelVersion"] for version in describe.describe(server)] == ["1.0"]
        rpc.stop(None).wait()
    assert len(calls) == 3


def test_a_stuck_worker_is_killed(tmp_path: Path, process: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    server, worker, stranger = server_of(state, process(of=state)), process(of=state), process()
    waiting = 0

    def describe_all(_: object) -> list[dict[str, Any]]:
        workers = [{"pid": each.pid, "status": "READY"} for each in (worker, stranger)]
        return [{"workers": workers, "jobQueueStatus": {"pendingRequests": waiting}}]

    monkeypatch.setattr(stuck_workers, "describe_all", describe_all)
    clock = [0.0]
    monkeypatch.setattr(stuck_workers.time, "monotonic", lambda: clock[0])
    lines: list[str] = []
    checker = stuck_workers.StuckWorkers(server, lines.append, after=30)

    def check_after(seconds: float) -> None:
        clock[0] += seconds
        checker.check()

    check_after(0)
    check_after(100)  # idle, with an empty queue
    waiting = 1
    check_after(20)
    check_after(20)
    assert lines == []
    check_after(20)
    assert str(worker.pid) in lines[0]
    worker.wait(10)
    assert servers.alive(stranger)


def test_the_status_of_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state", str(tmp_path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "status": "stopped", "state": str(tmp_path), "versions": [],
    }  # fmt: skip


def test_a_server_that_does_not_answer_is_not_ready(
    tmp_path: Path, process: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    server = server_of(state, process(of=state))
    assert main(["status", "--state", str(state), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["status"] == "not_ready"
    assert "no server answers" in captured.err
    assert not describe.is_ready(server)
    assert (state / LOGS).exists() is False
