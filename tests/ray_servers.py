"""handlers/ray_serve_app.py on a Ray of its own, for the tests that hold for it as for TorchServe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import servers
import tiny

from genartisan.serving.defaults import Ports
from genartisan.serving.serve import Server

PATIENT = ("READY_CHECK_TIMEOUT_S", "HEALTH_CHECK_TIMEOUT_S")
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # or Ray leaves a token in the home directory
    **{f"RAY_SERVE_PROXY_{name}": f"{servers.PATIENCE:g}" for name in PATIENT},
}
DRIVER = Path(__file__).with_name("ray_driver.py")


@dataclass(frozen=True)
class RayServer:
    """A running application, with those attributes of `genartisan.serving.serve.Server` that apply.

    Attributes:
        temporary: the folder that workers share.
        pid: of the driver, whose children are all of Ray's processes.
        sessions: Ray's folder.
    """

    url: str
    keys: str
    temporary: str
    pid: int
    sessions: Path
    grpc: None = None  # it speaks HTTP only

    def worker_pid(self) -> int:
        """PID of the only worker for pictures."""
        (worker,) = [process for process in _family(self.pid) if _title(process).endswith(":pictures")]
        return worker.pid

    def log(self) -> str:
        """What workers and application have logged."""
        return "".join(
            path.read_text() for path in sorted(self.sessions.glob("session_latest/logs/**/*")) if _ours(path)
        )


Door = RayServer | Server  # either, for what holds for both


@contextmanager
def running(bundle: Path, folder: Path) -> Iterator[RayServer]:
    """The application with ``bundle`` on a free port; all its files are in ``folder``, but for Ray's."""
    port = Ports.free().inference
    settings = servers.write_settings(folder)
    styles = folder / "styles"
    styles.mkdir()
    tiny.write_style(styles / f"{servers.STYLE}.safetensors")
    arguments = {"bundle": bundle, "settings": settings, "styles": styles, "state": folder / "state"}
    # Short, as Ray's sockets are in it.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as sessions:
        command = [sys.executable, str(DRIVER), sessions, str(port), json.dumps(arguments, default=str)]
        environment = {**os.environ, **ENVIRONMENT}
        with (
            (folder / "driver.log").open("w") as log,
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment) as driver,
        ):

            def is_ready() -> bool:
                assert driver.poll() is None, (folder / "driver.log").read_text()
                return "\nready" in (folder / "driver.log").read_text()

            members: list[psutil.Process] = []
            try:
                servers.eventually(is_ready, "the application runs")
                members = _family(driver.pid)
                keys = str(folder / "state" / "key_file.json")
                yield RayServer(f"http://127.0.0.1:{port}", keys, str(folder / "state"), driver.pid, Path(sessions))
            finally:
                members += _family(driver.pid)
                driver.stdin.close()  # type: ignore[union-attr]
                _, left = psutil.wait_procs([*members, psutil.Process(driver.pid)], timeout=60)
                for process in left:
                    process.kill()


def _family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _title(process: psutil.Process) -> str:
    """A Ray worker's name, such as ``ray::ServeReplica:default:pictures``."""
    return "".join(process.cmdline()[:1]).partition(".")[0]


def _ours(path: Path) -> bool:
    return path.is_file() and (path.name.startswith("worker-") or "serve" in path.parts)
