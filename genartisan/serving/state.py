"""The state folder of a server: what lies in it, and what of it is ours.

A note in it is no order. It names a process and ports; what is removed is this folder's own, whatever the note says,
and whether the process is ours is asked of the process (genartisan/serving/processes.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveInt

from genartisan.errors import ServeError
from genartisan.io.atomic import write_whole
from genartisan.serving.defaults import EVERYWHERE, HOST, Ports

NOTE = "server.json"  # what was started here
KEY_FILE = "key_file.json"  # TorchServe's own name for its keys
MODELS = "models.json"  # the versions that a start brings back (genartisan/serving/restore.py)
LOGS, RUN = "logs", "run"  # folders; RUN has sockets and the unpacked archive, and goes with its server
MARK = ".genartisan"  # in a state folder, and in RUN: that we made it; there with the short name by which it is known
SOCKET_ROOM = 90  # bytes of a folder's path in which a socket can be opened; a socket's path has 107


class Server(BaseModel):
    """A running server, as noted in its state folder.

    Attributes:
        pid, created: of the Java process; the time tells it from a later process of the same number.
        host: address of the two inference ports; the others are on this machine's loopback.
        store: the folder with the archives.
        signature_key: the file with the key that every archive has to be signed with, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Path
    pid: PositiveInt
    created: float
    host: str
    ports: Ports
    store: Path
    signature_key: Path | None = None

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://{self._asked}:{self.ports.inference}"

    @property
    def grpc(self) -> str:
        """HOST:PORT of the gRPC endpoint."""
        return f"{self._asked}:{self.ports.grpc_inference}"

    @property
    def management(self) -> str:
        """The management API over HTTP."""
        return f"http://{HOST}:{self.ports.management}"

    @property
    def metrics(self) -> str:
        """Where Prometheus asks."""
        return f"http://{HOST}:{self.ports.metrics}"

    @property
    def keys(self) -> str:
        """The file with the server's keys, which is not there if the configuration asks for none."""
        return str(self.state / KEY_FILE)

    @property
    def logs(self) -> str:
        """The folder of its logs."""
        return str(self.state / LOGS)

    @property
    def temporary(self) -> str:
        """The server's own temporary folder: sockets, the unpacked archive."""
        return str(self.state / RUN)

    @property
    def _asked(self) -> str:
        return HOST if self.host in EVERYWHERE else self.host

    def note(self) -> None:
        """Writes the note."""
        text = self.model_dump_json(indent=2, exclude={"state"})
        write_whole(self.state / NOTE, text)


def noted(state: str | Path) -> Server | None:
    """The server that was started with this state folder, alive or not; None if there is no note, or none of ours.

    Raises:
        ServeError: the note is of another user.
        OSError: it cannot be read.
    """
    state = Path(state).resolve()
    try:
        with (state / NOTE).open(encoding="utf-8") as file:
            owner, told = os.fstat(file.fileno()).st_uid, json.load(file)
        server = Server.model_validate({**told, "state": state})
    except (FileNotFoundError, ValueError, TypeError):  # pydantic's error is a ValueError
        return None
    if owner != os.getuid():
        raise ServeError(
            f"state {str(state)!r} is of user {owner}, and you are {os.getuid()}; ask as that user, or give another.",
            "state",
        )
    return server


def prepare(state: Path) -> None:
    """Makes a state folder, or makes sure that the one there is nobody else's and holds nothing else.

    Raises:
        ServeError: it does, or others may write into it.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = state.stat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServeError(
            f"state {str(state)!r} is a folder into which others than you may write; chmod it 700, or give another.",
            "state",
        )
    names = {NOTE, KEY_FILE, MODELS, LOGS}
    foreign = sorted(name for name in os.listdir(state) if name not in names and not name.startswith("."))
    if foreign and not (state / MARK).is_file():
        raise ServeError(
            f"state {str(state)!r} has other things in it ({foreign[0]!r}); give a folder for the server alone.",
            "state",
        )
    (state / MARK).touch(mode=0o600)


def make_run(state: Path) -> Path:
    """Makes the server's temporary folder; its path, or a short name for it where a socket's path would be too long."""
    run = state / RUN
    run.mkdir(mode=0o700)
    short = run
    if len(os.fsencode(run)) > SOCKET_ROOM:
        short = Path(tempfile.mkdtemp(prefix="genartisan-")) / RUN
        short.symlink_to(run)
    (run / MARK).write_text(str(short), encoding="utf-8")
    return short


def forget(state: Path) -> None:
    """Removes what a server that is gone left in its state folder: its temporary folder, its note, its keys.

    The keys open nothing any more. Logs stay, and the versions that were in service.
    """
    run = state / RUN
    if (run / MARK).is_file() and not run.is_symlink() and run.stat().st_uid == os.getuid():
        short = Path((run / MARK).read_text(encoding="utf-8"))
        if short.is_symlink() and short.readlink() == run:
            short.unlink()
            with contextlib.suppress(OSError):  # it is ours alone, and empty now, or it is not ours
                short.parent.rmdir()
        shutil.rmtree(run, ignore_errors=True)
    if noted(state):
        for name in (NOTE, KEY_FILE):
            (state / name).unlink(missing_ok=True)
