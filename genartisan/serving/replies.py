"""What a server's answer means: a picture, or one of our errors; over HTTP and gRPC alike."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from genartisan.errors import (
    AccessError,
    BusyError,
    CancelledError,
    DeadlineError,
    DisconnectedError,
    GenartisanError,
    InputError,
    LateError,
    NoModelError,
    ServeError,
    TooLargeError,
    UnknownRequestError,
    UnsupportedEncodingError,
    UnsupportedImageError,
    WorkerDiedError,
)
from genartisan.serving.access import FILE_VARIABLE, TOKEN_VARIABLE
from genartisan.serving.defaults import URL, WARNINGS
from genartisan.serving.events import Event

ERRORS: dict[str, type[GenartisanError]] = {
    error.code: error
    for error in (
        GenartisanError, InputError, TooLargeError, UnsupportedImageError, UnsupportedEncodingError, DeadlineError,
        ServeError, BusyError, CancelledError, UnknownRequestError,
    )
}  # fmt: skip


DIED = "Worker died"  # in TorchServe's message


@dataclass(frozen=True)
class Reply:
    """A successful answer.

    Attributes:
        content: an encoded picture, or JSON text with ``photo`` (a picture in base64) and ``report``.
        media_type: the media type of the content.
        warnings: of a picture over HTTP; JSON has them in its report.
    """

    content: bytes
    media_type: str
    warnings: tuple[str, ...] = ()


def read_reply(answer: httpx.Response, url: str, accept: str) -> Reply:
    """The reply in an answer over HTTP.

    Raises:
        GenartisanError: the server refused or failed, with its message.
    """
    if answer.status_code == 200:
        return Reply(answer.content, answer.headers.get("content-type", accept), warnings_of(answer))
    raise refusal(answer, url)


def warnings_of(answer: httpx.Response) -> tuple[str, ...]:
    """What the header `WARNINGS` says."""
    try:
        return tuple(map(str, json.loads(answer.headers.get(WARNINGS, "[]"))))
    except (ValueError, TypeError):  # a proxy cut it
        return ()


def read_event(line: str, url: str) -> Event:
    """One line of a stream.

    Raises:
        GenartisanError: the event is an ``error``.
    """
    event: Event = json.loads(line)
    if event["event"] == "error":
        raise our_error(line) or ServeError(f"the server at {url} failed: {line[:200]}", "url")
    return event


def read_progress(content: bytes, url: str) -> Event:
    """How far a request is.

    Raises:
        ServeError: it is not JSON, so not from our server.
    """
    try:
        progress: Event = json.loads(content)
    except ValueError as error:
        raise ServeError(f"the server at {url} answered {content[:80]!r}, which is not JSON.", "url") from error
    return progress


def cut_off(url: str) -> ServeError:
    """The error of a stream that ends without a result."""
    return ServeError(f"the server at {url} ended the stream without a result; its log says why.", "url")


def refusal(answer: httpx.Response, url: str) -> GenartisanError:
    """The error in an answer whose status is not 200."""
    error = our_error(answer.text)
    if isinstance(error, BusyError):
        error.retry_after = retry_after(answer.headers.get("retry-after", ""))
    if error is not None:
        return error
    if answer.status_code == 401 or _field(answer, "type") == "InvalidKeyException":  # 401 and 429 come from a proxy
        return denied(url, "url")
    if answer.status_code == 413:  # from TorchServe, before the handler; its body is empty
        size = int(answer.request.headers.get("content-length", 0))
        reason = f"the request has {size:,} bytes, more than the server accepts"
        return TooLargeError(f"{reason}; send a smaller photo.", "photo")
    if answer.status_code in (429, 503):
        return busy(url, _message(answer), "url", retry_after(answer.headers.get("retry-after", "")))
    message = _message(answer)
    kind = NoModelError if answer.status_code == 404 else WorkerDiedError if DIED in message else ServeError
    return kind(f"the server at {url} answered {answer.status_code}: {message}", "url")


def from_rpc(code: str, details: str, address: str, timeout: float) -> GenartisanError:
    """The error of a gRPC status. Ours carry the HTTP body in the second line of their details."""
    for line in details.splitlines()[1:]:
        error = our_error(line)
        if error is not None:
            return error
    reason = details.splitlines()[0] if details else code
    if "no worker" in reason:  # TorchServe's message for a full queue or a missing worker
        return busy(address, reason, "grpc")
    if code == "PERMISSION_DENIED":
        return denied(address, "grpc")
    if code == "UNAVAILABLE":
        return unreachable(address, reason, "grpc")
    if code == "DEADLINE_EXCEEDED":
        return late(address, timeout)
    if code in ("CANCELLED", "RESOURCE_EXHAUSTED") and DIED not in reason:
        return TooLargeError(f"the request exceeds the server's limit ({reason}); send a smaller photo.", "photo")
    no_model = reason.startswith("Model not found")  # TorchServe's code for it is INTERNAL
    kind = NoModelError if no_model else WorkerDiedError if DIED in reason else ServeError
    return kind(f"the server at {address} answered {code}: {reason}", "grpc")


@contextmanager
def transport_errors(url: str, timeout: float) -> Iterator[None]:
    """Turns httpx's errors into ours."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise ServeError(f"url is {url!r}: {str(error).rstrip('.')}. Write it as in {URL}.", "url") from error
    except httpx.ReadTimeout as error:
        raise late(url, timeout) from error
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
        reason = str(error) or type(error).__name__
        raise DisconnectedError(
            f"the server at {url} closed the connection without a whole answer ({reason}); its log says why.", "url"
        ) from error
    except httpx.TransportError as error:
        raise unreachable(url, str(error) or type(error).__name__, "url") from error


