"""Standard streams that survive closed pipes, full disks and unprintable file names; ``-`` names a stream.

A finished command never fails because its summary cannot be printed; a command whose purpose is to print does.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from genartisan.errors import InputError

STREAM = "-"  # in place of a file name: standard input or output
ESCAPE_UNPRINTABLE = "genartisan.escape_unprintable"  # an error handler for stdout's encoding


@contextmanager
def resilient_streams() -> Iterator[None]:
    """Lets stdout print any file name, and stderr take any line even if nobody reads it."""
    stdout, stderr = sys.stdout, sys.stderr
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors=ESCAPE_UNPRINTABLE)
    sys.stderr = cast(TextIO, ResilientStream(stderr))
    try:
        yield
    finally:
        try:
            flush_stdout()
        except OSError:
            discard(stdout)  # otherwise Python reports the failure at exit
        sys.stderr = stderr


class ResilientStream:
    """A text stream that drops what it can no longer write; None, a closed stream, drops everything."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            discard(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_summary(line: str, to_stderr: bool = False) -> None:
    """Prints what was done; a stdout that can no longer be written to is ignored.

    Args:
        to_stderr: stdout carries a result already.
    """
    try:
        print(line, file=sys.stderr if to_stderr else sys.stdout, flush=True)
    except OSError:
        discard(sys.stdout)


def print_progress(line: str) -> None:
    """Prints progress on stderr, apart from results."""
    print(line, file=sys.stderr, flush=True)


def print_warnings(warnings: Iterable[str]) -> None:
    """Prints warnings on stderr, one per line."""
    for warning in warnings:
        print(f"genartisan: warning: {warning}", file=sys.stderr)


def flush_stdout() -> None:
    """Flushes stdout.

    Raises:
        OSError: it cannot be written to.
    """
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            error.filename = "standard output"
            raise


def discard(stream: TextIO | None) -> None:
    """Redirects a stream, and what it still buffers, to the null device."""
    with suppress(OSError, ValueError, AttributeError):  # it may have no file
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, cast(TextIO, stream).fileno())
        os.close(devnull)


def read_stdin(field: str = "photo") -> bytes:
    """Reads a picture from stdin, up to one byte more than a picture may have.

    Raises:
        InputError: stdin is closed or a terminal.
    """
    from genartisan.io.decode import MAX_BYTES  # imports torch, which --help need not wait for

    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(f"{field} is {STREAM!r}, standard input, and nothing is piped in; name a file.", field)
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def write_stdout(content: bytes) -> None:
    """Writes bytes to stdout.

    Raises:
        OSError: it cannot be written to.
    """
    flush_stdout()
    sys.stdout.buffer.write(content)
    flush_stdout()


def _escape_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Writes undecodable bytes of a file name as they are, and characters outside the encoding as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character, end = error.object[error.start], error.start + 1
    if "\udc80" <= character <= "\udcff":  # a byte as os.fsdecode represents it
        return bytes([ord(character) - 0xDC00]), end
    return codecs.backslashreplace_errors(
        UnicodeEncodeError(error.encoding, error.object, error.start, end, error.reason)
    )


codecs.register_error(ESCAPE_UNPRINTABLE, _escape_unprintable)
