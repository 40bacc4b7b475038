"""Who may ask a server: the keys that TorchServe draws when it starts, and where a client finds them.

A key that was found, rather than given, is sent to the server that it is of, and to no other.
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

WRITTEN_WITHIN, POLL = 0.3, 0.02  # seconds that a new key file may take, and between two looks at it

Kind = Literal["inference", "management", "API"]  # TorchServe's names: pictures, models, new keys


@dataclass(frozen=True)
class Access:
    """A key, or the file that has it now: a server that draws a new one writes it there.

    Attributes:
        token: the key itself.
        file: TorchServe's key file. With neither no key is sent.
    """

    token: str | None = None
    file: Path | None = None

    @classmethod
    def to(cls, address: str, token: str | None = None, key_file: str | Path | None = None) -> Access:
        """The key for pictures from a server: the one given, or of the environment, or of a server started from here.

        Args:
            address: URL or HOST:PORT that will be asked.
            token, key_file: as in `Access`; else ``GENARTISAN_TOKEN`` or ``GENARTISAN_KEY_FILE`` of the environment.

        Raises:
            ServeError: the token could not stand in a header.
        """
        token = token or (None if key_file else os.environ.get(TOKEN_VARIABLE))
        if token and not re.fullmatch("[!-~]+", token):
            raise ServeError(f"token ({TOKEN_VARIABLE}) has characters that no key has; copy it anew.", "token")
        key_file = None if token else key_file or os.environ.get(FILE_VARIABLE) or _noted(address)
        return cls(token or None, None if key_file is None else Path(key_file))

    def key(self, kind: Kind = "inference") -> str | None:
        """The key now.

        Raises:
            ServeError: the file has none.
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
                    time.sleep(POLL)  # it is just being written
                    continue
                reason = error.strerror if isinstance(error, OSError) else f"it has no key for {kind}"
                raise ServeError(
                    f"key_file {str(self.file)!r} cannot be used: {reason}. Give the {KEY_FILE} of the running server.",
                    "key_file",
                ) from error

    @contextmanager
    def headers(self, kind: Kind = "inference") -> Iterator[dict[str, str]]:
        """The header that shows the key, or none; for gRPC it is metadata.

        Raises:
            AccessError: the server does not take the key.
            BusyError: it does not, and has drawn a new one in the meantime: the next attempt has that.
        """
        key = self.key(kind)
        try:
            yield {} if key is None else {"authorization": f"Bearer {key}"}
        except AccessError as error:
            deadline = time.monotonic() + WRITTEN_WITHIN  # a new key counts before it is in the file
            while self.key(kind) == key:
                if self.file is None or time.monotonic() > deadline:
                    raise
                time.sleep(POLL)
            raise BusyError("the server has a new key; try again.", "key_file") from error


def _noted(address: str) -> str | None:
    """The key file of the server that `genartisan serve` started from this folder, if it listens at this address."""
    try:
        server = noted(STATE)
    except (ServeError, OSError):  # another user's
        return None
    if server is None or _plain(address) not in (_plain(server.url), server.grpc):
        return None
    return server.keys if Path(server.keys).is_file() else None  # without authorization there is none


def _plain(address: str) -> str:
    return address.removeprefix("http://").rstrip("/").replace("localhost", "127.0.0.1")
