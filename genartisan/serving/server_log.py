"""A server's logs: kept from start to start, told as JSON in the foreground, and the reason of a failure in them."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

NAMES = ("server", "worker", "access", "unreadable", "console")  # the last is what Java itself prints, outside its log
KEPT = 5  # earlier starts
MESSAGE = re.compile(r"^\S+ (?:FATAL|ERROR|WARN|INFO|DEBUG)\s+\S+ - (.*)$")  # time, level, thread: handlers/log4j2.xml
RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b")
FATAL = re.compile("Failed to load model|Failed to bind|already in use|Invalid configuration|java not found|Error:")


def rotate(logs: Path) -> None:
    """Puts the logs of the last start aside, as ``worker.log.1`` and so on: those of a crash can still be read."""
    for name in NAMES:
        if (logs / f"{name}.log").exists():
            handler = RotatingFileHandler(logs / f"{name}.log", backupCount=KEPT, delay=True)
            handler.doRollover()
            handler.close()


def relay(lines: Iterable[str], console: TextIO, out: TextIO) -> None:
    """Passes on what Java prints, as one JSON object a line.

    A message that is JSON itself, as a request's is, gives its own fields to the object. What is no JSON goes to
    ``console``, which is closed at the end, too.
    """
    with console:
        for line in lines:
            _pass_on(line, console, out)


def _pass_on(line: str, console: TextIO, out: TextIO) -> None:
    told = _as_object(line)
    if told is None:
        with contextlib.suppress(OSError):  # a full disk, or below a closed pipe: no reason for Java to wait
            console.write(line)
            console.flush()
        now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
        told = {"source": "console", "time": now, "level": "INFO", "message": line}
    message = str(told.pop("message", "")).rstrip()
    told |= _as_object(message) or {"message": message}
    with contextlib.suppress(OSError):
        print(json.dumps(told), file=out, flush=True)


def failure(logs: Path, otherwise: str) -> str:
    """Why a server failed, from its logs: the worker's own error, or else the server's; or ``otherwise``."""
    reason = _worker_error(_lines(logs / "worker.log")) or _server_error(_lines(logs / "server.log"))
    if not otherwise:
        return reason or ""
    reason = reason or _server_error(_lines(logs / "console.log")) or " ".join(_lines(logs / "console.log")[-2:])
    return f"{otherwise}: {reason or 'its logs say nothing'} (logs: {logs})"


def _as_object(text: str) -> dict[str, Any] | None:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _worker_error(lines: list[str]) -> str | None:
    """The last line of the first traceback that ended the worker."""
    if not any("Backend worker process died" in line for line in lines):
        return None
    return next((line for line in lines if RAISED.match(line)), "the worker died")


def _server_error(lines: list[str]) -> str | None:
    return next((line for line in lines if FATAL.search(line)), None)


def _lines(path: Path) -> list[str]:
    """A log's messages, without time, level and thread."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    matches = ((MESSAGE.match(line), line) for line in text.splitlines())
    return [match.group(1) if match else line for match, line in matches]
