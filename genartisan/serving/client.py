"""The endpoint over HTTP and gRPC, for programs that wait and for programs that go on meanwhile.

`Client` and `AsyncClient` do the same and differ in ``await``; `request` and `stream` are one call without a client of
one's own.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from genartisan.errors import BusyError, InputError, LateError, ServeError
from genartisan.io.proxies import proxy_errors
from genartisan.serving.access import Access
from genartisan.serving.defaults import MODEL, TIMEOUT, URL
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.events import Event
from genartisan.serving.replies import Reply, cut_off, from_rpc, read_event, read_reply, refusal, transport_errors
from genartisan.serving.request_headers import REQUEST_START, request_start
from genartisan.validation import check_prompt

CONNECT = 10.0  # seconds to wait for a connection
RETRIES, LONGEST_PAUSE = 4, 20.0  # seconds; the pauses double from one second on, and differ from client to client

Source = str | Path | bytes
Pictures = Source | Mapping[str, Source]  # one, or several by the names of their regions


class _Settings:
    """What both clients have in common.

    Args:
        url: of the server's HTTP endpoint.
        grpc: HOST:PORT, to ask for pictures over gRPC instead; streams and explanations are over HTTP.
        timeout: seconds to wait for an answer; in a stream, for each event.
        retries: how often a request is sent again that met a busy server or no answer in time. It has no other effect
            than its answer, so nothing is done twice that should not be.
        token, key_file: the server's key for pictures, or the file it is in. By default that of the environment
            (``GENARTISAN_TOKEN``, ``GENARTISAN_KEY_FILE``), or of the server that was started from this folder.
    """

    _http: Any  # httpx's client, of the one kind or the other

    def __init__(
        self,
        url: str = URL,
        *,
        grpc: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        token: str | None = None,
        key_file: str | Path | None = None,
    ) -> None:
        self.url, self.grpc, self.timeout = url, grpc, timeout
        self._access = Access.to(url, token, key_file)
        self._rpc_access = self._access if grpc is None else Access.to(grpc, token, key_file)
        self._retrying: dict[str, Any] = {
            "retry": retry_if_exception_type((BusyError, LateError)),
            "stop": stop_after_attempt(1 + retries),
            "wait": wait_random_exponential(1, LONGEST_PAUSE),
            "reraise": True,
        }
        with transport_errors(url, timeout):
            here = _is_here(httpx.URL(url).host)
        # HTTP_PROXY and the like are not for this machine.
        self._options: dict[str, Any] = {"timeout": httpx.Timeout(timeout, connect=CONNECT), "trust_env": not here}

    def _post(self, path: str, fields: dict[str, bytes], accept: str) -> dict[str, Any]:
        """The arguments of httpx's ``build_request``."""
        parts = {name: (name, content, "application/octet-stream") for name, content in fields.items()}
        url = f"{self.url.rstrip('/')}/{path}/{MODEL}"
        return {"method": "POST", "url": url, "files": parts, "headers": {"Accept": accept}}

    def _request(self, post: dict[str, Any], key: dict[str, str]) -> httpx.Request:
        """What `_post` says, with the key and the time of this attempt."""
        headers = {**post["headers"], **key, REQUEST_START: request_start()}
        request: httpx.Request = self._http.build_request(**{**post, "headers": headers})
        return request


