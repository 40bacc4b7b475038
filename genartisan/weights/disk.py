"""Free space, disk errors and locks for the folders of weights."""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from genartisan.errors import WeightsError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def check_room(needs: Mapping[Path, int]) -> None:
    """Checks free space before a long download; ``needs`` maps each folder to the bytes it will receive.

    Raises:
        WeightsError: the folders on one disk need more than its free space.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        device = _existing(folder).stat().st_dev
        disks[device] = (folder, size + disks.get(device, (folder, 0))[1])
        if disks[device][1] > shutil.disk_usage(_existing(folder)).free:
            raise WeightsError(no_room(folder / "the official weights", disks[device][1]))


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def no_room(path: Path, needed: int | None) -> str:
    """The message for a full disk."""
    free = shutil.disk_usage(_existing(path.parent)).free
    missing = f"{needed:,} more bytes are" if needed is not None else "more space is"
    return (
        f"The disk is full: {missing} needed for {path.name} in {path.parent}, {free:,} bytes are free. "
        "Free some space, or set GENARTISAN_HOME to a folder on a larger disk, and run the same command again."
    )


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns OSErrors while writing ``path`` into WeightsErrors."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise WeightsError(no_room(path, None)) from error
        raise WeightsError(f"{error.filename or path} cannot be written: {error.strerror}.") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file ``path``, which the system releases when the process ends.

    Raises:
        WeightsError: another process holds it.
    """
    if sys.platform == "win32":  # no flock; concurrent writers end in a wrong hash, which is detected
        yield
        return
    import fcntl

    with ExitStack() as stack:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                message = f"Another process is fetching weights into {path.parent}; wait until it has finished."
                raise WeightsError(message) from error
            # else the file system does not support locks; see above
        yield