def our_error(text: str) -> GenartisanError | None:
    """The error in a body ``{"error": {code, message, field}}``; None for any other body."""
    try:
        body = json.loads(text)["error"]
        return ERRORS.get(body["code"], GenartisanError)(body["message"], body["field"])
    except (ValueError, KeyError, TypeError):
        return None


def denied(where: str, field: str) -> AccessError:
    """The key is missing or invalid."""
    return AccessError(
        f"the server at {where} accepts no request without a valid key; give its key file (--key-file, or "
        f"{FILE_VARIABLE} in the environment) or the key itself ({TOKEN_VARIABLE}).",
        field,
    )


def busy(where: str, reason: str, field: str, seconds: float | None = None) -> BusyError:
    """The queue is full, no worker is up, or requests come too fast.

    Args:
        seconds: after which the server wants to be asked again, if it says so.
    """
    when = "later" if seconds is None else f"in {seconds:.0f} s"
    reason = f"the server at {where} is busy or not ready: {reason.rstrip('.')}"
    return BusyError(f"{reason}. Try again {when}.", field, seconds)


def retry_after(value: str) -> float | None:
    """The seconds that a header ``Retry-After`` asks for, as a number or a date; None if it is neither."""
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def unreachable(where: str, reason: str, field: str) -> ServeError:
    """Nothing listens at the address, or its certificate is not trusted."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        remedy = "name the PEM file of its authority in SSL_CERT_FILE"
        return ServeError(f"the certificate of {where} is not trusted ({reason}); {remedy}.", field)
    remedy = "start one with `genartisan serve`, or correct the address"
    return ServeError(f"no server answers at {where} ({reason}); {remedy}.", field)


def late(where: str, timeout: float) -> LateError:
    """The server accepts the connection and does not answer in time."""
    return LateError(
        f"no answer from {where} within {timeout:g} s; raise the timeout, or lower steps or size.", "timeout"
    )


def _message(answer: httpx.Response) -> str:
    """The message of TorchServe, or of a proxy in front of it."""
    is_page = "html" in answer.headers.get("content-type", "")  # a proxy's page says no more than its status
    return _field(answer, "message") or ("" if is_page else answer.text[:200]) or answer.reason_phrase


def _field(answer: httpx.Response, name: str) -> str:
    """A field of TorchServe's own error; empty for any other body."""
    try:
        return str(answer.json()[name])
    except (ValueError, KeyError, TypeError):
        return ""
