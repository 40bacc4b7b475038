"""Starting means ready, stopping means gone, and a failure says why and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import servers

from genartisan.cli.main import main
from genartisan.errors import BundleError, ServeError
from genartisan.serving import serve
from genartisan.serving.archive import archive
from genartisan.serving.archive_check import check
from genartisan.serving.defaults import Ports
from genartisan.serving.launch import read_settings, write_config
from genartisan.serving.limits import BESIDE_PHOTO
from genartisan.serving.management import Models


def left_behind(state: Path) -> list[psutil.Process]:
    """All processes of the server of this state folder, by the log folder in their environment."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LOG_LOCATION") == str(state / "logs") and servers.alive(process):
                processes.append(process)
    return processes


def test_archive_is_self_contained_and_rebuilt_only_when_something_changed(tiny_folder: Path, tmp_path: Path) -> None:
    made = archive(tiny_folder, tmp_path)
    with zipfile.ZipFile(made) as file:
        names = set(file.namelist())
        assert json.loads(file.read("MAR-INF/MANIFEST.json"))["model"]["modelVersion"] == "1.0"
    assert {
        "genartisan_handler.py",
        "model-config.yaml",
        "genartisan/method/stylizer.py",
        "genartisan/config.py",
    } <= names
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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "genartisan-1.1.mar", "genartisan-control.mar", "genartisan.mar",
    ]  # fmt: skip
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


