"""The endpoint over HTTP and gRPC: one function, one kind of answer, and the library's own errors."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from genartisan.config import check_prompt
from genartisan.endpoint import MODEL, TIMEOUT, URL
from genartisan.errors import (
    DeadlineError,
    GenartisanError,
    InputError,
    ServeError,
    TooLargeError,
    UnsupportedImageError,
)
from genartisan.events import MEDIA_TYPE as EVENTS
from genartisan.events import Event

MAX_GRPC_MESSAGE = 134_217_728  # bytes, either way, as max_request_size in config.properties; gRPC's own limit is 4 MB
ERRORS: dict[str, type[GenartisanError]] = {
    error.code: error
    for error in (GenartisanError, InputError, TooLargeError, UnsupportedImageError, DeadlineError, ServeError)
}


@dataclass(frozen=True)
class Reply:
    """What the server answered.

    Attributes:
        content: an encoded picture, or JSON text with ``photo`` (a PNG in base64) and ``report``.
        media_type: which of these it is.
    """

    content: bytes
    media_type: str


def request(
    photo: str | Path | bytes,
    prompt: str,
    *,
    mask: str | Path | bytes | None = None,
    params: dict[str, Any] | None = None,
    accept: str = "image/png",
    url: str = URL,
    grpc: str | None = None,
    timeout: float = TIMEOUT,
) -> Reply:
    """A photo styled by the server.

    Args:
        photo, mask: a path or encoded bytes.
        params: any fields of StyleConfig, plus ``preset`` and ``seed``.
        accept: the media type of the answer.
        url: of the server; not used with ``grpc``.
        grpc: HOST:PORT, to go over gRPC instead.
        timeout: seconds to wait for the answer.

    Raises:
        InputError: a file cannot be read, or the prompt is none; or the server refused the input, in its own words.
        ServeError: the server cannot be reached, is busy or does not answer.
    """
    fields = _fields(photo, prompt, mask, params)
    if grpc is not None:
        return Reply(predict(grpc, {**fields, "accept": accept.encode()}, timeout), accept)
    return _over_http(url, fields, accept, timeout)


def stream(
    photo: str | Path | bytes,
    prompt: str,
    *,
    mask: str | Path | bytes | None = None,
    params: dict[str, Any] | None = None,
    accept: str = "image/png",
    url: str = URL,
    timeout: float = TIMEOUT,
) -> Iterator[Event]:
    """The same as events, which tell how it goes while the server works; the last one is ``result``.

    Args:
        params: as for `request`, plus ``preview_every``: steps between two previews, 0 for none.
        accept: the media type of the finished picture.
        timeout: seconds to wait for each event.

    Raises:
        InputError, ServeError: as `request`, or the server failed in the midst of it.
    """
    fields = _fields(photo, prompt, mask, params)
    headers = {"Accept": f"{EVENTS}, {accept};q=0.5"}
    with (
        _transport_errors(url, timeout),
        _client(url, timeout) as http,
        http.stream("POST", _address(url), files=_parts(fields), headers=headers) as answer,
    ):
        if answer.status_code != 200:
            answer.read()
            raise _refusal(answer, url, fields)
        for line in answer.iter_lines():
            event: Event = json.loads(line)
            if event["event"] == "error":
                raise _ours(line) or ServeError(f"the server at {url} failed: {line[:200]}", "url")
            yield event
            if event["event"] == "result":
                return
    raise ServeError(f"the server at {url} ended the stream without a result; its log says why.", "url")


def predict(address: str, fields: dict[str, bytes], timeout: float = TIMEOUT) -> bytes:
    """One gRPC ``Predictions`` call at HOST:PORT.

    Raises:
        GenartisanError: as `request`.
    """
    try:
        import grpc

        from genartisan.inference_grpc import METHOD, decode_response, encode_request
    except ImportError as error:
        raise ServeError(f"gRPC needs {error.name}: pip install 'genartisan[serve]'.", "grpc") from error
    limits = [(f"grpc.max_{way}_message_length", MAX_GRPC_MESSAGE) for way in ("send", "receive")]
    try:
        address.encode()
    except UnicodeError as error:
        raise ServeError(f"grpc is {address!r}; write HOST:PORT.", "grpc") from error
    with grpc.insecure_channel(address, options=[*limits, ("grpc.enable_http_proxy", 0)]) as channel:
        try:
            call = channel.unary_unary(METHOD)  # bytes in, bytes out
            return decode_response(call(encode_request(MODEL, fields), timeout=timeout))
        except grpc.RpcError as error:
            raise from_rpc(error.code().name, error.details() or "", address, timeout) from error


def from_rpc(code: str, details: str, address: str, timeout: float) -> GenartisanError:
    """The error that a gRPC status stands for. Ours carry the HTTP body in the second line of their details."""
    for line in details.splitlines()[1:]:
        error = _ours(line)
        if error is not None:
            return error
    reason = details.splitlines()[0] if details else code
    if "no worker" in reason:  # TorchServe's words for a full queue or a worker that is not up
        return ServeError(f"the server at {address} is busy or not ready: {reason} Try again later.", "grpc")
    if code == "UNAVAILABLE":
        return _unreachable(address, reason, "grpc")
    if code == "DEADLINE_EXCEEDED":
        return _late(address, timeout)
    if code in ("CANCELLED", "RESOURCE_EXHAUSTED"):
        return TooLargeError(f"the request is larger than the server takes ({reason}); send a smaller photo.", "photo")
    return ServeError(f"the server at {address} answered {code}: {reason}", "grpc")


def _over_http(url: str, fields: dict[str, bytes], accept: str, timeout: float) -> Reply:
    with _transport_errors(url, timeout), _client(url, timeout) as http:
        answer = http.post(_address(url), files=_parts(fields), headers={"Accept": accept})
    if answer.status_code == 200:
        return Reply(answer.content, answer.headers.get("content-type", accept))
    raise _refusal(answer, url, fields)


def _fields(
    photo: str | Path | bytes, prompt: str, mask: str | Path | bytes | None, params: dict[str, Any] | None
) -> dict[str, bytes]:
    """The request's fields, as in a form."""
    fields = {"photo": _content(photo, "photo"), "prompt": check_prompt(prompt).encode()}
    if mask is not None:
        fields["mask"] = _content(mask, "mask")
    if params is not None:
        fields["params"] = json.dumps(params).encode()
    return fields


