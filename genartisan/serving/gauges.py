"""A gauge for each worker of a server; those of dead workers are reset to 0.

Workers must not overwrite each other's gauges, so each labels them with a number that no other living worker has: that
of a file which it keeps locked. The file lists its gauges; whoever finds it unlocked resets them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

MAX_WORKERS = 256  # of a server
Emit = Callable[[str, float, list[str]], None]


class WorkerGauges:
    """The gauges of this process, initially 0.

    Args:
        emit: takes a gauge's name, its value, and the values of its labels.
        folder: shared by all workers of a server.
        names: the gauges; the first label of each is the worker.
        labels: by gauge, the values of any further labels.

    Raises:
        OSError: the folder has `MAX_WORKERS` workers, or cannot be written to.
    """

    def __init__(
        self, emit: Emit, folder: Path, names: Sequence[str], labels: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._emit, self._folder = emit, folder
        self._number, self._file = _lock_free_number(folder)
        self._reset(self._file)
        self._labels = {name: [str(self._number), *(labels or {}).get(name, ())] for name in names}
        os.pwrite(self._file, json.dumps(list(self._labels.items())).encode(), 0)
        for name in names:
            self.set(name, 0)

    def set(self, name: str, value: float) -> None:
        """Sets a gauge."""
        self._emit(name, round(value, 3), self._labels[name])

    def reset_dead(self) -> None:
        """Resets the gauges of dead workers whose number no other worker has taken."""
        for path in self._folder.glob("worker-*"):
            with _locked(path) as file:
                if file is not None:
                    self._reset(file)

    def _reset(self, file: int) -> None:
        """Resets the gauges in a locked file, and empties it."""
        content = os.pread(file, 65536, 0)
        os.ftruncate(file, 0)
        for name, labels in json.loads(content or b"[]"):
            self._emit(name, 0, labels)


def _lock_free_number(folder: Path) -> tuple[int, int]:
    """The lowest free number in this folder, and its file, locked until this process ends."""
    for number in range(MAX_WORKERS):
        file = _lock(folder / f"worker-{number}")
        if file is not None:
            return number, file
    raise OSError(f"{MAX_WORKERS} workers are alive in {folder}")


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file at ``path``, locked in the block; None if another process holds the lock."""
    file = _lock(path)
    try:
        yield file
    finally:
        if file is not None:
            os.close(file)


def _lock(path: Path) -> int | None:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:  # another user's
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file
