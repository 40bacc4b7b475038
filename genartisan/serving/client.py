"""Clients of the endpoint over HTTP and gRPC: `Client` blocks, `AsyncClient` is awaited.

`request` and `stream` are single calls that need no client.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, Retrying

from genartisan.errors import ServeError
from genartisan.io.network_environment import environment_errors
from genartisan.serving.calls import Call, ControlCall, Source
from genartisan.serving.defaults import CONTROL, JSON, TIMEOUT, URL
from genartisan.serving.endpoint import LEAVE_WITHIN, Endpoint, unanswered
from genartisan.serving.events import LAST, Event
from genartisan.serving.replies import Reply, cut_off, read_event, read_progress, read_reply, refusal, transport_errors
from genartisan.serving.request_headers import new_request_id


class Client(Endpoint[Reply, Generator[Event, None, None], Event]):
    """A client that blocks; its arguments and calls are those of `Endpoint`."""

    @cached_property
    def _http(self) -> httpx.Client:
        with environment_errors(ServeError):
            return httpx.Client(**self._options, verify=httpx.create_ssl_context())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what is in progress, and closes the connections."""
        while self._in_progress:
            self._leave(self._in_progress.pop())
        self._http.close()

    def _reply(self, call: Call) -> Reply:
        def attempt() -> Reply:
            with self._cancelling(call.request_id) as request_id, self._attempt(call, request_id) as request:
                return read_reply(self._http.send(request), self.url, call.accept)

        return Retrying(**self._retrying)(attempt)

    def _predict(self, call: Call) -> Reply:
        rpc = _grpc()

        def attempt() -> Reply:
            with (
                self._cancelling(call.request_id) as request_id,
                self._routed(call) as model,
                self._rpc_access.headers() as key,
            ):
                fields = call.grpc(key, request_id)
                return Reply(rpc.predict(self.grpc, fields, self.timeout, key, model), call.accept)

        return Retrying(**self._retrying)(attempt)

    def _events(self, call: Call) -> Generator[Event, None, None]:
        ids: list[str] = []

        def attempt() -> httpx.Response:
            with self._cancelling(call.request_id, is_whole=False) as request_id:
                ids.append(request_id)
                with self._attempt(call, request_id) as request:
                    answer = self._http.send(request, stream=True)
                    if answer.status_code != 200:
                        answer.read()
                        raise refusal(answer, self.url)
                    return answer

        try:
            opened = Retrying(**self._retrying)(attempt)
            with transport_errors(self.url, self.timeout), closing(opened) as answer:
                for line in answer.iter_lines():
                    event = read_event(line, self.url)
                    if event["event"] in LAST:
                        self._in_progress.discard(ids[-1])
                        yield event
                        return
                    yield event
            raise cut_off(self.url)
        except BaseException as error:
            if ids and self._is_left(ids[-1], error, is_repeated=False):
                self._leave(ids[-1])
            raise

    def _control(self, call: ControlCall) -> Event:
        if self.grpc is not None:
            with self._rpc_access.headers() as key:
                content = _grpc().predict(self.grpc, call.grpc(key), call.timeout, key, CONTROL)
        else:
            with transport_errors(self.url, call.timeout), self._access.headers() as key:
                answer = self._http.send(self._http.build_request(**call.http(self.url, key)))
                content = read_reply(answer, self.url, JSON).content
        return read_progress(content, self.url)

    @contextmanager
    def _cancelling(self, given_id: str | None, *, is_whole: bool = True) -> Iterator[str]:
        """The id of an attempt, drawn unless given, which is cancelled if its caller leaves.

        Args:
            is_whole: whether the request ends with the block; a stream stays in progress.
        """
        request_id = given_id or new_request_id()
        self._in_progress.add(request_id)
        try:
            yield request_id
        except BaseException as error:
            if self._is_left(request_id, error, is_repeated=given_id is not None):
                self._leave(request_id)
            raise
        if is_whole:
            self._in_progress.discard(request_id)

    def _leave(self, request_id: str) -> None:
        with unanswered(request_id):
            self._control(ControlCall("cancel", request_id, LEAVE_WITHIN))


class AsyncClient(Endpoint[Coroutine[Any, Any, Reply], AsyncGenerator[Event, None], Coroutine[Any, Any, Event]]):
    """A client for programs with an event loop; its arguments and calls are those of `Endpoint`."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        with environment_errors(ServeError):
            return httpx.AsyncClient(**self._options, verify=httpx.create_ssl_context())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancels what is in progress, and closes the connections."""
        while self._in_progress:
            await self._leave(self._in_progress.pop())
        await self._http.aclose()

    async def _reply(self, call: Call) -> Reply:
        async def attempt() -> Reply:
            async with self._cancelling(call.request_id) as request_id:
                with self._attempt(call, request_id) as request:
                    return read_reply(await self._http.send(request), self.url, call.accept)

        return await AsyncRetrying(**self._retrying)(attempt)

    async def _predict(self, call: Call) -> Reply:
        rpc = _grpc()

        async def attempt() -> Reply:
            async with self._cancelling(call.request_id) as request_id:
                with self._routed(call) as model, self._rpc_access.headers() as key:
                    fields = call.grpc(key, request_id)
                    return Reply(await rpc.predict_async(self.grpc, fields, self.timeout, key, model), call.accept)

        return await AsyncRetrying(**self._retrying)(attempt)

    async def _events(self, call: Call) -> AsyncGenerator[Event, None]:
        ids: list[str] = []

        async def attempt() -> httpx.Response:
            async with self._cancelling(call.request_id, is_whole=False) as request_id:
                ids.append(request_id)
                with self._attempt(call, request_id) as request:
                    answer = await self._http.send(request, stream=True)
                    if answer.status_code != 200:
                        await answer.aread()
                        raise refusal(answer, self.url)
                    return answer

        try:
            opened: httpx.Response = await AsyncRetrying(**self._retrying)(attempt)
            with transport_errors(self.url, self.timeout):
                async with aclosing(opened):
                    async for line in opened.aiter_lines():
                        event = read_event(line, self.url)
                        if event["event"] in LAST:
                            self._in_progress.discard(ids[-1])
                            yield event
                            return
                        yield event
            raise cut_off(self.url)
        except BaseException as error:
            if ids and self._is_left(ids[-1], error, is_repeated=False):
                await self._leave(ids[-1])
            raise

    async def _control(self, call: ControlCall) -> Event:
        if self.grpc is not None:
            with self._rpc_access.headers() as key:
                content = await _grpc().predict_async(self.grpc, call.grpc(key), call.timeout, key, CONTROL)
        else:
            with transport_errors(self.url, call.timeout), self._access.headers() as key:
                answer = await self._http.send(self._http.build_request(**call.http(self.url, key)))
                content = read_reply(answer, self.url, JSON).content
        return read_progress(content, self.url)

    @asynccontextmanager
    async def _cancelling(self, given_id: str | None, *, is_whole: bool = True) -> AsyncIterator[str]:
        """The id of an attempt, drawn unless given, which is cancelled if its caller leaves.

        Args:
            is_whole: whether the request ends with the block; a stream stays in progress.
        """
        request_id = given_id or new_request_id()
        self._in_progress.add(request_id)
        try:
            yield request_id
        except BaseException as error:
            if self._is_left(request_id, error, is_repeated=given_id is not None):
                await self._leave(request_id)
            raise
        if is_whole:
            self._in_progress.discard(request_id)

    async def _leave(self, request_id: str) -> None:
        with unanswered(request_id):
            await self._control(ControlCall("cancel", request_id, LEAVE_WITHIN))


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
) -> Generator[Event, None, None]:
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
