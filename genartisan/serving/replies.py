"""What a server's answer means: the picture, or one of our own errors, over HTTP and gRPC alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from genartisan.errors import (
    AccessError,
    BusyError,
    DeadlineError,
    GenartisanError,
    InputError,
    LateError,
    ServeError,
    TooLargeError,
    UnsupportedEncodingError,
    UnsupportedImageError,
)
from genartisan.serving.access import FILE_VARIABLE, TOKEN_VARIABLE
from genartisan.serving.defaults import URL
from genartisan.serving.events import Event

ERRORS: dict[str, type[GenartisanError]] = {
    error.code: error
    for error in (
        GenartisanError, InputError, TooLargeError, UnsupportedImageError, UnsupportedEncodingError, DeadlineError,
        ServeError,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What the server answered.

    Attributes:
        content: an encoded picture, or JSON text with ``photo`` (a picture in base64) and ``report``.
        media_type: which of these it is.
    """

    content: bytes
    media_type: str


def read_reply(answer: httpx.Response, url: str, accept: str) -> Reply:
    """The reply in an answer over HTTP.

    Raises:
        GenartisanError: it is none, in the server's own words.
    """
    if answer.status_code == 200:
        return Reply(answer.content, answer.headers.get("content-type", accept))
    raise refusal(answer, url)


def read_event(line: str, url: str) -> Event:
    """One line of a stream.

    Raises:
        GenartisanError: it tells of one.
    """
    event: Event = json.loads(line)
    if event["event"] == "error":
        raise ours(line) or ServeError(f"the server at {url} failed: {line[:200]}", "url")
    return event


def cut_off(url: str) -> ServeError:
    """The error of a stream without an end."""
    return ServeError(f"the server at {url} ended the stream without a result; its log says why.", "url")


def refusal(answer: httpx.Response, url: str) -> GenartisanError:
    """The error in an answer whose status is not 200."""
    error = ours(answer.text)
    if error is not None:
        return error
    if answer.status_code == 401 or _type(answer) == "InvalidKeyException":  # 401 and 429 are a proxy's
        return denied(url, "url")
    if answer.status_code == 413:  # from TorchServe, before the handler; its body is empty
        size = int(answer.request.headers.get("content-length", 0))
        reason = f"the request has {size:,} bytes, more than the server takes"
        return TooLargeError(f"{reason}; send a smaller photo.", "photo")
    if answer.status_code in (429, 503):
        return busy(url, _message(answer), "url")
    return ServeError(f"the server at {url} answered {answer.status_code}: {_message(answer)}", "url")


def from_rpc(code: str, details: str, address: str, timeout: float) -> GenartisanError:
    """The error that a gRPC status stands for. Ours carry the HTTP body in the second line of their details."""
    for line in details.splitlines()[1:]:
        error = ours(line)
        if error is not None:
            return error
    reason = details.splitlines()[0] if details else code
    if "no worker" in reason:  # TorchServe's words for a full queue or a worker that is not up
        return busy(address, reason, "grpc")
    if code == "PERMISSION_DENIED":
        return denied(address, "grpc")
    if code == "UNAVAILABLE":
        return unreachable(address, reason, "grpc")
    if code == "DEADLINE_EXCEEDED":
        return late(address, timeout)
    if code in ("CANCELLED", "RESOURCE_EXHAUSTED") and "Worker died" not in reason:
        return TooLargeError(f"the request is larger than the server takes ({reason}); send a smaller photo.", "photo")
    return ServeError(f"the server at {address} answered {code}: {reason}", "grpc")


@contextmanager
def transport_errors(url: str, timeout: float) -> Iterator[None]:
    """Turns httpx's errors into ours."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise ServeError(f"url is {url!r}: {str(error).rstrip('.')}. Write it as in {URL}.", "url") from error
    except httpx.ReadTimeout as error:
        raise late(url, timeout) from error
    except httpx.RemoteProtocolError as error:
        raise ServeError(f"the server at {url} broke off its answer ({error}); its log says why.", "url") from error
    except httpx.TransportError as error:
        raise unreachable(url, str(error) or type(error).__name__, "url") from error


def ours(text: str) -> GenartisanError | None:
    """The error in a body ``{"error": {code, message, field}}``; None if it is no such body."""
    try:
        body = json.loads(text)["error"]
        return ERRORS.get(body["code"], GenartisanError)(body["message"], body["field"])
    except (ValueError, KeyError, TypeError):
        return None


def denied(where: str, field: str) -> AccessError:
    """It wants a key, or another one."""
    return AccessError(
        f"the server at {where} takes no request without a valid key; give its key file (--key-file, or "
        f"{FILE_VARIABLE} in the environment) or the key itself ({TOKEN_VARIABLE}).",
        field,
    )


def busy(where: str, reason: str, field: str) -> BusyError:
    """The queue is full, no worker is up, or we ask too often."""
    return BusyError(f"the server at {where} is busy or not ready: {reason.rstrip('.')}. Try again later.", field)


def unreachable(where: str, reason: str, field: str) -> ServeError:
    """Nothing listens there."""
    remedy = "start one with `genartisan serve`, or correct the address"
    return ServeError(f"no server answers at {where} ({reason}); {remedy}.", field)


def late(where: str, timeout: float) -> LateError:
    """It listens, and does not answer."""
    return LateError(
        f"no answer from {where} within {timeout:g} s; raise the timeout, or lower steps or size.", "timeout"
    )


def _message(answer: httpx.Response) -> str:
    """What TorchServe itself, or a proxy before it, says in an error of its own."""
    page = "html" in answer.headers.get("content-type", "")  # a proxy's, which says no more than the status
    return _told(answer, "message") or ("" if page else answer.text[:200]) or answer.reason_phrase


def _type(answer: httpx.Response) -> str:
    """TorchServe's name for the kind of its error."""
    return _told(answer, "type")


def _told(answer: httpx.Response, name: str) -> str:
    try:
        return str(answer.json()[name])
    except (ValueError, KeyError, TypeError):
        return ""
