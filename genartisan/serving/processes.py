"""Which processes are a server's: those of this user that carry the mark of its state folder.

Java is started with the mark in its environment and gives it to its workers. Nothing else has it: neither a process
that got a dead one's number, nor one whose command line happens to name a folder of ours.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from genartisan.serving.state import Server, noted

MARK = "_GENARTISAN_STATE"  # the environment's variable; its value is the state folder
SAME = 60.0  # seconds by which two readings of one process's start may differ: the clock may have been set


def members(state: Path) -> list[psutil.Process]:
    """Every living process of the server of this state folder."""
    return [process for process in psutil.process_iter() if is_member(process, state)]


def current(state: str | Path) -> Server | None:
    """The server of this state folder, if it is alive.

    Raises:
        ServeError: it is another user's.
    """
    server = noted(state)
    with contextlib.suppress(psutil.NoSuchProcess):
        if server is not None:
            java = psutil.Process(server.pid)
            if is_member(java, server.state) and abs(java.create_time() - server.created) < SAME:
                return server
    return None


def end(state: Path, timeout: float) -> None:
    """Asks the server's processes to end, Java first, which takes its workers along; kills what is left after a while.

    Args:
        timeout: seconds that they get.
    """
    server = current(state)
    if server is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(server.pid).terminate()
        psutil.wait_procs(members(state), timeout=timeout)
    left = members(state)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # psutil looks once more whether the number is still this process's
    psutil.wait_procs(left, timeout=10)


def is_member(process: psutil.Process, state: Path) -> bool:
    """Whether a process is one of the server's of this state folder, and alive."""
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.environ().get(MARK) == str(state))
    except psutil.Error:  # gone, or another user's
        return False
