"""Integrity and signature of an archive.

Every file in it, code and weights, is checked against its list of contents. The list comes with the archive, so it
reveals damage and added or replaced files, but not an attacker who rewrites the list too. The signature does: an HMAC
of the whole file, stored beside it, with a key shared by those who build archives and those who serve them.
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
from genartisan.serving.defaults import CONTROL, MODEL

HANDLERS = {MODEL: "genartisan_handler.py", CONTROL: "control_handler.py"}  # in handlers/
SETTINGS = "model-config.yaml"
CONTENTS = "contents.json"  # in the archive: its `Recipe`
MANIFEST = "MAR-INF/MANIFEST.json"  # in the archive: TorchServe's manifest
SIGNATURE = ".sig"  # suffix of the signature file
MIN_KEY = 32  # bytes
REMEDY = "rebuild it with `genartisan archive`"


@dataclass(frozen=True)
class Recipe:
    """What an archive was built from.

    Attributes:
        version: model version.
        request_bytes: the largest request within its limits; sets the server's own limit.
        contents: SHA-256 in hexadecimal of each file by name.
    """

    version: str
    request_bytes: int
    contents: dict[str, str]

    def text(self) -> str:
        """The JSON stored in the archive."""
        return json.dumps(vars(self), indent=1)


def check(path: Path, key_file: Path | None = None, model: str = MODEL) -> Recipe:
    """The recipe of an intact archive of a model, which with a key must carry its signature.

    Raises:
        ServeError: the archive is damaged, altered or not signed with the key.
    """
    if not path.is_file():
        raise ServeError(f"there is no {path.name} in {path.parent}; build it with `genartisan archive`.", "archive")
    if key_file is not None:
        _check_signature(path, key_file)
    try:
        with zipfile.ZipFile(path) as file:
            recipe = Recipe(**json.loads(file.read(CONTENTS)))
            names = [name for name in file.namelist() if not name.endswith("/")]
            mismatched = set(names) ^ {*recipe.contents, CONTENTS, MANIFEST}
            mismatched |= {name for name in names if names.count(name) > 1}
            for name, digest in recipe.contents.items():
                if not mismatched and _digest(file.open(name), hashlib.sha256()) != digest:
                    mismatched.add(name)
            if json.loads(file.read(MANIFEST))["model"] != _model(model, recipe.version):
                mismatched.add(MANIFEST)
    except (OSError, LookupError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ServeError(f"{path} is not an intact archive ({error}); {REMEDY}.", "archive") from error
    if mismatched:
        raise ServeError(
            f"{path} is not an intact archive: {min(mismatched)} does not match {CONTENTS}; {REMEDY}.", "archive"
        )
    return recipe


def digest_of(path: Path) -> str:
    """The SHA-256 of an archive's recipe.

    Raises:
        ServeError: as in `check`.
    """
    return hashlib.sha256(check(path).text().encode()).hexdigest()


def sign(path: Path, key_file: Path) -> None:
    """Writes an archive's signature beside it."""
    write_whole(path.with_name(path.name + SIGNATURE), _signature(path, key_file) + "\n")


def _check_signature(path: Path, key_file: Path) -> None:
    signature = path.with_name(path.name + SIGNATURE)
    remedy = f"sign it with `genartisan archive --sign {key_file}`"
    try:
        recorded = signature.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise ServeError(f"{path} has no signature, {signature.name}; {remedy}.", "require_signature") from None
    if not hmac.compare_digest(recorded, _signature(path, key_file)):
        raise ServeError(
            f"the signature of {path} does not match key {str(key_file)!r}; {remedy}.", "require_signature"
        )


def _signature(path: Path, key_file: Path) -> str:
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise ServeError(f"key {str(key_file)!r} cannot be read: {error.strerror}.", "sign") from error
    if len(key) < MIN_KEY:
        raise ServeError(
            f"key {str(key_file)!r} has {len(key)} bytes; it needs at least {MIN_KEY}: "
            "make one with `(umask 077; openssl rand -hex 32 > FILE)`.",
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


def _model(model: str, version: str) -> dict[str, str]:
    """The model entry of TorchServe's manifest, in full, so that it cannot point at other code."""
    return {"modelName": model, "handler": HANDLERS[model], "modelVersion": version, "configFile": SETTINGS}
