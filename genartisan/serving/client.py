"""Clients of the endpoint over HTTP and gRPC: `Client` blocks, `AsyncClient` is awaited.

`request` and `stream` are single calls that need no client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing, closing
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, Retrying

from genartisan.errors import ServeError
from genartisan.io.proxies import proxy_errors
from genartisan.serving.calls import Call, Endpoint, Source
from genartisan.serving.defaults import TIMEOUT, URL
from genartisan.serving.events import Event
from genartisan.serving.replies import Reply, cut_off, read_event, read_reply, refusal, transport_errors


class Client(Endpoint[Reply, Iterator[Event]]):
    """A client that blocks; its arguments and calls are those of `Endpoint`."""

    @cached_property
    def _http(self) -> httpx.Client:
        with proxy_errors(ServeError):
            return httpx.Client(**self._options)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _reply(self, call: Call) -> Reply:
        def attempt() -> Reply:
            with self._attempt(call) as request:
                return read_reply(self._http.send(request), self.url, call.accept)

        return Retrying(**self._retrying)(attempt)

    def _predict(self, call: Call) -> Reply:
        rpc = _grpc()

        def attempt() -> Reply:
            with self._rpc_access.headers() as key:
                return Reply(rpc.predict(self.grpc, call.grpc(), self.timeout, key), call.accept)

        return Retrying(**self._retrying)(attempt)

    def _events(self, call: Call) -> Iterator[Event]:
        def attempt() -> httpx.Response:
            with self._attempt(call) as request:
                answer = self._http.send(request, stream=True)
                if answer.status_code != 200:
                    answer.read()
                    raise refusal(answer, self.url)
                return answer

        with transport_errors(self.url, self.timeout), closing(Retrying(**self._retrying)(attempt)) as answer:
            for line in answer.iter_lines():
                event = read_event(line, self.url)
                yield event
                if event["event"] == "result":
                    return
        raise cut_off(self.url)


class AsyncClient(Endpoint[Coroutine[Any, Any, Reply], AsyncIterator[Event]]):
    """A client for programs with an event loop; its arguments and calls are those of `Endpoint`."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        with proxy_errors(ServeError):
            return httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _reply(self, call: Call) -> Reply:
        async def attempt() -> Reply:
            with self._attempt(call) as request:
                return read_reply(await self._http.send(request), self.url, call.accept)

        return await AsyncRetrying(**self._retrying)(attempt)

    async def _predict(self, call: Call) -> Reply:
        rpc = _grpc()

        async def attempt() -> Reply:
            with self._rpc_access.headers() as key:
                return Reply(await rpc.predict_async(self.grpc, call.grpc(), self.timeout, key), call.accept)

        return await AsyncRetrying(**self._retrying)(attempt)

    async def _events(self, call: Call) -> AsyncIterator[Event]:
        async def attempt() -> httpx.Response:
            with self._attempt(call) as request:
                answer = await self._http.send(request, stream=True)
                if answer.status_code != 200:
                    await answer.aread()
                    raise refusal(answer, self.url)
                return answer

        with transport_errors(self.url, self.timeout):
            opened: httpx.Response = await AsyncRetrying(**self._retrying)(attempt)
            async with aclosing(opened) as answer:
                async for line in answer.aiter_lines():
                    event = read_event(line, self.url)
                    yield event
                    if event["event"] == "result":
                        return
        raise cut_off(self.url)


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
    """`Client.stylize` once, without retries."""
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
    """`Client.stream` once, without retries."""
    with Client(url, timeout=timeout, retries=0, token=token, key_file=key_file) as client:
        yield from client.stream(photo, prompt, **others)


def _grpc() -> Any:
    """The calls over gRPC, whose packages are optional."""
    try:
        from genartisan.serving import inference_grpc
    except ImportError as error:
        raise ServeError(f"gRPC needs {error.name}: pip install 'genartisan[serve]'.", "grpc") from error
    return inference_grpc
