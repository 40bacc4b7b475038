"""Downloads from a misbehaving server: resumed, verified, and never left incomplete."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from disks import full_disk
from file_server import FileServer, Served

from genartisan.errors import ServeError, WeightsError
from genartisan.serving import client
from genartisan.weights.download import Patience, download

CONTENT = random.Random(0).randbytes(700_001)
HASH = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(tries=4, pause=0.0, timeout=20.0)


@pytest.fixture
def web(web: FileServer) -> FileServer:
    web.files["file.pth"] = Served(CONTENT)
    return web


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.pth"


def get(web: FileServer, target: Path, sha256: str = HASH, patience: Patience = QUICK) -> None:
    download(web.url("file.pth"), target, sha256, progress=False, patience=patience)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(web: FileServer, target: Path) -> None:
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["file.pth"]


def test_progress_is_drawn_on_stderr(web: FileServer, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    download(web.url("file.pth"), target, HASH, patience=QUICK)
    out, err = capsys.readouterr()
    assert not out
    assert "file.pth" in err
    assert "684k/684k" in err


def test_cuts_are_mended_and_no_byte_is_sent_twice(web: FileServer, target: Path) -> None:
    web.files["file.pth"].cuts = [100_000, 0, 250_001]
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert web.sent("file.pth") == len(CONTENT)
    assert [request.range for request in web.requests] == [None, *["bytes=100000-"] * 2, "bytes=350001-"]
    assert [request.status for request in web.requests] == [200, 206, 206, 206]
    assert web.requests[-1].if_range == '"one"'


def test_a_later_run_goes_on_where_the_last_gave_up(web: FileServer, target: Path) -> None:
    web.files["file.pth"].cuts = [300_000]
    with pytest.raises(WeightsError, match=r"1 tries.*300000 bytes have arrived and are kept.*--from DIR"):
        get(web, target, patience=replace(QUICK, tries=1))
    assert names(target.parent) == ["file.pth.part", "file.pth.part.tag"]
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert web.sent("file.pth") == len(CONTENT)
    assert names(target.parent) == ["file.pth"]


def test_a_stalled_connection_is_given_up_and_resumed(web: FileServer, target: Path) -> None:
    done = threading.Event()
    web.files["file.pth"] = Served(CONTENT, cuts=[200_000], at_cut=done.wait)
    try:
        get(web, target, patience=replace(QUICK, timeout=1.0))
    finally:
        done.set()
    assert target.read_bytes() == CONTENT
    assert web.sent("file.pth") == len(CONTENT)


def test_a_server_without_ranges_sends_it_all_again(web: FileServer, target: Path) -> None:
    web.files["file.pth"] = Served(CONTENT, ranges=False, cuts=[400_000])
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert [request.sent for request in web.requests] == [400_000, len(CONTENT)]


def test_a_file_that_changed_is_not_joined_with_its_old_beginning(web: FileServer, target: Path) -> None:
    web.files["file.pth"] = Served(CONTENT[::-1], tag='"old"', cuts=[300_000])
    with pytest.raises(WeightsError):
        get(web, target, patience=replace(QUICK, tries=1))
    web.files["file.pth"] = Served(CONTENT)
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert [request.status for request in web.requests] == [200, 200]


@pytest.mark.parametrize("right", [True, False])
def test_without_tags_the_hash_tells_and_it_starts_again_once(web: FileServer, target: Path, right: bool) -> None:
    web.files["file.pth"] = Served(CONTENT[::-1], tag=None, cuts=[300_000])
    with pytest.raises(WeightsError):
        get(web, target, patience=replace(QUICK, tries=1))
    web.files["file.pth"] = Served(CONTENT if right else b"x" * len(CONTENT), tag=None)
    with contextlib.nullcontext() if right else pytest.raises(WeightsError, match="not the official file"):
        get(web, target)
    assert [request.range for request in web.requests] == [None, "bytes=300000-", None]
    assert names(target.parent) == (["file.pth"] if right else [])


def test_a_wrong_hash_is_named_and_nothing_stays(web: FileServer, target: Path) -> None:
    web.files["file.pth"] = Served(CONTENT[:-1])
    got = hashlib.sha256(CONTENT[:-1]).hexdigest()
    with pytest.raises(WeightsError, match=rf"file\.pth .* expected SHA-256 {HASH}, got {got}.*--from DIR"):
        get(web, target)
    assert names(target.parent) == []
    assert len(web.requests) == 1


def test_a_part_that_is_whole_already_needs_no_byte(web: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(CONTENT)
    get(web, target)
    assert target.read_bytes() == CONTENT
    assert web.sent("file.pth") == 0


def test_a_part_that_is_too_long_is_thrown_away(web: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.pth.part").write_bytes(CONTENT + b"more")
    get(web, target)
    assert target.read_bytes() == CONTENT


def test_a_missing_page_is_not_asked_for_again(web: FileServer, target: Path) -> None:
    web.files.clear()
    with pytest.raises(WeightsError, match=rf"{web.url('file.pth')} answered with HTTP status 404.*--from DIR"):
        get(web, target)
    assert len(web.requests) == 1
    assert names(target.parent) == []


def test_a_busy_server_is_asked_again(web: FileServer, target: Path) -> None:
    web.files["file.pth"].statuses = [503, 429, 0]
    get(web, target)
    assert [request.status for request in web.requests] == [503, 429, 200]


def test_an_unreachable_server_is_named(web: FileServer, target: Path) -> None:
    url = web.url("file.pth")
    web.server_close()
    with pytest.raises(WeightsError, match=rf"{url} could not be fetched in 4 tries \(ConnectError.*--from DIR"):
        get(web, target)
    assert names(target.parent) == []


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_no_file_in_place(web: FileServer, target: Path) -> None:
    done = threading.Event()

    def interrupt() -> None:
        part = target.with_name("file.pth.part")
        while not part.exists() or part.stat().st_size < 300_000:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        done.wait()

    web.files["file.pth"] = Served(CONTENT, cuts=[300_000], at_cut=interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            get(web, target)
    finally:
        done.set()
    assert names(target.parent) == ["file.pth.part", "file.pth.part.tag"]
    get(web, target)
    assert target.read_bytes() == CONTENT


# ---- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 512 KiB, where we may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_too_small_is_refused_at_once(web: FileServer, small_disk: Path) -> None:
    with pytest.raises(WeightsError, match=r"disk is full: 700,001 more bytes .* file\.pth .* 5\d\d,\d{3} bytes are f"):
        get(web, small_disk / "file.pth")
    assert names(small_disk) == []


def test_a_disk_that_fills_up_keeps_what_fitted(web: FileServer, small_disk: Path) -> None:
    web.files["file.pth"].tell_length = False  # or it would be refused at once
    with pytest.raises(WeightsError, match=r"disk is full: more space is needed for file\.pth"):
        get(web, small_disk / "file.pth")
    assert not (small_disk / "file.pth").exists()
    kept = (small_disk / "file.pth.part").stat().st_size
    assert 400_000 < kept < 524_288
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    get(web, small_disk / "file.pth")
    assert (small_disk / "file.pth").read_bytes() == CONTENT
    assert web.requests[-1].range == f"bytes={kept}-"


def test_a_write_that_fails_says_what_is_missing(web: FileServer, target: Path) -> None:
    with (
        full_disk(300_000),
        pytest.raises(WeightsError, match=r"disk is full: 400,001 more bytes .* file\.pth .* are free"),
    ):
        get(web, target)
    assert names(target.parent) == ["file.pth.part", "file.pth.part.tag"]


@pytest.mark.parametrize(("location", "followed"), [
    ("http://mirror.example/file.pth", False), ("https://mirror.example/file.pth", True), ("/other/file.pth", True),
])  # fmt: skip
def test_no_redirect_leads_out_of_tls(
    target: Path, monkeypatch: pytest.MonkeyPatch, location: str, followed: bool
) -> None:
    asked = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        if len(asked) == 1:
            return httpx.Response(302, headers={"Location": location})
        return httpx.Response(200, stream=httpx.ByteStream(CONTENT))

    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
    if followed:
        download("https://host.example/file.pth", target, HASH, progress=False, patience=QUICK)
        assert target.read_bytes() == CONTENT
    else:
        with pytest.raises(
            WeightsError, match=r"host\.example redirects .* http://mirror\.example, without TLS.*--from DIR"
        ):
            download("https://host.example/file.pth", target, HASH, progress=False, patience=QUICK)
        assert len(asked) == 1
        assert not target.exists()


@pytest.mark.parametrize(("proxy", "says"), [
    ("socks5://127.0.0.1:9", "pip install 'genartisan[socks]'"),
    ("gopher://user:secret@127.0.0.1:9", "http://HOST:PORT"),
    ("http://[::1", "http://HOST:PORT"),
])  # fmt: skip
def test_a_proxy_that_cannot_be_used_is_told_with_a_remedy(
    web: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, says: str
) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)  # as if it were not installed
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(WeightsError) as caught:
        get(web, target)
    with pytest.raises(ServeError) as caught_by_client:
        client.request(b"", "fire", url="http://elsewhere.example")
    for error in (caught.value, caught_by_client.value):
        assert "ALL_PROXY" in error.message
        assert says in error.message
        assert "secret" not in error.message
