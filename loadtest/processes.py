"""A server on this machine: its memory, open files and logs, which must not grow, and its workers, to kill them."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

from genartisan.errors import ServeError
from genartisan.serving.describe import workers
from genartisan.serving.processes import current, is_member
from genartisan.serving.versions import all_versions

WAITING = "waiting"  # in TorchServe's queues
WORKERS, JAVA, DESCRIPTORS, LOGS = "workers' memory", "Java's memory", "descriptors", "log bytes"


def watched(state: Path) -> dict[str, float]:
    """Queue, memory, open descriptors and bytes of logs of a state folder's server; empty without one.

    Memory is what no other process shares: mapped files come and go with the system's cache.
    """
    with suppress(ServeError, OSError, psutil.Error):
        server = current(state)
        if server is None:
            return {}
        java = psutil.Process(server.pid)
        children = [process for process in java.children() if "model_service_worker" in " ".join(process.cmdline())]
        return {
            WAITING: sum(version.waiting for version in all_versions(server)),
            JAVA: own_memory(java),
            WORKERS: sum(map(own_memory, children)),
            DESCRIPTORS: sum(process.num_fds() for process in (java, *children)),
            LOGS: sum(path.stat().st_size for path in Path(server.logs).iterdir()),
        }
    return {}


def kill_worker(state: Path) -> int | None:
    """Kills a worker for pictures of a state folder's server, as a crash would; its PID, None if none is ready."""
    with suppress(ServeError, psutil.Error):
        server = current(state)
        for worker in workers(server) if server else ():
            pid = int(worker["pid"])
            if server and worker["status"] == "READY" and is_member(process := psutil.Process(pid), server.state):
                process.kill()
                return pid
    return None


def service_times(state: Path, since: float) -> list[float]:
    """The seconds that pictures took the workers, without waiting, from the log of a state folder's server.

    Args:
        since: requests that ended earlier do not count, in seconds since 1970.
    """
    times = list[float]()
    with suppress(OSError):
        for line in (state / "logs" / "worker.log").read_text(encoding="utf-8", errors="replace").splitlines():
            stamp, brace, text = line.partition("{")
            with suppress(ValueError, KeyError):
                entry = json.loads(brace + text)
                ended = datetime.fromisoformat(stamp.split(",")[0]).timestamp()
                if entry["kind"] == "prediction" and entry["outcome"] == "ok" and ended >= since:
                    times.append(float(entry["seconds"]["total"]))
    return times


def own_memory(process: psutil.Process) -> int:
    """Resident bytes that are not shared; where the system does not tell them, all resident bytes."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def growth(moments: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """What was watched, before and after: the medians of the second and of the last tenth of a test.

    In the first tenth caches fill.
    """
    series: dict[str, list[float]] = {}
    for moment in moments:
        for name in (WORKERS, JAVA, DESCRIPTORS, LOGS):
            if name in moment:
                series.setdefault(name, []).append(moment[name])
    return {
        name: (_median(values[len(values) // 10 : len(values) // 5]), _median(values[-(len(values) // 10) :]))
        for name, values in series.items()
        if len(values) >= 20
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
