"""The calls of the endpoint, described once for both clients: their fields, headers and retries."""

from __future__ import annotations

import ipaddress
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from genartisan.errors import BusyError, InputError, LateError
from genartisan.serving.access import Access
from genartisan.serving.defaults import MODEL, TIMEOUT, URL
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.replies import transport_errors
from genartisan.serving.request_headers import REQUEST_START, request_start
from genartisan.validation import check_prompt

CONNECT = 10.0  # seconds to wait for a connection
RETRIES, LONGEST_PAUSE = 4, 20.0  # seconds
BACKOFF = wait_random_exponential(1, LONGEST_PAUSE)

Source = str | Path | bytes  # a path or encoded bytes
Pictures = Source | Mapping[str, Source]  # one, or several by the names of their regions
R = TypeVar("R")  # a reply, or what has to be awaited for it
E = TypeVar("E")  # a stream of events


@dataclass(frozen=True)
class Call:
    """One request to the endpoint.

    Attributes:
        path: ``predictions`` or ``explanations``.
        fields: the fields of the form.
        accept: the header ``Accept``.
    """

    path: str
    fields: dict[str, bytes]
    accept: str

    def http(self, url: str, key: Mapping[str, str]) -> dict[str, Any]:
        """One attempt over HTTP, as the arguments of httpx's ``build_request``."""
        return {
            "method": "POST",
            "url": f"{url.rstrip('/')}/{self.path}/{MODEL}",
            "files": {name: (name, content, "application/octet-stream") for name, content in self.fields.items()},
            "headers": {"Accept": self.accept, **key, REQUEST_START: request_start()},
        }

    def grpc(self) -> dict[str, bytes]:
        """One attempt over gRPC, as the map of inputs: TorchServe forwards no metadata."""
        return {**self.fields, "accept": self.accept.encode(), REQUEST_START: request_start().encode()}


class Endpoint(ABC, Generic[R, E]):
    """A server's endpoint. A client keeps its connections until it is closed, and is a context manager.

    Each method raises InputError and its subclasses for what the server refuses, with the server's message;
    DeadlineError, BusyError and LateError; and ServeError for any other failure.

    Args:
        url: the server's HTTP endpoint.
        grpc: HOST:PORT, to call `stylize` over gRPC instead; streams and explanations use HTTP.
        timeout: seconds to wait for an answer; in a stream, for each event.
        retries: how often to send a request again if the server is busy or does not answer in time. The pauses grow
            exponentially, with jitter; a server's ``Retry-After`` takes precedence, unless it exceeds ``timeout``.
            Requests have no side effects, so repeating one is safe.
        token, key_file: the server's inference key, or the file that holds it. By default from the environment
            (``GENARTISAN_TOKEN``, ``GENARTISAN_KEY_FILE``), or of the server that was started from this folder.
        transport: httpx's transport, such as one with a proxy or a Unix socket.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        grpc: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        token: str | None = None,
        key_file: str | Path | None = None,
        transport: Any = None,
    ) -> None:
        self.url, self.grpc, self.timeout = url, grpc, timeout
        self._access = Access.to(url, token, key_file)
        self._rpc_access = self._access if grpc is None else Access.to(grpc, token, key_file)
        self._retrying = retry_rule(retries, timeout)
        with transport_errors(url, timeout):
            local = _is_loopback(httpx.URL(url).host)
        self._options: dict[str, Any] = {
            "timeout": httpx.Timeout(timeout, connect=CONNECT),
            "trust_env": not local,  # HTTP_PROXY and the like do not apply to this machine
            "transport": transport,
        }

    def stylize(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> R:
        """The photo in the style of a text, a picture, or both.

        Args:
            photo: a path or encoded bytes.
            prompt: the style; optional with a style picture, or if ``params`` name a saved ``style``.
            mask: white where people are; or masks by the names of their regions.
            style_image: a picture whose style is wanted; or pictures by the names of their regions, where ``all`` is
                for every region without a style of its own.
            params: any fields of StyleConfig, plus ``preset`` and ``seed``.
            accept: the media type of the answer.
        """
        call = Call("predictions", form_fields(photo, prompt, mask, style_image, params), accept)
        return self._reply(call) if self.grpc is None else self._predict(call)

    def explain(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "application/json",
    ) -> R:
        """What each region would get, or a picture of the regions; the arguments are those of `stylize`."""
        return self._reply(Call("explanations", form_fields(photo, prompt, mask, style_image, params), accept))

    def stream(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> E:
        """As `stylize`, but as events that report progress; the last one is ``result``.

        Args:
            params: also ``preview_every``, the steps between two previews; 0 for none.
            accept: the media type of the finished picture.
        """
        fields = form_fields(photo, prompt, mask, style_image, params)
        return self._events(Call("predictions", fields, f"{EVENTS}, {accept};q=0.5"))

    @abstractmethod
    def _reply(self, call: Call) -> R: ...

    @abstractmethod
    def _predict(self, call: Call) -> R:
        """The reply over gRPC."""

    @abstractmethod
    def _events(self, call: Call) -> E: ...

    @cached_property
    @abstractmethod
    def _http(self) -> Any:
        """httpx's client."""

    @contextmanager
    def _attempt(self, call: Call) -> Iterator[httpx.Request]:
        """One attempt, with the key as it is now; its errors are ours."""
        with transport_errors(self.url, self.timeout), self._access.headers() as key:
            yield self._http.build_request(**call.http(self.url, key))


def form_fields(
    photo: Source,
    prompt: str | None,
    mask: Pictures | None,
    style_image: Pictures | None,
    params: dict[str, Any] | None,
) -> dict[str, bytes]:
    """A request's fields, as in a form. A bad prompt is refused here, before pictures are uploaded.

    Raises:
        InputError: a file cannot be read, or the prompt is missing or malformed.
    """
    fields = {"photo": _content(photo, "photo")}
    has_style = "all" in style_image if isinstance(style_image, Mapping) else style_image is not None
    if prompt is not None or not (has_style or (params or {}).get("style")):
        fields["prompt"] = check_prompt(prompt).encode()
    for kind, pictures in (("mask", mask), ("style_image", style_image)):
        if isinstance(pictures, Mapping):
            fields |= {f"{kind}.{name}": _content(source, f"{kind}.{name}") for name, source in pictures.items()}
        elif pictures is not None:
            fields[kind] = _content(pictures, kind)
    if params is not None:
        fields["params"] = json.dumps(params).encode()
    return fields


def retry_rule(retries: int, timeout: float) -> dict[str, Any]:
    """The arguments of tenacity's ``Retrying`` and ``AsyncRetrying``; see `Endpoint`."""

    def again(error: BaseException) -> bool:
        return isinstance(error, LateError) or (isinstance(error, BusyError) and (error.retry_after or 0) <= timeout)

    def pause(state: RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        wanted = error.retry_after if isinstance(error, BusyError) else None
        return BACKOFF(state) if wanted is None else wanted

    return {"retry": retry_if_exception(again), "stop": stop_after_attempt(1 + retries), "wait": pause, "reraise": True}


def _content(source: Source, field: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{field} {str(source)!r} cannot be read: {error.strerror}.", field) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
