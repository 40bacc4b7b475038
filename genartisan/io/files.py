"""Hashes and links of large files, and the sample photo."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from genartisan.io.atomic import replacing

SAMPLE = Path(__file__).parents[1] / "embedded" / "astronaut.jpg"  # NASA, public domain


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def link(source: Path, target: Path) -> None:
    """Creates a hard link, or a copy where links are not supported: the official bundle has a gigabyte."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
