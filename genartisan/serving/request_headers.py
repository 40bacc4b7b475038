"""Request headers besides ``Accept``: id, sender, when it was sent, and whether the body is compressed.

TorchServe does not record when a request arrives. So the time in its queue is known only if the sender, or a proxy,
stamps the request, with the header of Heroku, nginx and Rails: ``X-Request-Start: t=SECONDS``.
"""

from __future__ import annotations

import re
import secrets
import time

from genartisan.errors import InputError, UnsupportedEncodingError
from genartisan.validation import shown

# Over gRPC, where TorchServe passes no headers on, these are fields.
REQUEST_START, REQUEST_ID, AUTHORIZATION = "x-request-start", "x-request-id", "authorization"
TRACE_CONTEXT = ("traceparent", "tracestate")  # of W3C
CALLER = "x-genartisan-caller"  # by a proxy whose callers share the server's key
MAX_ID = 128  # characters
ID = re.compile(rf"[!-~]{{1,{MAX_ID}}}")
STAMP = re.compile(r"(?:t=)?(\d{1,20}(?:\.\d{1,9})?)")
UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))  # a time since 1970 below these is in s, ms, µs


def new_request_id() -> str:
    """An id that cannot be guessed."""
    return secrets.token_urlsafe(24)


def check_request_id(value: object, field: str = REQUEST_ID) -> str:
    """A request's id, chosen by its sender; text or bytes.

    Args:
        field: that it was sent in.

    Raises:
        InputError: it is malformed.
    """
    text = as_text(value)
    if not isinstance(text, str) or not ID.fullmatch(text):
        raise InputError(
            f"{field} is {shown(text)}; give 1 to {MAX_ID} printable ASCII characters without spaces, such as a UUID.",
            field,
        )
    return text


def as_text(value: object) -> object:
    """Bytes as text; anything else as it is."""
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else value


def request_start() -> str:
    """The stamp of a request that is sent now."""
    return f"t={time.time():.3f}"


def seconds_waited(stamp: object) -> float | None:
    """Seconds since a request was sent, 0 if the sender's clock is ahead of ours; None without a stamp.

    Args:
        stamp: ``t=`` and the time since 1970 in seconds, milliseconds or microseconds; text or bytes.

    Raises:
        InputError: the stamp is malformed.
    """
    if stamp is None:
        return None
    text = as_text(stamp)
    match = STAMP.fullmatch(text.strip()) if isinstance(text, str) else None
    unit = next((unit for limit, unit in UNITS if float(match[1]) < limit), None) if match else None
    if match is None or unit is None:
        raise InputError(
            f"{REQUEST_START} is {shown(text)}; give the seconds since 1970, as in t=1700000000.123, or leave it out.",
            REQUEST_START,
        )
    return max(0.0, time.time() - float(match[1]) / unit)


def check_encoding(encoding: str | None) -> None:
    """Refuses a compressed body.

    Args:
        encoding: the header ``Content-Encoding``.

    Raises:
        UnsupportedEncodingError: it is not ``identity``.
    """
    if encoding and encoding.strip().lower() != "identity":
        raise UnsupportedEncodingError(
            f"content-encoding is {shown(encoding)}; the server does not decompress bodies. Send the request "
            "without this header, uncompressed; pictures are compressed already.",
            "content-encoding",
        )
