"""The state folder of a server.

Its note, server.json, is not trusted. It names a process and ports; but only files of this folder are removed, whatever
the note says, and the process itself must prove that it is ours (genartisan/serving/processes.py).
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
from genartisan.serving.defaults import DRAFT, EVERYWHERE, HOST, MODEL, Ports

NOTE = "server.json"  # the `Server` that was started here
KEY_FILE = "key_file.json"  # TorchServe's name for its keys
MODELS = "models.json"  # the versions to restore at the next start (genartisan/serving/restore.py)
LEAVING = "leaving"  # in RUN while the server is about to end: it drains, or is being stopped
LOGS, RUN = "logs", "run"  # folders; RUN holds sockets and the unpacked archive while the server runs
MARK = ".genartisan"  # shows that we made the state folder, and RUN, where it contains the short path
MAX_RUN_PATH = 90  # bytes; a socket's whole path may have 107


class Server(BaseModel):
    """A running server, as recorded in its state folder.

    Attributes:
        pid, created: of the Java process; the start time tells it from a later process with the same PID.
        host: address of the two inference ports; the others are on loopback.
        store: folder with the archives.
        has_drafts: whether drafts and explanations have workers of their own.
        signature_key: key file; every archive must carry its signature. None for no check.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Path
    pid: PositiveInt
    created: float
    host: str
    ports: Ports
    store: Path
    has_drafts: bool = False
    signature_key: Path | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The models that serve the archives."""
        return (MODEL, DRAFT) if self.has_drafts else (MODEL,)

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://{self._client_host}:{self.ports.inference}"

    @property
    def grpc(self) -> str:
        """HOST:PORT of the gRPC endpoint."""
        return f"{self._client_host}:{self.ports.grpc_inference}"

    @property
    def management(self) -> str:
        """The management API over HTTP."""
        return f"http://{HOST}:{self.ports.management}"

    @property
    def metrics(self) -> str:
        """The base URL of the metrics."""
        return f"http://{HOST}:{self.ports.metrics}"

    @property
    def keys(self) -> str:
        """The key file, which does not exist if the configuration disables keys."""
        return str(self.state / KEY_FILE)

    @property
    def logs(self) -> str:
        """The log folder."""
        return str(self.state / LOGS)

    @property
    def temporary(self) -> str:
        """The server's temporary folder: sockets, the unpacked archive."""
        return str(self.state / RUN)

    @property
    def _client_host(self) -> str:
        return HOST if self.host in EVERYWHERE else self.host

    def note(self) -> None:
        """Writes server.json."""
        text = self.model_dump_json(indent=2, exclude={"state"})
        write_whole(self.state / NOTE, text)


def noted(state: str | Path) -> Server | None:
    """The server recorded in this state folder, alive or not; None without a valid note.

    Raises:
        ServeError: the note belongs to another user.
        OSError: the note cannot be read.
    """
    state = Path(state).resolve()
    try:
        with (state / NOTE).open(encoding="utf-8") as file:
            owner, fields = os.fstat(file.fileno()).st_uid, json.load(file)
        server = Server.model_validate({**fields, "state": state})
    except (FileNotFoundError, ValueError, TypeError):  # pydantic's error is a ValueError
        return None
    if owner != os.getuid():
        raise ServeError(
            f"state {str(state)!r} belongs to user {owner}, and you are {os.getuid()}; give another folder.",
            "state",
        )
    return server


def prepare(state: Path) -> None:
    """Creates a state folder, or makes sure that an existing one is private and used for nothing else.

    Raises:
        ServeError: others may write to the folder, or it contains other files.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = state.stat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServeError(
            f"state {str(state)!r} is writable by others than you; chmod it 700, or give another folder.",
            "state",
        )
    names = {NOTE, KEY_FILE, MODELS, LOGS}
    foreign = sorted(name for name in os.listdir(state) if name not in names and not name.startswith("."))
    if foreign and not (state / MARK).is_file():
        raise ServeError(
            f"state {str(state)!r} contains other files ({foreign[0]!r}); give a folder for the server alone.",
            "state",
        )
    (state / MARK).touch(mode=0o600)


def make_run(state: Path) -> Path:
    """Creates the server's temporary folder; its path, or a short link to it if socket paths would be too long."""
    run = state / RUN
    run.mkdir(mode=0o700)
    short = run
    if len(os.fsencode(run)) > MAX_RUN_PATH:
        short = Path(tempfile.mkdtemp(prefix="genartisan-")) / RUN
        short.symlink_to(run)
    (run / MARK).write_text(str(short), encoding="utf-8")
    return short


def leave(state: Path) -> None:
    """Notes that the server is about to end: the probe says so, and nobody restarts it."""
    with contextlib.suppress(FileNotFoundError):  # it has ended
        (state / RUN / LEAVING).touch(mode=0o600)


def stay(state: Path) -> None:
    """Takes `leave` back."""
    (state / RUN / LEAVING).unlink(missing_ok=True)


def is_leaving(state: Path) -> bool:
    """Whether the server is about to end."""
    return (state / RUN / LEAVING).exists()


def forget(state: Path) -> None:
    """Removes note, (void) keys and temporary folder of a server that has ended. Logs and models.json stay."""
    if noted(state):
        for name in (NOTE, KEY_FILE):
            (state / name).unlink(missing_ok=True)
    run = state / RUN
    if (run / MARK).is_file() and not run.is_symlink() and run.stat().st_uid == os.getuid():
        short = Path((run / MARK).read_text(encoding="utf-8"))
        if short.is_symlink() and short.readlink() == run:
            short.unlink()
            with contextlib.suppress(OSError):  # not empty: it is not ours
                short.parent.rmdir()
        shutil.rmtree(run, ignore_errors=True)
