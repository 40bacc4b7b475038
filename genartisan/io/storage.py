"""Files by path or URL: this machine's, and through fsspec those of an object store or another file system.

A file that is written appears whole or not at all: by a rename, or on an object store by a single put. Keys and
endpoints come from the environment, such as AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import errno
import os
import posixpath
import secrets
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from genartisan.errors import InputError, TooLargeError
from genartisan.io.atomic import SUFFIX, write_whole
from genartisan.io.decode import MAX_BYTES
from genartisan.io.images import SUFFIXES

OBJECT_STORES = frozenset(("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"))  # a put is atomic


def is_url(path: str) -> bool:
    """Whether ``path`` names a protocol, as in ``s3://bucket/photo.jpg``."""
    return "://" in path


def is_text(path: str) -> bool:
    """Whether a path is text, not bytes in some other encoding than UTF-8."""
    return path.encode(errors="replace").decode() == path


def located(path: str, folder: str) -> str:
    """``path`` as seen from ``folder``; unchanged if it is absolute or a URL."""
    return path if is_url(path) or Path(path).is_absolute() else posixpath.join(folder, path)


def file_system(url: str, field: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URL, and the path in it.

    Raises:
        InputError: an unknown protocol, or its package is not installed.
    """
    try:
        return url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        raise InputError(f"{field} {url!r} needs a package: {error}.", field) from error
    except (ValueError, OSError) as error:
        raise InputError(f"{field} {url!r} cannot be opened: {error}.", field) from error


def read(url: str, field: str, limit: int | None = MAX_BYTES) -> bytes:
    """A file's content.

    Args:
        limit: bytes it may have; None for any number.

    Raises:
        InputError: it cannot be read.
        TooLargeError: it is larger than ``limit``; nothing of it is read.
    """
    system, path = file_system(url, field)
    try:
        if limit is not None and system.size(path) > limit:
            raise TooLargeError(f"{field} {url!r} has more than {limit:,} bytes. Send a smaller file.", field)
        return bytes(system.cat_file(path))
    except InputError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise InputError(f"{field} {url!r} cannot be read: {reason(error)}.", field) from error


def exists(url: str) -> bool:
    """Whether there is a file.

    Raises:
        InputError: the file system cannot tell.
    """
    system, path = file_system(url, "output")
    try:
        system.info(path)
    except FileNotFoundError:
        return False
    except Exception as error:
        raise InputError(f"output {url!r} cannot be read: {reason(error)}.", "output") from error
    return True


def write(url: str, content: bytes) -> None:
    """Writes a file whole or not at all, and the folders that it is in.

    Raises:
        InputError: it cannot be written.
    """
    system, path = file_system(url, "output")
    try:
        if isinstance(system, LocalFileSystem):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        elif OBJECT_STORES.intersection(_protocols(system)):
            system.pipe_file(path, content)
        else:
            folder = posixpath.dirname(path)
            system.makedirs(folder, exist_ok=True)
            temporary = posixpath.join(folder, f".{secrets.token_hex(8)}{SUFFIX}")
            system.pipe_file(temporary, content)
            system.mv(temporary, path)
    except Exception as error:
        raise InputError(f"output {url!r} cannot be written: {reason(error)}.", "output") from error


def is_folder(url: str, field: str) -> bool:
    """Whether there is a folder, or on an object store anything with this prefix."""
    system, path = file_system(url, field)
    try:
        return bool(system.isdir(path))
    except Exception as error:
        raise InputError(f"{field} {url!r} cannot be read: {reason(error)}.", field) from error


def listed(folder: str, field: str) -> list[str]:
    """Paths, relative to ``folder``, of the files in it and in its folders; sorted. Hidden ones are left out.

    Raises:
        InputError: it cannot be read.
    """
    system, root = file_system(folder, field)
    try:
        system.invalidate_cache()
        paths = system.find(root)
    except Exception as error:
        raise InputError(f"{field} {folder!r} cannot be read: {reason(error)}.", field) from error
    inside = [posixpath.relpath(path, root) for path in paths]
    if wrong := next((path for path in inside if not is_text(path)), None):
        raise InputError(f"{field} {folder!r} contains {wrong!r}, a name that is not UTF-8; rename it.", field)
    return sorted(path for path in inside if not any(part.startswith(".") for part in path.split("/")))


def pictures_under(folder: str, field: str) -> list[str]:
    """As `listed`, those with a picture's suffix.

    Raises:
        InputError: there are none.
    """
    pictures = [path for path in listed(folder, field) if Path(path).suffix.lower() in SUFFIXES]
    if not pictures:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{field} {folder!r} contains no pictures; add some ({known}).", field)
    return pictures


def reason(error: Exception) -> str:
    """The error in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):  # fsspec's have no number
        return os.strerror(errno.ENOENT)
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _protocols(system: Any) -> tuple[str, ...]:
    protocol = system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
