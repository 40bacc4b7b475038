"""The processes of a server, identified by a mark in their environment: its state folder.

Workers inherit the mark from Java. A process that reuses the PID of a dead one, or whose command line happens to name
our folder, does not have it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from genartisan.serving.state import Server, noted

MARK = "_GENARTISAN_STATE"  # environment variable; its value is the state folder
START_TOLERANCE = 60.0  # seconds by which two readings of a start time may differ: the clock may have been set


def members(state: Path) -> list[psutil.Process]:
    """All live processes of the server of this state folder."""
    return [process for process in psutil.process_iter() if is_member(process, state)]


def current(state: str | Path) -> Server | None:
    """The running server of this state folder, if any.

    Raises:
        ServeError: it belongs to another user.
    """
    server = noted(state)
    with contextlib.suppress(psutil.NoSuchProcess):
        if server is not None:
            java = psutil.Process(server.pid)
            if is_member(java, server.state) and abs(java.create_time() - server.created) < START_TOLERANCE:
                return server
    return None


def end(state: Path, timeout: float) -> None:
    """Terminates Java, which ends its workers, and kills the processes that remain.

    Args:
        timeout: seconds between the two.
    """
    server = current(state)
    if server is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(server.pid).terminate()
        psutil.wait_procs(members(state), timeout=timeout)
    remaining = members(state)
    for process in remaining:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil makes sure that the PID was not reused
    psutil.wait_procs(remaining, timeout=10)


def is_member(process: psutil.Process, state: Path) -> bool:
    """Whether a process belongs to the server of this state folder and is alive."""
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.environ().get(MARK) == str(state))
    except psutil.Error:  # it is gone, or belongs to another user
        return False
