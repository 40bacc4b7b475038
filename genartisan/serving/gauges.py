"""The gauges of a server's workers: each has its own, and those of a worker that is gone are set to 0.

Several workers would overwrite one another's gauges, so each has a number that no other living one has: that of a file
which it holds locked. In the file are its gauges; whoever finds it unlocked sets them to 0.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SLOTS = 256  # workers of a server
Emit = Callable[[str, float, list[str]], None]


class WorkerGauges:
    """The gauges of this process, all 0 at first.

    Args:
        emit: takes a gauge's name, its value, and the values of its labels.
        folder: which all workers of a server share.
        names: of the gauges; the first label of each is the worker.
        labels: the values of the labels after the worker, of a gauge that has more.

    Raises:
        OSError: there are `SLOTS` workers in the folder, or it cannot be written to.
    """

    def __init__(
        self, emit: Emit, folder: Path, names: Sequence[str], labels: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._emit, self._folder = emit, folder
        self._number, self._file = _taken(folder)
        self._bury(self._file)
        self._labels = {name: [str(self._number), *(labels or {}).get(name, ())] for name in names}
        os.pwrite(self._file, json.dumps(list(self._labels.items())).encode(), 0)
        for name in names:
            self.set(name, 0)

    def set(self, name: str, value: float) -> None:
        """Sets one of the gauges."""
        self._emit(name, round(value, 3), self._labels[name])

    def bury_the_dead(self) -> None:
        """Sets the gauges of workers to 0 that are gone, unless another one has their number by now."""
        for path in self._folder.glob("worker-*"):
            with _locked(path) as file:
                if file is not None:
                    self._bury(file)

    def _bury(self, file: int) -> None:
        """Sets the gauges in a locked file to 0, and empties it."""
        content = os.pread(file, 65536, 0)
        os.ftruncate(file, 0)
        for name, labels in json.loads(content or b"[]"):
            self._emit(name, 0, labels)


def _taken(folder: Path) -> tuple[int, int]:
    """The lowest number that no living process has in this folder, and its file, which stays locked until it ends."""
    for number in range(SLOTS):
        file = _lock(folder / f"worker-{number}")
        if file is not None:
            return number, file
    raise OSError(f"{SLOTS} workers are alive in {folder}")


@contextmanager
def _locked(path: Path) -> Iterator[int | None]:
    """The file at ``path``, locked as long as this lasts; None if another one has it."""
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
