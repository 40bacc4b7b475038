"""Whether an archive is whole, and ours: every file in it, code and weights, against its list of contents; a signature.

The list comes with the archive, so it tells of damage and of files that were put in or exchanged, not of whoever writes
a new list as well. Against that there is the signature: an HMAC of the whole file, kept beside it, with a key that only
those have who build archives and who serve them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from genartisan.errors import ServeError
from genartisan.io.atomic import write_whole
from genartisan.serving.defaults import MODEL

HANDLER, SETTINGS = "genartisan_handler.py", "model-config.yaml"  # in handlers/
CONTENTS = "contents.json"  # in the archive: what it was made from
MANIFEST = "MAR-INF/MANIFEST.json"  # in the archive: TorchServe's own
SIGNATURE = ".sig"  # what the signature's file has behind the archive's name
MIN_KEY = 32  # bytes
REMEDY = "make it again with `genartisan archive`"


@dataclass(frozen=True)
class Recipe:
    """What an archive was made from.

    Attributes:
        version: of the model.
        request_bytes: the most that a request within its limits can have, for the server's own limit.
        contents: SHA-256 in hexadecimal by the name of each file.
    """

    version: str
    request_bytes: int
    contents: dict[str, str]

    def text(self) -> str:
        """As it stands in the archive."""
        return json.dumps(vars(self), indent=1)


def check(path: Path, key_file: Path | None = None) -> Recipe:
    """What an archive was made from, if it is whole and, with a key, signed with it.

    Raises:
        ServeError: it is not, and why.
    """
    if not path.is_file():
        raise ServeError(f"there is no {path.name} in {path.parent}; make it with `genartisan archive`.", "archive")
    if key_file is not None:
        _check_signature(path, key_file)
    try:
        with zipfile.ZipFile(path) as file:
            recipe = Recipe(**json.loads(file.read(CONTENTS)))
            names = [name for name in file.namelist() if not name.endswith("/")]
            odd = set(names) ^ {*recipe.contents, CONTENTS, MANIFEST}
            odd |= {name for name in names if names.count(name) > 1}
            for name, digest in recipe.contents.items():
                if not odd and _digest(file.open(name), hashlib.sha256()) != digest:
                    odd.add(name)
            if json.loads(file.read(MANIFEST))["model"] != _model(recipe.version):
                odd.add(MANIFEST)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ServeError(f"{path} is not a whole archive of ours ({error}); {REMEDY}.", "archive") from error
    if odd:
        raise ServeError(
            f"{path} is not a whole archive of ours: {min(odd)} is not that of {CONTENTS}; {REMEDY}.", "archive"
        )
    return recipe


def digest_of(path: Path) -> str:
    """The SHA-256 of what an archive was made from.

    Raises:
        ServeError: as `check`.
    """
    return hashlib.sha256(check(path).text().encode()).hexdigest()


def sign(path: Path, key_file: Path) -> None:
    """Writes an archive's signature beside it."""
    write_whole(path.with_name(path.name + SIGNATURE), _signature(path, key_file) + "\n")


def _check_signature(path: Path, key_file: Path) -> None:
    signature = path.with_name(path.name + SIGNATURE)
    remedy = f"sign it with `genartisan archive --sign {key_file}`"
    try:
        found = signature.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ServeError(f"{path} has no signature, {signature.name}; {remedy}.", "require_signature") from None
    if not hmac.compare_digest(found, _signature(path, key_file)):
        raise ServeError(
            f"the signature of {path} is not that of key {str(key_file)!r}; {remedy}.", "require_signature"
        )


def _signature(path: Path, key_file: Path) -> str:
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise ServeError(f"key {str(key_file)!r} cannot be read: {error.strerror}.", "sign") from error
    if len(key) < MIN_KEY:
        raise ServeError(
            f"key {str(key_file)!r} has {len(key)} bytes; {MIN_KEY} at least: "
            "`(umask 077; openssl rand -hex 32 > FILE)` makes one.",
            "sign",
        )
    return _digest(path.open("rb"), hmac.new(key, digestmod="sha256"))


class _Hash(Protocol):
    def update(self, content: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _digest(file: IO[bytes], digest: _Hash) -> str:
    with file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _model(version: str) -> dict[str, str]:
    """What TorchServe's manifest says of the model: nothing in it may lead to other code."""
    return {"modelName": MODEL, "handler": HANDLER, "modelVersion": version, "configFile": SETTINGS}
