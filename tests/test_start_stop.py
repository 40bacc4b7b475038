"""Starting means ready, stopping means gone, and a failure says why and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
import serving

from genartisan import serve
from genartisan.archive import archive
from genartisan.errors import BundleError, ServeError


def left_behind(state: Path) -> list[psutil.Process]:
    """Every process of a server with this state folder: its logs' place is in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LOG_LOCATION") == str(state / "logs") and serving.alive(process):
                found.append(process)
    return found


def test_archive_holds_all_a_worker_needs_and_is_built_only_when_something_changed(
    tiny_folder: Path, tmp_path: Path
) -> None:
    made = archive(tiny_folder, tmp_path)
    with zipfile.ZipFile(made) as file:
        names = set(file.namelist())
        assert json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"] == "1.0"
    assert {"genartisan_handler.py", "model-config.yaml", "genartisan/stylizer.py", "genartisan/config.py"} <= names
    assert {f"bundle/{name}" for name in ("bundle.json", "clip.safetensors", "vgg.safetensors")} <= names
    assert not [name for name in names if "__pycache__" in name or (name[0] == "g" and name.endswith("tensors"))]
    before = made.stat()
    assert archive(tiny_folder, tmp_path).stat().st_mtime_ns == before.st_mtime_ns

    other = archive(tiny_folder, tmp_path, version="1.1")
    with zipfile.ZipFile(other) as file:
        assert json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"] == "1.1"
    other.write_bytes(other.read_bytes()[:-1000])  # as after a full disk
    with zipfile.ZipFile(archive(tiny_folder, tmp_path, version="1.1")) as file:
        assert file.testzip() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genartisan-1.1.mar", "genartisan.mar"]
    assert made.stat().st_mtime_ns == before.st_mtime_ns
    for version in ("", "../2", "2 0", "x" * 41):
        with pytest.raises(ServeError, match="version"):
            archive(tiny_folder, tmp_path, version=version)


def test_archive_refuses_a_bundle_that_is_not_whole(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_folder, folder)
    (folder / "vgg.safetensors").write_bytes(b"other weights")
    with pytest.raises(BundleError, match=r"vgg\.safetensors"):
        archive(folder, tmp_path / "store")
    (folder / "vgg.safetensors").unlink()
    with pytest.raises(BundleError, match=r"vgg\.safetensors"):
        archive(folder, tmp_path / "store")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        archive(tmp_path / "nowhere", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_what_is_missing_or_taken_is_named_before_anything_starts(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    with pytest.raises(ServeError, match="genartisan archive"):
        serve.start(tmp_path, state=state)
    (tmp_path / "genartisan.mar").write_bytes(b"no archive at all")
    with pytest.raises(ServeError, match=r"not a whole archive.*genartisan archive"):
        serve.start(tmp_path, state=state)
    archive(tiny_folder, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = serving.free_ports()
        busy = serve.Ports(ports.inference, taken.getsockname()[1], *list(vars(ports).values())[2:])
        with pytest.raises(ServeError, match=f"management port {taken.getsockname()[1]} cannot be used"):
            serve.start(tmp_path, ports=busy, state=state)
    with pytest.raises(ServeError, match="five different ones"):
        serve.start(tmp_path, ports=serve.Ports(8080, 8080), state=state)
    for host in ("203.0.113.1", "no such host", "::1"):
        with pytest.raises(ServeError, match=r"host is .* IPv4 address of this machine"):
            serve.start(tmp_path, ports=serving.free_ports(), host=host, state=state)
    with pytest.raises(ServeError, match=r"config .* is missing"):
        serve.start(tmp_path, ports=serving.free_ports(), state=state, config=tmp_path / "none.properties")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServeError, match=r"JAVA_HOME is .* correct or unset it"):
        serve.start(tmp_path, ports=serving.free_ports(), state=state)
    assert serve.stop(state) is False


@pytest.mark.server
def test_a_java_that_dies_is_reported(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java home" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'Error: this Java is broken' >&2\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(java.parent.parent))
    archive(tiny_folder, tmp_path)
    with pytest.raises(ServeError, match="this Java is broken"):
        serve.start(tmp_path, ports=serving.free_ports(), state=tmp_path / "state", timeout=60)
    assert left_behind(tmp_path / "state") == []


@pytest.mark.server
def test_a_model_that_cannot_be_loaded_is_reported_in_its_own_words(tiny_folder: Path, tmp_path: Path) -> None:
    made = archive(tiny_folder, tmp_path / "store")
    with zipfile.ZipFile(made) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(made, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content[:-4] if name == "bundle/vgg.safetensors" else content)
    with pytest.raises(ServeError, match=r"BundleError.*vgg\.safetensors"):
        serve.start(tmp_path / "store", ports=serving.free_ports(), state=tmp_path / "state", timeout=120)
    assert left_behind(tmp_path / "state") == []
    assert serve.current(tmp_path / "state") is None


@pytest.mark.server
def test_a_server_at_another_address_is_asked_there(tiny_folder: Path, tmp_path: Path) -> None:
    with serving.prepared(tiny_folder, tmp_path) as arguments:
        server = serve.start(**arguments, host="127.0.0.2")
    try:
        assert server.url.startswith("http://127.0.0.2:")
        assert serving.call(server, {"photo": serve.tiny_photo(), "prompt": b"fire", "params": b'{"steps": -1}'}).error
    finally:
        serve.stop(tmp_path / "state")


@pytest.mark.server
def test_a_second_server_in_the_foreground_leaves_no_process(
    server: serve.Server, tiny_folder: Path, tmp_path: Path
) -> None:
    first = serving.family(server)
    folder = tmp_path / "a folder with späces, too long for the path of a socket" / ("x" * 60)
    with serving.prepared(tiny_folder, folder) as arguments:
        ports = arguments["ports"]
        flags = [part for name, port in vars(ports).items() for part in (f"--{name.replace('_', '-')}-port", str(port))]
        files = ["--store", folder / "store", "--state", folder / "state", "--config", arguments["config"]]
        command = [sys.executable, "-m", "genartisan", "serve", "--foreground", *flags, *map(str, files)]
        environment = {**os.environ, "PYTHONPATH": str(serving.ROOT)}
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        assert second.stdout is not None
        lines = []
        for line in second.stdout:
            lines.append(line)
            if "ready:" in line:
                break
        else:
            pytest.fail("".join(lines))
        noted = serve.current(folder / "state")
        assert noted is not None
        family = serving.family(noted)
        assert len(family) >= 2
        assert set(family) == set(left_behind(folder / "state"))
        assert {process.pid for process in family}.isdisjoint(process.pid for process in first)
        assert serving.worker_pid(noted) != serving.worker_pid(server)
        with pytest.raises(ServeError, match="genartisan stop"):
            serve.start(folder / "store", ports=serving.free_ports(), state=folder / "state")
    finally:
        second.send_signal(signal.SIGTERM)
        rest = second.communicate(timeout=60)[0]
    assert second.returncode == 0, rest
    assert [process for process in family if serving.alive(process)] == left_behind(folder / "state") == []
    assert not Path(noted.temporary).exists()
    assert serve.current(folder / "state") is None
    assert serve.stop(folder / "state") is False
    assert all(serving.alive(process) for process in first)
