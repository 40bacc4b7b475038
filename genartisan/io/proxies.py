"""The proxies that the environment names, which httpx reads when a client is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from genartisan.errors import GenartisanError

VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")  # or in lower case


@contextmanager
def proxy_errors(kind: type[GenartisanError]) -> Iterator[None]:
    """Turns what is wrong with them into an error of ours; a proxy's address, which may hold a password, is not told.

    Raises:
        GenartisanError: of that ``kind``.
    """
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        names = [name for upper in VARIABLES for name in (upper, upper.lower()) if os.environ.get(name)]
        if isinstance(error, ImportError):
            reason = "a SOCKS proxy, for which socksio is not installed; get it with: pip install 'genartisan[socks]'"
        else:
            reason = "no proxy that can be used; write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
        message = f"the environment ({', '.join(names)}) names {reason}. Or unset it, where none is needed."
        raise kind(message, names[0] if names else None) from error
