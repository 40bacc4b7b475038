"""The requests in progress, in a folder that all workers of a server share: how far they are, and which to cancel.

A request's files are named after a keyed hash of its id; the key is its owner's. So they are found only with both, and
a stranger's id looks like one that does not exist. ``HASH.PID`` says how far a worker is; ``HASH.cancel`` is the flag
that ends the request. A flag may precede its request, which then waits in TorchServe's queue, where we see nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from genartisan.errors import BusyError, CancelledError, UnknownRequestError
from genartisan.serving.request_headers import REQUEST_ID

FOLDER = "jobs"  # in the server's temporary folder
UPDATE = 0.25  # seconds between two updates of a request's file
EXPIRY = 3600.0  # seconds after which a flag, or the file of a request that is no longer updated, counts no more
MAX_FLAGS = 1000  # that wait for their request
FLAG = "cancel"
CLOSED = "closed"  # a file as old as the time since which no request may be sent
RETRY_AFTER = 10.0  # seconds, for those refused then

State = Literal["waiting", "running", "cancelling"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a request is.

    Attributes:
        state: ``waiting``: a flag waits for the request; ``cancelling``: its worker will end it after this step.
        step: steps done; None before the first is, like the others.
        steps: steps in all.
        eta_s: estimated seconds until the last step ends.
        seconds: since a worker began with it.
    """

    state: State
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    seconds: float | None = None


class Jobs:
    """The requests in progress on a server; what dead workers left is removed.

    Args:
        temporary: the server's temporary folder.

    Raises:
        OSError: the folder in it cannot be created.
    """

    def __init__(self, temporary: Path) -> None:
        self._folder = temporary / FOLDER
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.[0-9]*"):
            if not _is_alive(path):
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def at_work(self, owner: str, request_id: str) -> Iterator[Job]:
        """A block in which this process works on a request.

        Args:
            owner: the secret that entitles to cancel it.
        """
        job = Job(self._folder, _name(owner, request_id))
        job.update(force=True)
        try:
            yield job
        finally:
            job.end()

    def cancel(self, owner: str, request_id: str) -> Progress:
        """Flags a request, which may still wait for a worker.

        Raises:
            BusyError: too many flags wait for their request.
        """
        name, flag = _name(owner, request_id), self._flag(owner, request_id)
        if self._read(name) is None and not flag.exists() and self._waiting() >= MAX_FLAGS:
            raise BusyError(f"{MAX_FLAGS} cancellations wait for their requests; try again later.", REQUEST_ID)
        flag.touch(mode=0o600)
        return self._read(name) or Progress("waiting")

    def status(self, owner: str, request_id: str) -> Progress:
        """How far a request is.

        Raises:
            UnknownRequestError: no worker has a request with this id and owner, and no flag waits for it.
        """
        progress = self._read(_name(owner, request_id))
        if progress is None and _is_current(self._flag(owner, request_id)):
            return Progress("waiting")
        if progress is None:
            raise UnknownRequestError(
                f"no worker has a request with this {REQUEST_ID} and your key: it waits in the queue, has ended, or "
                "never came.",
                REQUEST_ID,
            )
        return progress

    def in_progress(self) -> int:
        """The number of requests that workers have."""
        return sum(map(_is_alive, self._folder.glob("*.[0-9]*")))

    def close(self) -> None:
        """Has all workers refuse what is sent from now on; the first call counts."""
        with contextlib.suppress(FileExistsError):
            (self._folder / CLOSED).touch(mode=0o600, exist_ok=False)

    def open(self) -> None:
        """Takes `close` back."""
        (self._folder / CLOSED).unlink(missing_ok=True)

    def check_open(self, waited: float | None) -> None:
        """Checks that a request was sent before `close`; it may have waited in a proxy until now.

        Args:
            waited: seconds since then; None if unknown.

        Raises:
            BusyError: it came later, or may have.
        """
        try:
            closed_for = time.time() - (self._folder / CLOSED).stat().st_mtime
        except FileNotFoundError:
            return
        if waited is None or waited < closed_for:
            reason = "the server is about to end, and finishes only what it has begun; try again later, or another"
            raise BusyError(f"{reason}.", None, RETRY_AFTER)

    def _read(self, name: str) -> Progress | None:
        """The latest progress of the workers that have this request; removes the files of dead ones."""
        newest, latest = 0.0, None
        for path in self._folder.glob(f"{name}.[0-9]*"):
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                if not _is_alive(path):
                    path.unlink()
                elif (changed := path.stat().st_mtime) > newest:
                    newest, latest = changed, Progress(**json.loads(path.read_text(encoding="ascii")))
        if latest is not None and (self._folder / f"{name}.{FLAG}").exists():
            latest = Progress(**{**asdict(latest), "state": "cancelling"})
        return latest

    def _waiting(self) -> int:
        """The number of flags whose request no worker has; removes the expired ones."""
        at_work = {path.stem for path in self._folder.glob("*.[0-9]*")}
        waiting = 0
        for flag in self._folder.glob(f"*.{FLAG}"):
            if not _is_current(flag):
                flag.unlink(missing_ok=True)
            elif flag.stem not in at_work:
                waiting += 1
        return waiting

    def _flag(self, owner: str, request_id: str) -> Path:
        return self._folder / f"{_name(owner, request_id)}.{FLAG}"


class Job:
    """A request that this process works on."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._began = folder, name, time.monotonic()
        self._path, self._flag = folder / f"{name}.{os.getpid()}", folder / f"{name}.{FLAG}"
        self._progress, self._updated = Progress("running", seconds=0.0), float("-inf")

    def check(self) -> None:
        """Raises CancelledError if the request is flagged. Costs a few microseconds."""
        if _is_current(self._flag):
            step, steps = self._progress.step, self._progress.steps
            when = "before its first step" if step is None else f"after {step} of {steps} steps"
            raise CancelledError(f"The request was cancelled {when}.")

    def stepped(self, step: int, steps: int, eta: float) -> None:
        """A step is done.

        Args:
            eta: seconds until the last one ends.
        """
        self._progress = Progress("running", step, steps, round(eta, 3))
        self.update()

    def update(self, *, force: bool = False) -> None:
        """Writes the request's file, unless it was written within `UPDATE`."""
        now = time.monotonic()
        if not force and now - self._updated < UPDATE:
            return
        self._updated = now
        content = json.dumps({**asdict(self._progress), "seconds": round(now - self._began, 3)})
        temporary = self._folder / f".{self._path.name}"
        try:
            temporary.write_text(content, encoding="ascii")
            temporary.replace(self._path)
        except OSError as error:  # a full disk must not end the request
            logger.warning("the progress of a request cannot be written: %s", error.strerror)

    def end(self) -> None:
        """Removes the request's file, and its flag unless another worker has a request with the same id."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
            if not any(map(_is_alive, self._folder.glob(f"{self._name}.[0-9]*"))):
                self._flag.unlink(missing_ok=True)


def _name(owner: str, request_id: str) -> str:
    return hmac.new(owner.encode(), request_id.encode(), hashlib.sha256).hexdigest()


def _is_current(path: Path) -> bool:
    """Whether a file exists and has not expired."""
    try:
        return time.time() - os.stat(path).st_mtime < EXPIRY
    except FileNotFoundError:
        return False


def _is_alive(path: Path) -> bool:
    """Whether the worker that wrote a request's file lives."""
    try:
        os.kill(int(path.suffix[1:]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, so the number has been reused
        return False
    return _is_current(path)
