"""`batch` on three Ray nodes with networks and disks of their own: one is killed and another is cut off meanwhile.

The folder for the pictures is the one place that all three see, as an object store would be.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tiny
from PIL import Image

from genartisan.io.images import unique_id_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.nodes,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may make network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("nsenter")), reason="ip or nsenter is not installed"),
]
PHOTOS = 200
PATIENCE = 900  # seconds
TRIES = 5  # of a node's start, for which Ray allows 30 s
PORT = 6399
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
FLAGS = ["--prompt", "Fire", "--size", "128", "--steps", "2", "--set", "patches=4", "--threads", "1", "--quiet"]


def sh(command: str) -> str:
    return subprocess.run(["sh", "-ec", command], check=True, capture_output=True, text=True).stdout


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


class Node:
    """A Ray node in a network namespace, with a disk in memory that only it sees."""

    def __init__(self, number: int, name: str, folder: Path) -> None:
        self.name, self.address = f"{name}n{number}", f"10.213.77.{number}"
        self._port, self._disk, self._log = (
            f"{name}p{number}",
            Path("/tmp") / f"{name}ray",
            folder / f"node{number}.log",
        )
        sh(f"""
            ip netns add {self.name}
            ip link add {self._port} type veth peer name eth0 netns {self.name}
            ip link set {self._port} master {name}br up
            ip -n {self.name} link set lo up
            ip -n {self.name} addr add {self.address}/24 dev eth0
            ip -n {self.name} link set eth0 up""")

    def start(self, head: Node | None = None) -> None:
        """Starts Ray, with one core; on a busy machine it may take several tries."""
        place = f"--address={head.address}:{PORT}" if head else f"--head --port={PORT} --include-dashboard=false"
        ray = f"{Path(sys.executable).parent}/ray start {place} --node-ip-address={self.address} --num-cpus=1"
        ray += f" --object-store-memory=100000000 --temp-dir={self._disk} --disable-usage-stats --block"
        self._disk.mkdir(exist_ok=True)
        for _ in range(TRIES):
            with self._log.open("w") as log:
                command = f"mount -t tmpfs none {self._disk}; exec {ray}"
                self.process = subprocess.Popen(
                    ["ip", "netns", "exec", self.name, "sh", "-ec", command], stdout=log, stderr=log, env=ENVIRONMENT
                )
            wait_for(
                lambda: "Ray runtime started" in self.log or self.process.poll() is not None, f"{self.name} starts"
            )
            if self.process.poll() is None:
                return
            self.kill()
        raise AssertionError(self.log)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def pids(self) -> list[int]:
        return [int(pid) for pid in sh(f"ip netns pids {self.name}").split()]

    def works(self) -> bool:
        """Whether a worker of the batch lives here, and is ready."""
        titles = []
        for pid in self.pids():
            with suppress(OSError):
                titles.append(Path(f"/proc/{pid}/cmdline").read_text())
        return any(title.startswith("ray::Map") and "__init__" not in title for title in titles)

    def kill(self) -> None:
        """Power off: every process ends at once."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut_off(self) -> None:
        """Nothing leaves it or reaches it; it goes on."""
        sh(f"ip link set {self._port} down")

    def command(self, *words: str) -> subprocess.Popen[str]:
        """A command that runs on this node."""
        enter = ["nsenter", f"--target={self.process.pid}", "--net", "--mount"]
        return subprocess.Popen(
            [*enter, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
        )


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    name = f"g{os.getpid()}"
    sh(f"ip link add {name}br type bridge && ip link set {name}br up")
    nodes = list[Node]()
    try:
        nodes += [Node(number, name, tmp_path) for number in (1, 2, 3)]
        for node in nodes:
            node.start(None if node is nodes[0] else nodes[0])
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            sh(f"ip netns delete {node.name}")
        sh(f"ip link delete {name}br")
        with suppress(FileNotFoundError):  # no node came so far
            Path(f"/tmp/{name}ray").rmdir()


def test_a_killed_and_a_cut_off_node_leave_a_whole_picture_of_each_photo(nodes: list[Node], tmp_path: Path) -> None:
    head, killed, cut_off = nodes
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(PHOTOS):
        tiny.picture(seed=number).save(photos / f"{number:03}.png")
    program = str(Path(sys.executable).parent / "genartisan")
    batch = [program, "batch", str(photos), "-o", str(out), "--address", f"{head.address}:{PORT}", *FLAGS]

    first = head.command(*batch)
    made = lambda: len(list(out.glob("*.png")))  # noqa: E731
    wait_for(lambda: (made() >= 20 and all(node.works() for node in nodes)) or first.poll() is not None, "all work")
    assert made() < PHOTOS / 2, "no longer in the middle"
    killed.kill()
    cut_off.cut_off()
    began = time.monotonic()
    said, _ = first.communicate(timeout=PATIENCE)
    print(f"{time.monotonic() - began:.0f} s after the faults: {said}")
    assert first.returncode == 0, said
    assert f"{PHOTOS} made" in said or "skipped" in said

    pictures = {path: path.read_bytes() for path in out.glob("*.png")}
    assert {path.name.split(".")[0] for path in pictures} == {f"{number:03}" for number in range(PHOTOS)}
    assert len(pictures) == PHOTOS
    assert all(unique_id_of(content) for content in pictures.values())  # decodes them in full
    assert (out / "failures.jsonl").read_bytes() == b""
    assert {Image.open(path).size for path in pictures} == {(128, 96)}

    times = {path: path.stat().st_mtime_ns for path in pictures}
    again = head.command(*batch)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert f"{PHOTOS} skipped" in said
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.png")} == times
