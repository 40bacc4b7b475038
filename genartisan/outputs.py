"""The files that commands write: refused before the work begins, where they cannot be written after it."""

from __future__ import annotations

import os
from pathlib import Path

from genartisan.errors import InputError

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def media_type_of(path: str, known: dict[str, str] = MEDIA_TYPES) -> str:
    """The media type that a file name asks for."""
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        raise InputError(f"output {path!r} ends in {suffix or 'nothing'}; end it in {', '.join(known)}.", "output")
    return known[suffix]


def check_writable(path: str, field: str = "output") -> None:
    """Refuses early what could not be written after minutes of work."""
    target = Path(path).absolute()
    if not target.parent.is_dir():
        reason = f"there is no folder {str(target.parent)!r}. Make it first"
        raise InputError(f"{field} {path!r} cannot be written: {reason}.", field)
    if target.is_dir():
        raise InputError(f"{field} {path!r} is a folder; give a file name.", field)
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f"{field} {path!r} cannot be written: no permission. Choose another place.", field)


def write(path: str, content: bytes, field: str = "output") -> None:
    """Writes a whole file, or says why not."""
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise InputError(f"{field} {path!r} cannot be written: {error.strerror}.", field) from error