def _parts(fields: dict[str, bytes]) -> dict[str, tuple[str, bytes, str]]:
    return {name: (name, content, "application/octet-stream") for name, content in fields.items()}


def _address(url: str) -> str:
    return f"{url.rstrip('/')}/predictions/{MODEL}"


def _client(url: str, timeout: float) -> httpx.Client:
    proxies = not _is_here(httpx.URL(url).host)  # HTTP_PROXY and the like are not for this machine
    return httpx.Client(timeout=httpx.Timeout(timeout, connect=10), trust_env=proxies)


@contextmanager
def _transport_errors(url: str, timeout: float) -> Iterator[None]:
    """Turns httpx's errors into ours."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise ServeError(f"url is {url!r}: {str(error).rstrip('.')}. Write it as in {URL}.", "url") from error
    except httpx.ReadTimeout as error:
        raise _late(url, timeout) from error
    except httpx.RemoteProtocolError as error:
        raise ServeError(f"the server at {url} broke off its answer ({error}); its log says why.", "url") from error
    except httpx.TransportError as error:
        raise _unreachable(url, str(error) or type(error).__name__, "url") from error


def _refusal(answer: httpx.Response, url: str, fields: dict[str, bytes]) -> GenartisanError:
    """The error in an answer whose status is not 200."""
    refusal = _ours(answer.text)
    if refusal is not None:
        return refusal
    if answer.status_code == 413:  # from TorchServe, before the handler; its body is empty
        size = sum(map(len, fields.values()))
        return TooLargeError(
            f"the request has {size:,} bytes, more than the server takes; send a smaller photo.", "photo"
        )
    if answer.status_code == 503:
        return ServeError(f"the server at {url} is busy or not ready: {_message(answer)} Try again later.", "url")
    return ServeError(f"the server at {url} answered {answer.status_code}: {_message(answer)}", "url")


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ours(text: str) -> GenartisanError | None:
    """The error in a body ``{"error": {code, message, field}}``; None if it is no such body."""
    try:
        body = json.loads(text)["error"]
        return ERRORS.get(body["code"], GenartisanError)(body["message"], body["field"])
    except (ValueError, KeyError, TypeError):
        return None


def _message(answer: httpx.Response) -> str:
    """What TorchServe itself says in an error of its own."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase


def _unreachable(where: str, reason: str, field: str) -> ServeError:
    remedy = "start one with `genartisan serve`, or correct the address"
    return ServeError(f"no server answers at {where} ({reason}); {remedy}.", field)


def _late(where: str, timeout: float) -> ServeError:
    return ServeError(
        f"no answer from {where} within {timeout:g} s; raise the timeout, or lower steps or size.", "timeout"
    )


def _content(source: str | Path | bytes, field: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{field} {str(source)!r} cannot be read: {error.strerror}.", field) from error