class Client(_Settings):
    """A server's endpoint. Keeps its connections until it is closed; also a context manager.

    Each method raises InputError and its kin for what the server refuses, in the server's own words, DeadlineError,
    BusyError, LateError, and ServeError for any other trouble with it.
    """

    @cached_property
    def _http(self) -> httpx.Client:
        with proxy_errors(ServeError):
            return httpx.Client(**self._options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its connections."""
        self._http.close()

    def stylize(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> Reply:
        """A photo in the style of a sentence, a picture, or both.

        Args:
            photo: a path or encoded bytes.
            prompt: may be left out with a style picture, or where ``params`` name a saved ``style``.
            mask: the same, white where people are; or several by the names of their regions.
            style_image: the same, a picture whose style is wanted; or several by the names of their regions, of which
                ``all`` is for every region without a style of its own.
            params: any fields of StyleConfig, plus ``preset`` and ``seed``.
            accept: the media type of the answer.
        """
        fields = _fields(photo, prompt, mask, style_image, params)
        if self.grpc is None:
            return self._reply("predictions", fields, accept)
        content: bytes = Retrying(**self._retrying)(
            predict, self.grpc, {**fields, "accept": accept.encode()}, self.timeout, self._rpc_access
        )
        return Reply(content, accept)

    def explain(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "application/json",
    ) -> Reply:
        """What each region would get, or the regions as a picture; the arguments are those of `stylize`."""
        return self._reply("explanations", _fields(photo, prompt, mask, style_image, params), accept)

    def stream(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> Iterator[Event]:
        """As `stylize`, but as events, which tell how it goes; the last one is ``result``.

        Args:
            params: may have ``preview_every``, too: steps between two previews, 0 for none.
            accept: the media type of the finished picture.
        """
        post = self._post("predictions", _fields(photo, prompt, mask, style_image, params), f"{EVENTS}, {accept};q=0.5")
        with transport_errors(self.url, self.timeout):
            answer: httpx.Response = Retrying(**self._retrying)(self._opened, post)
            try:
                for line in answer.iter_lines():
                    event = read_event(line, self.url)
                    yield event
                    if event["event"] == "result":
                        return
            finally:
                answer.close()
        raise cut_off(self.url)

    def _opened(self, post: dict[str, Any]) -> httpx.Response:
        """The answer to a request for a stream, its body yet unread."""
        with transport_errors(self.url, self.timeout), self._access.headers() as key:
            answer = self._http.send(self._request(post, key), stream=True)
            if answer.status_code != 200:
                answer.read()
                raise refusal(answer, self.url)
            return answer

    def _reply(self, path: str, fields: dict[str, bytes], accept: str) -> Reply:
        reply: Reply = Retrying(**self._retrying)(self._once, self._post(path, fields, accept), accept)
        return reply

    def _once(self, post: dict[str, Any], accept: str) -> Reply:
        with transport_errors(self.url, self.timeout), self._access.headers() as key:
            return read_reply(self._http.send(self._request(post, key)), self.url, accept)


class AsyncClient(_Settings):
    """As `Client`, for programs with an event loop; also an async context manager."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        with proxy_errors(ServeError):
            return httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()

    async def stylize(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> Reply:
        """See `Client.stylize`."""
        fields = _fields(photo, prompt, mask, style_image, params)
        if self.grpc is None:
            return await self._reply("predictions", fields, accept)
        content: bytes = await AsyncRetrying(**self._retrying)(
            predict_async, self.grpc, {**fields, "accept": accept.encode()}, self.timeout, self._rpc_access
        )
        return Reply(content, accept)

    async def explain(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "application/json",
    ) -> Reply:
        """See `Client.explain`."""
        return await self._reply("explanations", _fields(photo, prompt, mask, style_image, params), accept)

    async def stream(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
    ) -> AsyncIterator[Event]:
        """See `Client.stream`."""
        post = self._post("predictions", _fields(photo, prompt, mask, style_image, params), f"{EVENTS}, {accept};q=0.5")
        with transport_errors(self.url, self.timeout):
            answer: httpx.Response = await AsyncRetrying(**self._retrying)(self._opened, post)
            try:
                async for line in answer.aiter_lines():
                    event = read_event(line, self.url)
                    yield event
                    if event["event"] == "result":
                        return
            finally:
                await answer.aclose()
        raise cut_off(self.url)

    async def _opened(self, post: dict[str, Any]) -> httpx.Response:
        with transport_errors(self.url, self.timeout), self._access.headers() as key:
            answer = await self._http.send(self._request(post, key), stream=True)
            if answer.status_code != 200:
                await answer.aread()
                raise refusal(answer, self.url)
            return answer

    async def _reply(self, path: str, fields: dict[str, bytes], accept: str) -> Reply:
        reply: Reply = await AsyncRetrying(**self._retrying)(self._once, self._post(path, fields, accept), accept)
        return reply

    async def _once(self, post: dict[str, Any], accept: str) -> Reply:
        with transport_errors(self.url, self.timeout), self._access.headers() as key:
            return read_reply(await self._http.send(self._request(post, key)), self.url, accept)


def request(
    photo: Source,
    prompt: str | None = None,
    *,
    url: str = URL,
    grpc: str | None = None,
    timeout: float = TIMEOUT,
    token: str | None = None,
    key_file: str | Path | None = None,
    **others: Any,
) -> Reply:
    """One `Client.stylize`, without a retry."""
    with Client(url, grpc=grpc, timeout=timeout, retries=0, token=token, key_file=key_file) as client:
        return client.stylize(photo, prompt, **others)


def stream(
    photo: Source,
    prompt: str | None = None,
    *,
    url: str = URL,
    timeout: float = TIMEOUT,
    token: str | None = None,
    key_file: str | Path | None = None,
    **others: Any,
) -> Iterator[Event]:
    """One `Client.stream`, without a retry."""
    with Client(url, timeout=timeout, retries=0, token=token, key_file=key_file) as client:
        yield from client.stream(photo, prompt, **others)


def predict(address: str, fields: dict[str, bytes], timeout: float, access: Access) -> bytes:
    """One gRPC ``Predictions`` call at HOST:PORT.

    Raises:
        GenartisanError: as `Client`.
    """
    grpc, rpc = _grpc(address)
    with access.headers() as key, grpc.insecure_channel(address, options=rpc.OPTIONS) as channel:
        try:
            call = channel.unary_unary(rpc.METHOD)  # bytes in, bytes out
            answer = call(_stamped(rpc, fields), timeout=timeout, metadata=tuple(key.items()))
            content: bytes = rpc.decode_response(answer)
            return content
        except grpc.RpcError as error:
            raise from_rpc(error.code().name, error.details() or "", address, timeout) from error


async def predict_async(address: str, fields: dict[str, bytes], timeout: float, access: Access) -> bytes:
    """As `predict`, for programs with an event loop."""
    grpc, rpc = _grpc(address)
    with access.headers() as key:
        async with grpc.aio.insecure_channel(address, options=rpc.OPTIONS) as channel:
            try:
                call = channel.unary_unary(rpc.METHOD)
                answer = await call(_stamped(rpc, fields), timeout=timeout, metadata=tuple(key.items()))
                content: bytes = rpc.decode_response(answer)
                return content
            except grpc.RpcError as error:
                raise from_rpc(error.code().name, error.details() or "", address, timeout) from error


def _grpc(address: str) -> tuple[Any, Any]:
    """The gRPC library and our messages for it, which only those need that use it."""
    try:
        import grpc.aio

        from genartisan.serving import inference_grpc
    except ImportError as error:
        raise ServeError(f"gRPC needs {error.name}: pip install 'genartisan[serve]'.", "grpc") from error
    try:
        address.encode()
    except UnicodeError as error:
        raise ServeError(f"grpc is {address!r}; write HOST:PORT.", "grpc") from error
    return grpc, inference_grpc


def _stamped(rpc: Any, fields: dict[str, bytes]) -> bytes:
    """The request on the wire, with the time of this attempt, since TorchServe passes no metadata on."""
    message: bytes = rpc.encode_request(MODEL, {**fields, REQUEST_START: request_start().encode()})
    return message


def _fields(
    photo: Source,
    prompt: str | None,
    mask: Pictures | None,
    style_image: Pictures | None,
    params: dict[str, Any] | None,
) -> dict[str, bytes]:
    """The request's fields, as in a form."""
    fields = {"photo": _content(photo, "photo")}
    pictured = "all" in style_image if isinstance(style_image, Mapping) else style_image is not None
    if prompt is not None or not (pictured or (params or {}).get("style")):
        fields["prompt"] = check_prompt(prompt).encode()
    for kind, pictures in (("mask", mask), ("style_image", style_image)):
        if isinstance(pictures, Mapping):
            fields |= {f"{kind}.{name}": _content(source, f"{kind}.{name}") for name, source in pictures.items()}
        elif pictures is not None:
            fields[kind] = _content(pictures, kind)
    if params is not None:
        fields["params"] = json.dumps(params).encode()
    return fields


def _content(source: Source, field: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{field} {str(source)!r} cannot be read: {error.strerror}.", field) from error


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
