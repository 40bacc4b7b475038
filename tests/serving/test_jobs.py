"""Requests in progress, their flags, and requests about them, without a server."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genartisan.errors import BusyError, CancelledError, InputError, UnknownRequestError
from genartisan.serving import jobs as module
from genartisan.serving.control import MAX_BODY, respond
from genartisan.serving.jobs import Jobs, Progress
from genartisan.serving.request_headers import check_request_id, new_request_id

OWNER, OTHER, ID = "Bearer ours", "Bearer theirs", "some-id"


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.fixture
def other_process() -> Any:
    """A process that lives as long as the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "jobs").iterdir())


def test_progress_is_told_to_the_owner_alone(jobs: Jobs, tmp_path: Path) -> None:
    with jobs.at_work(OWNER, ID) as job:
        progress = jobs.status(OWNER, ID)
        assert (progress.state, progress.step, progress.steps, progress.eta_s) == ("running", None, None, None)
        job.stepped(3, 10, 7.5)
        job.update(force=True)
        progress = jobs.status(OWNER, ID)
        assert (progress.state, progress.step, progress.steps, progress.eta_s) == ("running", 3, 10, 7.5)
        assert progress.seconds is not None
        messages = set()
        for owner, request_id in ((OTHER, ID), (OWNER, "another-id"), (OTHER, "another-id"), ("", ID)):
            with pytest.raises(UnknownRequestError) as caught:
                jobs.status(owner, request_id)
            messages.add(caught.value.message)
        assert len(messages) == 1  # so that ids cannot be searched for
    assert files(tmp_path) == []
    with pytest.raises(UnknownRequestError):
        jobs.status(OWNER, ID)


def test_a_flag_ends_the_owners_request_alone(jobs: Jobs, tmp_path: Path) -> None:
    with jobs.at_work(OWNER, ID) as job:
        job.check()
        unknown = [jobs.cancel(OTHER, ID), jobs.cancel(OTHER, "another-id")]
        assert unknown == [Progress("waiting")] * 2
        job.check()
        job.stepped(1, 10, 7.5)
        assert jobs.cancel(OWNER, ID).state == "cancelling"
        assert jobs.status(OWNER, ID).state == "cancelling"
        with pytest.raises(CancelledError, match="after 1 of 10 steps"):
            job.check()
    assert len(files(tmp_path)) == 2  # the other's flags
    with jobs.at_work(OWNER, ID) as job:  # a later request by that id
        job.check()


def test_a_flag_may_precede_its_request(jobs: Jobs, tmp_path: Path) -> None:
    assert jobs.cancel(OWNER, ID) == Progress("waiting") == jobs.status(OWNER, ID)
    with jobs.at_work(OTHER, ID) as job:
        job.check()
    with jobs.at_work(OWNER, ID) as job, pytest.raises(CancelledError, match="before its first step"):
        job.check()
    assert files(tmp_path) == []


