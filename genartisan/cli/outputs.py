"""Output files: refused before the work begins if they could not be written after it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from genartisan.cli.console import STREAM, write_stdout
from genartisan.errors import InputError
from genartisan.io.atomic import is_special, write_whole

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
STDIN = (STREAM, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
STDOUT = (STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

FieldPath = tuple[str, str | Path]  # a field and the file it names


def media_type_of(path: str, form: str | None = None, known: dict[str, str] = MEDIA_TYPES) -> str:
    """The media type chosen by ``--format`` or by a file's suffix; PNG for stdout and devices.

    Raises:
        InputError: neither names a known type, or the two differ.
    """
    suffix = Path(path).suffix.lower()
    if form is not None:
        requested = known.get(f".{form.lower()}")
        if requested is None:
            raise InputError(f"format is {form!r}; choose {', '.join(each[1:] for each in known)}.", "format")
        if known.get(suffix, requested) != requested:
            raise InputError(f"format is {form!r}, but output {path!r} ends in {suffix}; drop one of them.", "format")
        return requested
    if suffix in known:
        return known[suffix]
    if str(path) in STDOUT or is_special(path):
        return MEDIA_TYPES[".png"]
    problem = f"ends in {suffix}" if suffix else "has no suffix"
    raise InputError(f"output {path!r} {problem}; end it in {', '.join(known)}, or pass --format.", "output")


def check_outputs(reads: Iterable[FieldPath], writes: Iterable[FieldPath], overwrite: bool | None = None) -> None:
    """Refuses outputs that cannot be written, and those that would destroy an input or another output.

    Args:
        overwrite: allow the output to replace the photo; None where the command has no such flag.

    Raises:
        InputError: naming the field of the file at fault.
    """
    writes = list(writes)
    for field, path in writes:
        check_writable(path, field)
    check_distinct(reads, writes, overwrite)


def check_distinct(reads: Iterable[FieldPath], writes: Iterable[FieldPath], overwrite: bool | None = None) -> None:
    """Refuses outputs that are the same file as an input or another output, under whatever name.

    Args:
        overwrite: as in `check_outputs`.

    Raises:
        InputError: naming the field of the file at fault.
    """
    taken = {_identity(path, STDIN): field for field, path in reads}
    for field, path in writes:
        identity = _identity(path, STDOUT)
        other = None if identity is None else taken.get(identity)
        replaces = (field, other) == ("output", "photo")
        if other is not None and not (replaces and overwrite):
            remedy = ", or pass --overwrite to replace it" if replaces and overwrite is not None else ""
            raise InputError(f"{field} {str(path)!r} is also the {other}; choose another file{remedy}.", field)
        if identity is not None:
            taken[identity] = field


def check_writable(path: str | Path, field: str = "output") -> None:
    """Refuses a file that cannot be written.

    Raises:
        InputError: saying why.
    """
    if str(path) in STDOUT:
        if sys.stdout is None:
            raise InputError(f"{field} is {str(path)!r}, but standard output is closed; name a file.", field)
        if field == "output" and sys.stdout.isatty():
            raise InputError(f"{field} is {str(path)!r}, but standard output is a terminal; pipe it.", field)
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        reason = f"there is no folder {str(target.parent)!r}; create it first"
        raise InputError(f"{field} {str(path)!r} cannot be written: {reason}.", field)
    if target.is_dir():
        raise InputError(f"{field} {str(path)!r} is a folder; name a file.", field)
    # A file is replaced, so its folder must be writable; a device is written to.
    places = (target,) if is_special(path) else (target.parent, *([target] if target.exists() else []))
    if not all(os.access(place, os.W_OK) for place in places):
        raise InputError(f"{field} {str(path)!r} cannot be written: no permission; choose another file.", field)


def write(path: str | Path, content: bytes, field: str = "output") -> None:
    """Writes a file atomically, or stdout.

    Raises:
        InputError: saying why it cannot be written.
    """
    try:
        if str(path) in STDOUT:
            write_stdout(content)
        else:
            write_whole(path, content)
    except BrokenPipeError:  # the reader has gone; no error of the user's
        raise
    except OSError as error:
        raise InputError(f"{field} {str(path)!r} cannot be written: {error.strerror}.", field) from error


def _identity(path: str | Path, stream: tuple[str, ...]) -> object:
    """A value that all names of a file share; None for a device, which can be read and written at once."""
    try:
        if str(path) in stream:
            status = os.fstat((sys.stdin if stream is STDIN else sys.stdout).fileno())
        else:
            status = os.stat(path)
    except (OSError, ValueError, AttributeError):  # a file yet to be created, or a stream without one
        return stream if str(path) in stream else os.path.realpath(path)
    if stat.S_ISREG(status.st_mode):
        return status.st_dev, status.st_ino
    return STDOUT if stream is STDOUT and str(path) in stream else None
