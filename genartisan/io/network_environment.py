"""Errors about proxies and certificates that the environment names, which httpx reads when a client is created."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from genartisan.errors import GenartisanError

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")  # or in lower case
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # authorities to trust instead of certifi's


@contextmanager
def environment_errors(kind: type[GenartisanError]) -> Iterator[None]:
    """Turns invalid proxies and certificates into an error of ``kind``.

    Raises:
        GenartisanError: of that ``kind``; a proxy's address may hold a password and is omitted.
    """
    try:
        yield
    except OSError as error:
        name = next((name for name in CERTIFICATES if os.environ.get(name)), None)
        if name is None:
            raise
        reason = error.strerror or str(error)
        raise kind(
            f"The environment ({name}) names {os.environ[name]!r}: {reason}. Give a PEM file of the "
            "authorities to trust, or unset it.",
            name,
        ) from error
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        names = [name for upper in PROXIES for name in (upper, upper.lower()) if os.environ.get(name)]
        if isinstance(error, ImportError):
            reason = "a SOCKS proxy, which needs socksio; run: pip install 'genartisan[socks]'"
        else:
            reason = "an invalid proxy; use http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
        message = f"The environment ({', '.join(names)}) names {reason}. Or unset it if no proxy is needed."
        raise kind(message, names[0] if names else None) from error
