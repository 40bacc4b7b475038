"""The files that commands write: refused before the work begins, where they cannot be written after it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from genartisan.cli.console import STREAM, announce, write_stdout
from genartisan.errors import InputError
from genartisan.io.atomic import is_special, write_whole

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
STDIN = (STREAM, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
STDOUT = (STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

Named = tuple[str, str | Path]  # a field and a file of it


def media_type_of(path: str, form: str | None = None, known: dict[str, str] = MEDIA_TYPES) -> str:
    """The media type that ``--format`` or a file's name asks for; without either stdout and devices get a PNG.

    Raises:
        InputError: they ask for none, or for two.
    """
    suffix = Path(path).suffix.lower()
    if form is not None:
        wanted = known.get(f".{form.lower()}")
        if wanted is None:
            raise InputError(f"format is {form!r}; give {', '.join(each[1:] for each in known)}.", "format")
        if known.get(suffix, wanted) != wanted:
            raise InputError(f"format is {form!r}, and output {path!r} ends in {suffix}; leave one out.", "format")
        return wanted
    if suffix in known:
        return known[suffix]
    if str(path) in STDOUT or is_special(path):
        return MEDIA_TYPES[".png"]
    ending = suffix or "nothing"
    raise InputError(f"output {path!r} ends in {ending}; end it in {', '.join(known)}, or name a --format.", "output")


def check_outputs(reads: Iterable[Named], writes: Iterable[Named], overwrite: bool | None = None) -> None:
    """Refuses early what could not be written after minutes of work, or would destroy what is read.

    Args:
        overwrite: let the output be the photo; None where the command has no flag for it.

    Raises:
        InputError: naming the field of the file that is at fault.
    """
    writes = list(writes)
    for field, path in writes:
        check_writable(path, field)
    check_distinct(reads, writes, overwrite)


def check_distinct(reads: Iterable[Named], writes: Iterable[Named], overwrite: bool | None = None) -> None:
    """Refuses files to write that are one and the same, or one of those that are read, under whatever name.

    Args:
        overwrite: as for `check_outputs`.

    Raises:
        InputError: naming the field of the file that is at fault.
    """
    taken = {_identity(path, STDIN): field for field, path in reads}
    for field, path in writes:
        identity = _identity(path, STDOUT)
        other = None if identity is None else taken.get(identity)
        replaces = (field, other) == ("output", "photo")
        if other is not None and not (replaces and overwrite):
            remedy = ", or --overwrite to put the picture in its place" if replaces and overwrite is not None else ""
            raise InputError(
                f"{field} {str(path)!r} is the file of the {other}, too; give it a name of its own{remedy}.", field
            )
        if identity is not None:
            taken[identity] = field


def check_writable(path: str | Path, field: str = "output") -> None:
    """Refuses early what could not be written after minutes of work."""
    if str(path) in STDOUT:
        if sys.stdout is None:
            raise InputError(f"{field} is {str(path)!r}, and standard output is closed; name a file.", field)
        if field == "output" and sys.stdout.isatty():
            raise InputError(f"{field} is {str(path)!r}, a terminal, which shows no picture; pipe it on.", field)
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        reason = f"there is no folder {str(target.parent)!r}. Make it first"
        raise InputError(f"{field} {str(path)!r} cannot be written: {reason}.", field)
    if target.is_dir():
        raise InputError(f"{field} {str(path)!r} is a folder; give a file name.", field)
    # A file is replaced, for which its folder must take a new one; a device is not.
    places = (target,) if is_special(path) else (target.parent, *([target] if target.exists() else []))
    if not all(os.access(place, os.W_OK) for place in places):
        raise InputError(f"{field} {str(path)!r} cannot be written: no permission. Choose another place.", field)


def write(path: str | Path, content: bytes, field: str = "output") -> None:
    """Writes a file, whole or not at all, or stdout.

    Raises:
        InputError: saying why not.
    """
    try:
        if str(path) in STDOUT:
            write_stdout(content)
        else:
            write_whole(path, content)
    except BrokenPipeError:  # whoever read it wants no more
        raise
    except OSError as error:
        raise InputError(f"{field} {str(path)!r} cannot be written: {error.strerror}.", field) from error


def tell(line: str, *written: str | Path | None) -> None:
    """Tells what was done: on stdout, or, where one of the files ``written`` went there, on stderr."""
    if any(str(path) in STDOUT for path in written):
        print(line, file=sys.stderr)
    else:
        announce(line)


def _identity(path: str | Path, stream: tuple[str, ...]) -> object:
    """What all names of a file have in common; None for a device, which can be read and written at a time."""
    try:
        if str(path) in stream:
            found = os.fstat((sys.stdin if stream is STDIN else sys.stdout).fileno())
        else:
            found = os.stat(path)
    except (OSError, ValueError, AttributeError):  # it is not there yet, or a stream without a file
        return stream if str(path) in stream else os.path.realpath(path)
    if stat.S_ISREG(found.st_mode):
        return found.st_dev, found.st_ino
    return STDOUT if stream is STDOUT and str(path) in stream else None
