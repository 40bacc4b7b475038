"""What a server's logs give as the reason of a failure, in one line."""

from __future__ import annotations

import re
from pathlib import Path

MESSAGE = re.compile(r"^\S+ (?:FATAL|ERROR|WARN|INFO|DEBUG)\s+\S+ - (.*)$")  # time, level, thread: handlers/log4j2.xml
RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt)\b")
FATAL = re.compile("Failed to load model|Failed to bind|already in use|Invalid configuration|java not found|Error:")


def failure(logs: Path, otherwise: str) -> str:
    """Why a server failed, from its logs: the worker's own error, or else the server's; or ``otherwise``."""
    reason = _worker_error(_lines(logs / "worker.log")) or _server_error(_lines(logs / "server.log"))
    if not otherwise:
        return reason or ""
    reason = reason or _server_error(_lines(logs / "console.log")) or " ".join(_lines(logs / "console.log")[-2:])
    return f"{otherwise}: {reason or 'its logs say nothing'} (logs: {logs})"


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
