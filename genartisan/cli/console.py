"""Standard streams: names that a terminal cannot show, readers that have gone, and ``-``, which stands for a stream.

What a finished command has to tell never fails it; what it was asked to print does.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from genartisan.errors import InputError

STREAM = "-"  # in the place of a file's name: standard input or output
PRINTABLE = "genartisan.printable"  # how stdout's encoding errors are handled


@contextmanager
def steady_streams() -> Iterator[None]:
    """Makes stdout take any name, and stderr any line, whoever still reads it."""
    stdout, stderr = sys.stdout, sys.stderr
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors=PRINTABLE)
    sys.stderr = cast(TextIO, UnfailingStream(stderr))
    try:
        yield
    finally:
        try:
            flush()
        except OSError:
            abandon(stdout)  # or Python would complain of it when it ends
        sys.stderr = stderr


class UnfailingStream:
    """A text stream that swallows what can no longer be written; None, a closed one, swallows all."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            abandon(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            abandon(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def announce(line: str) -> None:
    """Tells on stdout what was done, which is no less done if nobody can read it."""
    try:
        print(line, flush=True)
    except OSError:
        abandon(sys.stdout)


def flush() -> None:
    """Brings what was printed out of the process.

    Raises:
        OSError: stdout cannot take it.
    """
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            error.filename = "standard output"
            raise


def abandon(stream: TextIO | None) -> None:
    """Lets what a stream still holds, and all that is to come, vanish."""
    with suppress(OSError, ValueError, AttributeError):  # it may have no file
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, cast(TextIO, stream).fileno())
        os.close(devnull)


def read_stdin(field: str = "photo") -> bytes:
    """The picture that is piped in, no more of it than can be a picture.

    Raises:
        InputError: nothing is.
    """
    from genartisan.io.decode import MAX_BYTES  # with torch, for which other commands need not wait

    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(f"{field} is {STREAM!r}, standard input, and nothing is piped in; name a file.", field)
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def write_stdout(content: bytes) -> None:
    """Writes bytes to stdout.

    Raises:
        OSError: it cannot take them.
    """
    flush()
    sys.stdout.buffer.write(content)
    flush()


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """A byte of a file's name that is no text is written as it is; a character that is not to be had, as its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, after = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":  # as os.fsdecode has it
        return bytes([ord(character) - 0xDC00]), after
    return codecs.backslashreplace_errors(
        UnicodeEncodeError(error.encoding, error.object, error.start, after, error.reason)
    )


codecs.register_error(PRINTABLE, _printable)