def test_missing_files_and_occupied_ports_are_named_before_anything_starts(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    with pytest.raises(ServeError, match="genartisan archive"):
        serve.start(tmp_path, state=state)
    (tmp_path / "genartisan.mar").write_bytes(b"no archive at all")
    with pytest.raises(ServeError, match=r"not an intact archive.*genartisan archive"):
        serve.start(tmp_path, state=state)
    archive(tiny_folder, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = Ports.free()
        busy = serve.Ports(ports.inference, taken.getsockname()[1], *list(vars(ports).values())[2:])
        with pytest.raises(ServeError, match=f"management port {taken.getsockname()[1]} cannot be used"):
            serve.start(tmp_path, ports=busy, state=state)
    with pytest.raises(ServeError, match="5 different ones"):
        serve.start(tmp_path, ports=serve.Ports(8080, 8080), state=state)
    for host in ("203.0.113.1", "no such host", "::1"):
        with pytest.raises(ServeError, match=r"host is .* IPv4 address of this machine"):
            serve.start(tmp_path, ports=Ports.free(), host=host, state=state)
    with pytest.raises(ServeError, match=r"config .* is missing"):
        serve.start(tmp_path, ports=Ports.free(), state=state, config=tmp_path / "none.properties")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServeError, match=r"JAVA_HOME is .* correct or unset it"):
        serve.start(tmp_path, ports=Ports.free(), state=state)
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
        serve.start(tmp_path, ports=Ports.free(), state=tmp_path / "state", timeout=servers.PATIENCE)
    assert left_behind(tmp_path / "state") == []


@pytest.mark.slow
@pytest.mark.server
def test_a_model_that_fails_to_load_is_reported_with_its_error(tiny_folder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "broken.yaml"
    text = (servers.ROOT / "handlers" / "model-config.yaml").read_text()
    settings.write_text(re.sub(r"precision: \w+", "precision: fp3", text))
    archive(tiny_folder, tmp_path / "store", settings=settings)
    with pytest.raises(ServeError, match=r"cannot load the model: .*fp3"):
        serve.start(tmp_path / "store", ports=Ports.free(), state=tmp_path / "state", timeout=servers.PATIENCE)
    assert left_behind(tmp_path / "state") == []
    assert serve.current(tmp_path / "state") is None


@pytest.mark.slow
@pytest.mark.server
def test_a_server_can_listen_on_another_address(tiny_folder: Path, tmp_path: Path) -> None:
    with servers.prepared(tiny_folder, tmp_path) as arguments:
        server = serve.start(**arguments, host="127.0.0.2")
    try:
        assert server.url.startswith("http://127.0.0.2:")
        assert servers.call(server, {"photo": serve.tiny_photo(), "prompt": b"fire", "params": b'{"steps": -1}'}).error
    finally:
        serve.stop(tmp_path / "state")


@pytest.mark.slow
@pytest.mark.server
def test_a_foreground_server_logs_json_and_after_a_crash_or_restart_has_its_versions(
    server: serve.Server, tiny_folder: Path, tmp_path: Path
) -> None:
    first = servers.family(server)
    folder = tmp_path / "a folder with späces, too long for the path of a socket" / ("x" * 60)
    state, out = folder / "state", tmp_path / "out"
    with servers.prepared(tiny_folder, folder) as arguments:
        archive(tiny_folder, folder / "store", "2.0", folder / "model-config.yaml")
        ports, probe = arguments["ports"], Ports.free().inference
        flags = [part for name, port in vars(ports).items() for part in (f"--{name.replace('_', '-')}-port", str(port))]
        files = ["--store", folder / "store", "--state", state, "--config", arguments["config"]]
        command = [sys.executable, "-m", "genartisan", "serve", "--foreground", "--probe-port", str(probe), *flags]
        environment = {**os.environ, "PYTHONPATH": str(servers.ROOT)}

        @contextlib.contextmanager
        def foreground() -> Iterator[subprocess.Popen[str]]:
            with (
                out.open("w") as stdout,
                subprocess.Popen(
                    [*command, *map(str, files)], stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
                ) as process,
            ):
                until_ready(process)
                try:
                    yield process
                finally:
                    process.send_signal(signal.SIGTERM)

        with foreground() as second:
            noted = serve.current(state)
            assert noted is not None
            family = servers.family(noted)
            assert len(family) >= 2
            assert {"-Xmx1g", "-XX:MaxDirectMemorySize=640m"} <= set(family[0].cmdline())
            assert set(family) == set(left_behind(state))
            assert {process.pid for process in family}.isdisjoint(process.pid for process in first)
            assert servers.worker_pid(noted) != servers.worker_pid(server)
            with pytest.raises(ServeError, match="genartisan stop"):
                serve.start(folder / "store", ports=Ports.free(), state=state)
            assert main(["serve", "--foreground", "--store", str(folder / "store"), "--state", str(state)]) == 2
            assert serve.current(state) == noted  # the second attempt did not stop it

            health = httpx.get(f"http://127.0.0.1:{probe}/healthz", trust_env=False)
            assert (health.status_code, health.json()) == (200, {"status": "ready"})
            assert httpx.get(f"http://127.0.0.1:{probe}/", trust_env=False).status_code == 404
            assert main(["status", "--state", str(state)]) == 0
            metrics = httpx.get(f"{noted.metrics}/metrics", trust_env=False).text
            assert re.findall(r"^Requests2XX{.*} (.*)$", metrics, re.M) == ["1.0"]  # the first picture
            assert len((Path(noted.logs) / "access.log").read_text().splitlines()) <= 2  # that, and the metrics

            models = Models(noted, timeout=servers.PATIENCE)
            psutil.Process(servers.worker_pid(noted)).kill()
            models.register("genartisan-2.0.mar")
            until(lambda: "State change WORKER_STOPPED -> WORKER_STARTED" in out.read_text())
            models.set_default("2.0")
            models.remove("1.0")
            psutil.Process(noted.pid).kill()
            said = until_ready(second)
            assert f"ended by itself, with signal SIGKILL; logs: {noted.logs}" in said
            assert not [process for process in family if servers.alive(process)]
            restarted = serve.current(state)
            assert restarted is not None
            assert restored(restarted) == {"2.0": (True, 1)}
            assert "WORKER_STOPPED" in (Path(noted.logs) / "server.log.1").read_text()  # the crashed server's log
            family = servers.family(restarted)
            second.send_signal(signal.SIGTERM)
            rest = second.communicate(timeout=servers.PATIENCE)[1]
        assert second.returncode == 0, rest
        assert [process for process in family if servers.alive(process)] == left_behind(state) == []
        assert not Path(noted.temporary).exists()
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        requests = [line for line in lines if "request_id" in line]  # the first pictures of both
        assert [(line["source"], line["outcome"], line["status"]) for line in requests] == [("worker", "ok", 200)] * 2
        assert {line["source"] for line in lines} == {"server", "worker", "console"}

        with foreground() as third:
            noted = serve.current(state)
            assert noted is not None
            assert restored(noted) == {"2.0": (True, 1)}
            family = servers.family(noted)
            third.send_signal(signal.SIGTERM)
            rest = third.communicate(timeout=servers.PATIENCE)[1]
        assert third.returncode == 0, rest
    assert [process for process in family if servers.alive(process)] == left_behind(state) == []
    assert serve.current(state) is None
    assert serve.stop(state) is False
    assert all(servers.alive(process) for process in first)


def until_ready(process: subprocess.Popen[str]) -> str:
    """What a server in the foreground says until it is ready."""
    said = ""
    for line in process.stderr or ():
        said += line
        if "ready:" in line:
            return said
    raise AssertionError(said)


def restored(server: serve.Server) -> dict[str, tuple[bool, int]]:
    """Version -> whether it is the default, and its number of ready workers."""
    return {version.name: (version.default, version.ready) for version in Models(server).versions()}


def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition that another process fulfils."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_maximum_request_size_follows_the_limits_or_the_configuration(tmp_path: Path) -> None:
    for settings, bytes_ in (({}, 123), ({"max_request_size": "9"}, 9)):
        write_config(settings, tmp_path, tmp_path, "genartisan.mar", 123, serve.Ports(), "127.0.0.1")
        assert f"max_request_size={bytes_}" in (tmp_path / "config.properties").read_text().splitlines()
    shipped = read_settings(None)
    assert "max_request_size" not in shipped


def replace_member(made: Path, name: str, content: bytes | None) -> None:
    """Replaces a file of an archive, or removes it if ``content`` is None."""
    with zipfile.ZipFile(made) as file:
        contents = {each: file.read(each) for each in file.namelist()}
    contents.pop(name, None)
    with zipfile.ZipFile(made, "w") as file:
        for each, data in {**contents, **({} if content is None else {name: content})}.items():
            file.writestr(each, data)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("genartisan/method/stylizer.py", b"import os\n"),
        ("bundle/vgg.safetensors", b"other weights"),
        ("genartisan/method/stylizer.py", None),
        ("sitecustomize.py", b"import os\n"),
        ("MAR-INF/MANIFEST.json", b'{"model": {"modelName": "genartisan", "handler": "genartisan/cli/main.py"}}'),
        ("contents.json", b"{}"),
    ],
)
def test_an_altered_archive_is_refused(name: str, content: bytes | None, tiny_folder: Path, tmp_path: Path) -> None:
    made = archive(tiny_folder, tmp_path)
    assert check(made).version == "1.0"
    replace_member(made, name, content)
    with pytest.raises(ServeError, match=r"not an intact archive.*genartisan archive"):
        serve.start(tmp_path, state=tmp_path / "state", ports=Ports.free())
    archive(tiny_folder, tmp_path)  # rebuilt
    assert check(made).version == "1.0"


