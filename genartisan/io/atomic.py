"""Atomic writes: a temporary file in the same folder replaces the target once it is complete.

After a full disk, Ctrl-C or a crash the old file is still there. A symbolic link stays a link; its target is replaced.
The target's mode and owner are preserved; a new file gets the umask's mode. Devices and pipes are written in place.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".partial"  # of temporary files, whose names start with a dot


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields an empty temporary file that replaces ``path`` if the block succeeds.

    Raises:
        OSError: ``path`` cannot be written or replaced.
    """
    try:
        if is_special(path):
            with tempfile.TemporaryDirectory(prefix="genartisan-") as folder:
                yield (temporary := Path(folder) / f"content{SUFFIX}")
                with temporary.open("rb") as content, Path(path).open("wb") as device:
                    shutil.copyfileobj(content, device)
        else:
            with _beside(Path(os.path.realpath(path))) as temporary:
                yield temporary
    except OSError as error:
        if error.errno is not None and str(error.filename or SUFFIX).endswith(SUFFIX):
            error.filename = str(path)
        raise


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Writes a file atomically, text as UTF-8 with lone surrogates escaped.

    Raises:
        OSError: as `replacing`.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def is_special(path: str | Path) -> bool:
    """Whether ``path`` is a device, a pipe or a socket."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    before = target.stat() if target.exists() else None
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if before is not None and not os.access(target, os.W_OK):  # a rename only checks the folder's permissions
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    temporary = target.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
    new = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else 0o600)
    try:
        mode = stat.S_IMODE((before or os.fstat(new)).st_mode)
        os.close(new)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # some file systems report a full disk only here
        if before is not None and hasattr(os, "chown"):
            with suppress(OSError):  # only root may change the owner
                os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(mode)  # some libraries recreate the file with mode 0600
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
