"""What a request's headers say beside ``Accept``: when it set out, and whether its body is as it was written.

TorchServe stamps no arrival. So the time in its queue is known where the sender, or the proxy in front, says when the
request set out, in the header that Heroku, nginx and Rails use for it: ``X-Request-Start: t=SECONDS``.
"""

from __future__ import annotations

import re
import time

from genartisan.errors import InputError, UnsupportedEncodingError
from genartisan.validation import shown

REQUEST_START = "x-request-start"  # over gRPC, which has no headers here, a field of this name
STAMP = re.compile(r"(?:t=)?(\d{1,20}(?:\.\d{1,9})?)")
UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))  # below the first a number counts seconds, then ms, then µs, since 1970


def request_start() -> str:
    """The stamp of a request that sets out now."""
    return f"t={time.time():.3f}"


def seconds_waited(stamp: object) -> float | None:
    """Seconds since a request set out, 0 if its clock is ahead of ours; None where nobody said.

    Args:
        stamp: ``t=`` and the time since 1970 in seconds, milliseconds or microseconds; text or bytes.

    Raises:
        InputError: it is no such time.
    """
    if stamp is None:
        return None
    text = stamp.decode(errors="replace") if isinstance(stamp, bytes | bytearray) else stamp
    match = STAMP.fullmatch(text.strip()) if isinstance(text, str) else None
    unit = next((unit for limit, unit in UNITS if float(match[1]) < limit), None) if match else None
    if match is None or unit is None:
        raise InputError(
            f"{REQUEST_START} is {shown(text)}; give the seconds since 1970, as in t=1700000000.123, or leave it out.",
            REQUEST_START,
        )
    return max(0.0, time.time() - float(match[1]) / unit)


def check_encoding(encoding: str | None) -> None:
    """Refuses a body that is compressed.

    Args:
        encoding: the header ``Content-Encoding``.

    Raises:
        UnsupportedEncodingError: it is anything but ``identity``.
    """
    if encoding and encoding.strip().lower() != "identity":
        raise UnsupportedEncodingError(
            f"content-encoding is {shown(encoding)}; the server unpacks no body. Send it as it is, without this "
            "header; pictures are compressed already.",
            "content-encoding",
        )