def test_only_a_signed_archive_is_served_when_a_signature_is_required(tiny_folder: Path, tmp_path: Path) -> None:
    key, other, short = (tmp_path / name for name in ("key", "other", "short"))
    key.write_text("a" * 64 + "\n")
    other.write_text("b" * 64)
    short.write_text("c")

    def refused(by: Path) -> str:
        with pytest.raises(ServeError) as error:
            serve.start(tmp_path, state=tmp_path / "state", ports=Ports.free(), signature_key=by)
        return error.value.message

    made = archive(tiny_folder, tmp_path)
    assert "has no signature" in refused(key)
    archive(tiny_folder, tmp_path, key_file=key)
    assert check(made, key) == check(made)
    assert "does not match key" in refused(other)
    assert "has 1 bytes; it needs at least 32" in refused(short)
    assert "cannot be read" in refused(tmp_path / "none")
    replace_member(made, "genartisan/method/stylizer.py", b"import os\n")
    assert "does not match key" in refused(key)
    archive(tiny_folder, tmp_path)
    assert "has no signature" in refused(key)  # rebuilding removes the old signature
    (tmp_path / "genartisan.mar.sig").write_text("é")
    assert "has no signature" in refused(key)
    archive(tiny_folder, tmp_path, key_file=key)
    (tmp_path / "genartisan-control.mar.sig").unlink()
    assert re.search(r"genartisan-control\.mar has no signature", refused(key))


def test_the_control_is_checked_like_the_model(tiny_folder: Path, tmp_path: Path) -> None:
    control = archive(tiny_folder, tmp_path).with_name("genartisan-control.mar")
    with zipfile.ZipFile(control) as file:
        names = file.namelist()
    assert {"control_handler.py", "model-config.yaml", "genartisan/serving/jobs.py", "contents.json"} <= set(names)
    assert not [name for name in names if name.startswith("bundle")]
    where: dict[str, Any] = {"state": tmp_path / "state", "ports": Ports.free()}
    for other, message in (
        (lambda: replace_member(control, "control_handler.py", b"import os\n"), "control_handler.py does not match"),
        (lambda: shutil.copyfile(tmp_path / "genartisan.mar", control), r"MANIFEST\.json does not match"),
        (control.unlink, r"there is no genartisan-control\.mar .* build it with"),
    ):
        other()
        with pytest.raises(ServeError, match=message):
            serve.start(tmp_path, **where)
    archive(tiny_folder, tmp_path)
    with pytest.raises(ServeError, match=r"MANIFEST\.json does not match"):
        check(control)  # it is no version of the model
    assert check(control, model="genartisan-control").version == "1.0"


def test_invalid_settings_make_no_archive(tiny_folder: Path, tmp_path: Path) -> None:
    text = (servers.ROOT / "handlers" / "model-config.yaml").read_text()
    settings = tmp_path / "settings.yaml"
    for wrong, named in (("responseTimeout: 60", "responseTimeout is 60"), ("- x", "settings"), ("a: [", "settings")):
        settings.write_text(re.sub("(?s).*", wrong, text, count=1) if wrong[0] in "-a" else
                            re.sub(r"responseTimeout: \d+", wrong, text))  # fmt: skip
        with pytest.raises(ServeError, match=named):
            archive(tiny_folder, tmp_path / "store", settings=settings)
    settings.write_text(re.sub(r"photo_bytes: \d+", "photo_bytes: 3000000", text))
    made = archive(tiny_folder, tmp_path / "store", settings=settings)
    assert check(made).request_bytes == 4_000_000 + BESIDE_PHOTO