def test_flags_expire_and_are_limited(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FLAGS", 3)
    for number in range(3):
        jobs.cancel(OWNER, str(number))
    jobs.cancel(OWNER, "0")  # again
    with pytest.raises(BusyError, match="3 cancellations wait"):
        jobs.cancel(OWNER, "3")
    with jobs.at_work(OWNER, "3") as job:  # not a waiting one
        assert jobs.cancel(OWNER, "3").state == "cancelling"
        with pytest.raises(CancelledError):
            job.check()
    for flag in (tmp_path / "jobs").iterdir():
        os.utime(flag, (0, time.time() - module.EXPIRY))
    with jobs.at_work(OWNER, "1") as job:
        job.check()
    with pytest.raises(UnknownRequestError):
        jobs.status(OWNER, "0")
    jobs.cancel(OWNER, "4")
    assert len(files(tmp_path)) == 1


def test_two_requests_by_one_id_are_both_cancelled(jobs: Jobs, tmp_path: Path, other_process: Any) -> None:
    with jobs.at_work(OWNER, ID) as job:
        (mine,) = (tmp_path / "jobs").iterdir()
        jobs.cancel(OWNER, ID)
        second = mine.with_suffix(f".{other_process.pid}")
        second.write_bytes(mine.read_bytes())
        with pytest.raises(CancelledError):
            job.check()
    assert sorted(files(tmp_path)) == sorted([second.name, f"{mine.stem}.cancel"])
    assert jobs.status(OWNER, ID).state == "cancelling"


def test_what_a_dead_worker_left_is_removed(jobs: Jobs, tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for again in (lambda: jobs.status(OWNER, ID), lambda: Jobs(tmp_path).status(OWNER, ID)):
        with jobs.at_work(OWNER, ID):
            (mine,) = (tmp_path / "jobs").iterdir()
            content = mine.read_bytes()
        mine.with_suffix(f".{dead.pid}").write_bytes(content)
        with pytest.raises(UnknownRequestError):
            again()
        assert files(tmp_path) == []


def test_the_folder_is_private_and_names_no_id(jobs: Jobs, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "jobs").stat().st_mode) == 0o700
    hostile = "../../etc/passwd"
    with jobs.at_work(OWNER, hostile):
        jobs.cancel(OWNER, hostile)
        assert all(re.fullmatch(rf"[0-9a-f]{{64}}\.({os.getpid()}|cancel)", name) for name in files(tmp_path))
        assert not any(b"passwd" in path.read_bytes() for path in (tmp_path / "jobs").iterdir())


def test_progress_is_written_at_most_a_few_times_a_second(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with jobs.at_work(OWNER, ID) as job:
        for step in range(1, 11):
            clock[0] += 0.1
            job.stepped(step, 10, 0.0)
            shown = jobs.status(OWNER, ID).step or 0
            assert step - 3 < shown <= step


def test_a_full_disk_does_not_end_a_request(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with jobs.at_work(OWNER, ID) as job:
        job.check()
        jobs.cancel(OWNER, ID)
        with pytest.raises(CancelledError):
            job.check()
    assert "No space left" in caplog.text


@pytest.mark.parametrize("value", ["", "two words", "x" * 129, "é", "a\nb", 5, None, b"\xff"])
def test_malformed_ids_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="give 1 to 128 printable ASCII characters") as caught:
        check_request_id(value)
    assert caught.value.field == "x-request-id"


def test_ids_are_drawn_at_random() -> None:
    drawn = {new_request_id() for _ in range(100)}
    assert len(drawn) == 100
    assert all(check_request_id(request_id) == request_id and len(request_id) >= 32 for request_id in drawn)


def test_requests_about_requests(jobs: Jobs) -> None:
    with jobs.at_work(OWNER, ID) as job:
        job.stepped(2, 5, 1.5)
        job.update(force=True)
        for fields in (
            {"body": b'{"status": "some-id"}'},
            {"body": {"status": "some-id"}},
            {"status": bytearray(b"some-id")},
        ):
            answer = json.loads(respond(jobs, OWNER, fields))
            expected = {"id": ID, "state": "running", "step": 2, "steps": 5, "eta_s": 1.5}
            assert answer == {**expected, "seconds": answer["seconds"]}
        assert json.loads(respond(jobs, OWNER, {"body": b'{"cancel": "some-id"}'}))["state"] == "cancelling"
        with pytest.raises(CancelledError):
            job.check()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"body": b""}, "body"),
        ({"body": b"nonsense"}, "body"),
        ({"body": b"[" * 900}, "body"),
        ({"body": b"[]"}, "body"),
        ({"body": b"null"}, "body"),
        ({"body": b"{}"}, "body"),
        ({}, "body"),
        ({"body": b'{"cancel": "a", "status": "a"}'}, "body"),
        ({"body": b'{"cancel": "a", "force": true}'}, "force"),
        ({"body": b'{"cancel": "a", "cancel": "b"}'}, "cancel"),
        ({"body": b'{"cancel": ["a"]}'}, "cancel"),
        ({"body": b'{"status": ""}'}, "status"),
        ({"body": b'{"status": "' + b" " * MAX_BODY + b'"}'}, "body"),
        ({"body": b'{"cancel": "a", "authorization": "Bearer ours"}'}, "authorization"),
        ({"cancel": [b"a", b"b"]}, "cancel"),
        ({"cancel": b"two words"}, "cancel"),
    ],
)
def test_malformed_requests_about_requests_are_refused(fields: dict[str, Any], field: str, jobs: Jobs) -> None:
    with pytest.raises(InputError) as caught:
        respond(jobs, OWNER, fields)
    assert (caught.value.status, caught.value.field) == (400, field)
