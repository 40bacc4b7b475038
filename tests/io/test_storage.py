"""Files by path and URL: read, listed, and written whole or not at all, on this machine and elsewhere."""

from __future__ import annotations

import importlib.util
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tiny
from fsspec.implementations.memory import MemoryFileSystem

from genartisan.errors import InputError, TooLargeError
from genartisan.io import storage
from genartisan.io.atomic import SUFFIX


class Remote(MemoryFileSystem):
    """A file system that is no object store; it records what is written and moved."""

    protocol = "remote"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    calls: list[tuple[str, ...]] = []
    full = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("remote:/"))

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self.calls.append(("write", path))
        super().pipe_file(path, value[: len(value) // 2] if self.full else value, **options)
        if self.full:
            raise OSError(28, "No space left on device")

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        self.calls.append(("move", path1, path2))
        super().mv(path1, path2, **options)


@pytest.fixture
def remote() -> Iterator[type[Remote]]:
    fsspec.register_implementation("remote", Remote, clobber=True)
    Remote.store, Remote.calls, Remote.full = {}, [], False
    yield Remote
    Remote.clear_instance_cache()


@pytest.fixture(params=["local", "memory", "remote", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty folder, by path or URL."""
    if request.param == "local":
        return str(tmp_path)
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        return "memory://folder"
    request.getfixturevalue("remote" if request.param == "remote" else "bucket")
    return f"{request.param}://pictures/folder"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 server with an empty bucket called pictures."""
    if importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None:
        pytest.skip("s3fs or moto is not installed")
    import httpx
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.post(f"{url}/moto-api/reset", trust_env=False)  # servers in one process share what they hold
    for name, value in {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": host, "no_proxy": host,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("pictures")
    yield
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_what_is_written_is_read_and_listed(folder: str) -> None:
    assert not storage.exists(f"{folder}/a.txt")
    for path in ("b/c.png", "a.txt", ".hidden.png"):
        storage.write(f"{folder}/{path}", path.encode())
    storage.write(f"{folder}/a.txt", b"again")
    assert storage.read(f"{folder}/a.txt", "photo") == b"again"
    assert storage.exists(f"{folder}/b/c.png")
    assert storage.is_folder(folder, "input")
    assert not storage.is_folder(f"{folder}/a.txt", "input")
    assert storage.listed(folder, "input") == ["a.txt", "b/c.png"]
    assert storage.pictures_under(folder, "input") == ["b/c.png"]


def test_what_cannot_be_read_is_an_input_error(folder: str) -> None:
    storage.write(f"{folder}/big", bytes(11))
    with pytest.raises(TooLargeError, match="10 bytes"):
        storage.read(f"{folder}/big", "photo", limit=10)
    with pytest.raises(InputError, match=r"no-such.*No such file") as caught:
        storage.read(f"{folder}/no-such", "mask.sky")
    assert caught.value.field == "mask.sky"
    with pytest.raises(InputError, match="contains no pictures"):
        storage.pictures_under(folder, "input")


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(InputError, match="nowhere"):
        storage.read("nowhere://a", "photo")


def test_elsewhere_a_file_gets_its_name_once_it_is_complete(remote: type[Remote]) -> None:
    storage.write("remote://d/a.png", b"content")
    (write, temporary), (move, source, target) = remote.calls
    assert (write, move, source) == ("write", "move", temporary)
    assert posixpath.basename(temporary).startswith(".")
    assert temporary.endswith(SUFFIX)
    assert target.endswith("d/a.png")
    remote.full = True
    with pytest.raises(InputError, match="No space left"):
        storage.write("remote://d/a.png", b"another content")
    assert storage.read("remote://d/a.png", "photo") == b"content"


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    storage.write(str(path), b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="No space left"):
        storage.write(str(path), b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("path", "expected"), [("a.png", "F/a.png"), ("/a.png", "/a.png"), ("s3://b/a", "s3://b/a")])
def test_paths_start_from_a_folder_unless_they_are_complete(path: str, expected: str) -> None:
    assert storage.located(path, "F") == expected


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).touch()
    with pytest.raises(InputError, match="rename it"):
        storage.pictures_under(str(tmp_path), "input")


def test_a_local_folder_s_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / ".cache"):
        place.mkdir(exist_ok=True)
        tiny.picture().save(place / "a.png")
    assert storage.pictures_under(str(tmp_path), "input") == ["a.png"]
