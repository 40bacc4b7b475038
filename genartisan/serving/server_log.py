"""A server's logs: rotation at each start, relay as JSON in the foreground, the reason of a failure."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

NAMES = ("server", "worker", "access", "unreadable", "console")  # console: Java's own output
BACKUPS = 5  # logs of earlier starts
MESSAGE = re.compile(  # handlers/log4j2.xml
    r"^\S+ (?:FATAL|ERROR|WARN|INFO|DEBUG)\s+(?P<thread>\S+) - (?P<message>.*)$"
)
CANNOT_LOAD = "the worker cannot load"  # our words, above a traceback
DIED = "Backend worker process died."  # TorchServe's, above the same one, which it may lose
GONE = re.compile(r"Load model failed: .*Worker died|WorkerInitializationException: Backend stream closed")
REPEATED = 3  # so many ends without an error, as when the kernel kills workers, are no accident
TRACEBACK = "Traceback (most recent call last):"
FATAL = re.compile(
    "Failed to load model|Failed to bind|already in use|Invalid configuration|java not found|Error:|"
    "did not respond in given time"  # within startupTimeout
)
FULL = re.compile("No space left on device")


def rotate(logs: Path) -> None:
    """Renames the logs of the last start to ``worker.log.1`` and so on, so that those of a crash remain."""
    for name in NAMES:
        if (logs / f"{name}.log").exists():
            handler = RotatingFileHandler(logs / f"{name}.log", backupCount=BACKUPS, delay=True)
            handler.doRollover()
            handler.close()


def relay(lines: Iterable[str], console: TextIO, out: TextIO) -> None:
    """Relays Java's output as JSON lines.

    A message that is a JSON object, such as a request's, is merged into its line. Lines that are not JSON go to
    ``console`` as well, which is closed at the end.
    """
    with console:
        for line in lines:
            _relay_line(line, console, out)


def _relay_line(line: str, console: TextIO, out: TextIO) -> None:
    record = _as_object(line)
    if record is None:
        with contextlib.suppress(OSError):  # a full disk here, or a closed pipe below, must not block Java
            console.write(line)
            console.flush()
        now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
        record = {"source": "console", "time": now, "level": "INFO", "message": line}
    message = str(record.pop("message", "")).rstrip()
    record |= _as_object(message) or {"message": message}
    with contextlib.suppress(OSError):
        print(json.dumps(record), file=out, flush=True)


def failure(logs: Path, summary: str) -> str:
    """Why a server failed, according to its logs: the worker's error, else the server's.

    ``summary`` opens the message; without one the result is empty if the logs show no error. While they are still
    being written, an error may be the cause of the one that follows.
    """
    server, console = _messages(logs / "server.log"), _messages(logs / "console.log")
    reason = (
        _worker_error(_lines(logs / "worker.log")) or _first(FULL, console) or _first(FATAL, server) or _killed(server)
    )
    if not summary:
        return reason
    reason = reason or _first(FATAL, console) or " ".join(console[-2:])
    return f"{summary}: {reason or 'no error in its logs'} (logs: {logs})"


def _as_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _worker_error(lines: list[str]) -> str:
    """The last error whose traceback is written as far as its error, of the first worker that died."""
    named = [match.groups() for match in map(MESSAGE.match, lines) if match]
    died = next((at for at, (_, message) in enumerate(named) if message in (CANNOT_LOAD, DIED)), len(named))
    tracebacks, error = iter(message for thread, message in named[died:] if thread == named[died][0]), ""
    for message in tracebacks:
        if message == TRACEBACK:
            error = next((line for line in tracebacks if not line.startswith(" ")), error)
    return error


def _killed(lines: list[str]) -> str:
    """That workers end again and again; empty if they do not."""
    times = sum(map(bool, map(GONE.search, lines)))
    return "" if times < REPEATED else f"workers ended {times} times without an error; memory may not suffice"


def _first(pattern: re.Pattern[str], lines: list[str]) -> str:
    return next((line for line in lines if pattern.search(line)), "")


def _messages(path: Path) -> list[str]:
    """The messages of a log, without time, level and thread."""
    matches = ((MESSAGE.match(line), line) for line in _lines(path))
    return [match["message"] if match else line for match, line in matches]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
