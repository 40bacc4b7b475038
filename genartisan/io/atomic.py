"""Atomic writes: a file is written under another name in the same folder, and takes its place when it is whole.

A disk that fills up, Ctrl-C or a crash leave what was there before. A symbolic link stays one, and the file that it
leads to is replaced. That file's mode and owner are kept; a new one has the mode that the umask gives. Devices and
pipes cannot be replaced: they are written to.
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

SUFFIX = ".partial"  # of what is not yet in its place; its name begins with a dot


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file to write to, empty at first, which takes the place of ``path`` when the block has ended well.

    Raises:
        OSError: it cannot be written, or replaced; it names ``path``.
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
    """Writes a file, text as UTF-8; the halves of a file's name that is none stand in it as escapes.

    Raises:
        OSError: as `replacing`.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def is_special(path: str | Path) -> bool:
    """Whether it is there, and neither a file nor a folder, but a device, a pipe or a socket."""
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
    if before is not None and not os.access(target, os.W_OK):  # the folder alone would decide on a replacement
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    temporary = target.with_name(f".{secrets.token_hex(8)}{SUFFIX}")
    new = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if before is None else 0o600)
    try:
        mode = stat.S_IMODE((before or os.fstat(new)).st_mode)
        os.close(new)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # some disks tell only now that they are full
        if before is not None and hasattr(os, "chown"):
            with suppress(OSError):  # only root may give a file to its owner
                os.chown(temporary, before.st_uid, before.st_gid)
        temporary.chmod(mode)  # some libraries make the file anew, for its owner alone
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
