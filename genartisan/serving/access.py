"""Access keys, which TorchServe generates at start, and where a client finds them.

A key from a state folder is sent only to the server of that folder.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genartisan.errors import AccessError, BusyError, ServeError
from genartisan.serving.defaults import STATE
from genartisan.serving.state import KEY_FILE, noted

TOKEN_VARIABLE, FILE_VARIABLE = "GENARTISAN_TOKEN", "GENARTISAN_KEY_FILE"

WRITTEN_WITHIN, POLL = 0.3, 0.02  # seconds for a new key file to be complete, and between polls

Kind = Literal["inference", "management", "API"]  # TorchServe's names; API rotates the other two


@dataclass(frozen=True)
class Access:
    """A key, or the key file to read it from each time, since the server rewrites it on rotation.

    Attributes:
        token: the key itself.
        file: TorchServe's key file. With neither, no key is sent.
    """

    token: str | None = None
    file: Path | None = None

    @classmethod
    def to(cls, address: str, token: str | None = None, key_file: str | Path | None = None) -> Access:
        """The inference key for a server: as given, or from the environment, or from ``.serve`` in this folder.

        Args:
            address: the server's URL or HOST:PORT.
            token, key_file: as in `Access`; by default from ``GENARTISAN_TOKEN`` or ``GENARTISAN_KEY_FILE``.

        Raises:
            ServeError: the token cannot be sent in a header.
        """
        token = token or (None if key_file else os.environ.get(TOKEN_VARIABLE))
        if token and not re.fullmatch("[!-~]+", token):
            raise ServeError(
                f"token ({TOKEN_VARIABLE}) has spaces or non-ASCII characters; copy the key again.", "token"
            )
        key_file = None if token else key_file or os.environ.get(FILE_VARIABLE) or _local_key_file(address)
        return cls(token or None, None if key_file is None else Path(key_file))

    def key(self, kind: Kind = "inference") -> str | None:
        """The current key.

        Raises:
            ServeError: the file has no such key.
        """
        if self.token is not None or self.file is None:
            return self.token
        deadline = time.monotonic() + WRITTEN_WITHIN
        while True:
            try:
                key: str = json.loads(self.file.read_text(encoding="utf-8"))[kind]["key"]
                return key
            except (OSError, ValueError, KeyError, TypeError) as error:
                if isinstance(error, ValueError) and time.monotonic() < deadline:
                    time.sleep(POLL)  # the server is writing it
                    continue
                reason = error.strerror if isinstance(error, OSError) else f"it has no key for {kind}"
                raise ServeError(
                    f"key_file {str(self.file)!r} cannot be used: {reason}. Give the {KEY_FILE} of the running server.",
                    "key_file",
                ) from error

    @contextmanager
    def headers(self, kind: Kind = "inference") -> Iterator[dict[str, str]]:
        """The authorization header, or gRPC metadata; empty without a key.

        Raises:
            AccessError: the server rejects the key.
            BusyError: the key was rotated meanwhile; a retry uses the new one.
        """
        key = self.key(kind)
        try:
            yield {} if key is None else {"authorization": f"Bearer {key}"}
        except AccessError as error:
            deadline = time.monotonic() + WRITTEN_WITHIN  # a new key is valid before it is in the file
            while self.key(kind) == key:
                if self.file is None or time.monotonic() > deadline:
                    raise
                time.sleep(POLL)
            raise BusyError("the server has a new key; try again.", "key_file") from error


def _local_key_file(address: str) -> str | None:
    """The key file of the server started from this folder, if it listens at this address."""
    try:
        server = noted(STATE)
    except (ServeError, OSError):  # it belongs to another user
        return None
    if server is None or _plain(address) not in (_plain(server.url), server.grpc):
        return None
    return server.keys if Path(server.keys).is_file() else None  # there is none if keys are disabled


def _plain(address: str) -> str:
    return address.removeprefix("http://").rstrip("/").replace("localhost", "127.0.0.1")
