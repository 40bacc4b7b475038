"""Errors about the proxy variables of the environment, which httpx reads when a client is created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from genartisan.errors import GenartisanError

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")  # or in lower case


@contextmanager
def proxy_errors(kind: type[GenartisanError]) -> Iterator[None]:
    """Turns invalid proxy settings into an error of ``kind``; the proxy's address may hold a password and is omitted.

    Raises:
        GenartisanError: of that ``kind``.
    """
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        names = [name for upper in VARIABLES for name in (upper, upper.lower()) if os.environ.get(name)]
        if isinstance(error, ImportError):
            reason = "a SOCKS proxy, which needs socksio; run: pip install 'genartisan[socks]'"
        else:
            reason = "an invalid proxy; use http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
        message = f"The environment ({', '.join(names)}) names {reason}. Or unset it if no proxy is needed."
        raise kind(message, names[0] if names else None) from error
