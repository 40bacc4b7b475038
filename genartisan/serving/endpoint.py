"""What both clients have in common: the arguments of their calls, and when these are repeated or cancelled."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx
from tenacity import RetryCallState, retry_if_exception, wait_random_exponential

from genartisan.errors import BusyError, DisconnectedError, GenartisanError, LateError, NoModelError, WorkerDiedError
from genartisan.serving.access import Access
from genartisan.serving.calls import Call, ControlCall, Pictures, Source, form_fields, is_draft
from genartisan.serving.defaults import DRAFT, MODEL, TIMEOUT, URL, is_loopback
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.replies import transport_errors
from genartisan.serving.request_headers import check_request_id

CONNECT = 10.0  # seconds to wait for a connection
LEAVE_WITHIN = 5.0  # seconds to tell the server that we want no answer any more
RETRIES, LONGEST_PAUSE = 4, 20.0  # seconds
BACKOFF = wait_random_exponential(1, LONGEST_PAUSE)
LOST = (WorkerDiedError, DisconnectedError)  # the request went with them

R = TypeVar("R")  # a reply, or what has to be awaited for it
E = TypeVar("E")  # a stream of events
P = TypeVar("P")  # how far a request is, or what has to be awaited for it

logger = logging.getLogger(__name__)


class Endpoint(ABC, Generic[R, E, P]):
    """A server's endpoint. A client keeps its connections until it is closed, and is a context manager.

    Who leaves a call before its end (with Ctrl-C, by closing a stream or the client, at a timeout) cancels it: the
    client asks the server to, waits up to `LEAVE_WITHIN` seconds, and logs a warning if it cannot. A late request whose
    id the caller chose is not cancelled, since it is sent again by that id.

    Each method raises InputError and its subclasses for what the server refuses, with the server's message;
    DeadlineError, BusyError and LateError; and ServeError for any other failure.

    Args:
        url: the server's HTTP endpoint.
        grpc: HOST:PORT, or https://HOST:PORT with TLS, to call `stylize` over gRPC instead; streams and explanations
            use HTTP.
        timeout: seconds to wait for an answer; in a stream, for each event.
        retries: how often to send a request again if the server is busy or does not answer in time. The pauses grow
            exponentially, with jitter; a server's ``Retry-After`` takes precedence, unless it exceeds ``timeout``.
            A request whose worker died, or whose connection ended without an answer, is sent once more. Requests have
            no side effects, so repeating one is safe.
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
        self._in_progress: set[str] = set()  # ids
        self._has_drafts = True  # until the server says that it has no workers for drafts
        with transport_errors(url, timeout):
            local = is_loopback(httpx.URL(url).host)
        self._options: dict[str, Any] = {
            "timeout": httpx.Timeout(timeout, connect=CONNECT),
            "trust_env": not local,  # proxies do not apply to this machine
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
        request_id: str | None = None,
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
            request_id: for `cancel` and `status`, from another thread or program: up to 128 printable ASCII characters
                that nobody else can guess, and a new one for each request. By default the client draws one.
        """
        fields = form_fields(photo, prompt, mask, style_image, params)
        call = _call("predictions", fields, accept, request_id, is_draft(params))
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
        request_id: str | None = None,
    ) -> R:
        """What each region would get, or a picture of the regions; the arguments are those of `stylize`."""
        fields = form_fields(photo, prompt, mask, style_image, params)
        return self._reply(_call("explanations", fields, accept, request_id, True))

    def stream(
        self,
        photo: Source,
        prompt: str | None = None,
        *,
        mask: Pictures | None = None,
        style_image: Pictures | None = None,
        params: dict[str, Any] | None = None,
        accept: str = "image/png",
        request_id: str | None = None,
    ) -> E:
        """As `stylize`, but as events that report progress; the last one is ``result``, or ``cancelled``.

        Closing the iterator early cancels the request.

        Args:
            params: also ``preview_every``, the steps between two previews; 0 for none.
            accept: the media type of the finished picture.
        """
        fields = form_fields(photo, prompt, mask, style_image, params)
        return self._events(_call("predictions", fields, f"{EVENTS}, {accept};q=0.5", request_id, is_draft(params)))

    def cancel(self, request_id: str) -> P:
        """Cancels a request of this key: a worker that has it ends it after its present step.

        Returns how far it is, as `status`. ``state`` is ``cancelling``; or ``waiting`` if no worker has the request:
        then it is cancelled as soon as one takes it from the queue within the next hour, or it has ended already.
        """
        return self._control(ControlCall("cancel", check_request_id(request_id, "cancel"), self.timeout))

    def status(self, request_id: str) -> P:
        """How far a request of this key is: ``id``, ``state``, ``step``, ``steps``, ``eta_s`` and ``seconds``.

        Raises:
            UnknownRequestError: no worker has it; TorchServe does not say whether it waits in the queue.
        """
        return self._control(ControlCall("status", check_request_id(request_id, "status"), self.timeout))

    @abstractmethod
    def _reply(self, call: Call) -> R: ...

    @abstractmethod
    def _predict(self, call: Call) -> R:
        """The reply over gRPC."""

    @abstractmethod
    def _events(self, call: Call) -> E: ...

    @abstractmethod
    def _control(self, call: ControlCall) -> P: ...

    @cached_property
    @abstractmethod
    def _http(self) -> Any:
        """httpx's client."""

    @contextmanager
    def _attempt(self, call: Call, request_id: str) -> Iterator[httpx.Request]:
        """One attempt, with the key as it is now; its errors are ours."""
        with (
            self._routed(call) as model,
            transport_errors(self.url, self.timeout),
            self._access.headers() as key,
        ):
            yield self._http.build_request(**call.http(self.url, key, request_id, model))

    @contextmanager
    def _routed(self, call: Call) -> Iterator[str]:
        """The model for one attempt: drafts have workers of their own, unless the server has none."""
        model = DRAFT if call.is_draft and self._has_drafts else MODEL
        try:
            yield model
        except NoModelError as error:
            if model == MODEL:
                raise
            self._has_drafts = False
            raise NoDraftsError(error.message) from error

    def _is_left(self, request_id: str, error: BaseException, is_repeated: bool) -> bool:
        """Whether ``error`` ended a request whose answer the server still prepares. It is no longer in progress.

        Args:
            is_repeated: the request is sent again under its id if it was late, so it must not be cancelled then.
        """
        if request_id not in self._in_progress:  # the client was closed, or the last event has come
            return False
        self._in_progress.discard(request_id)
        return not isinstance(error, Exception) or (isinstance(error, LateError) and not is_repeated)


class NoDraftsError(Exception):
    """The server has no workers for drafts; the same call to its other workers is due."""


def _call(path: str, fields: dict[str, bytes], accept: str, request_id: str | None, is_draft: bool) -> Call:
    return Call(path, fields, accept, None if request_id is None else check_request_id(request_id), is_draft)


@contextmanager
def unanswered(request_id: str) -> Iterator[None]:
    """A block that cancels a request, where nobody waits for success: errors are logged."""
    try:
        yield
    except GenartisanError as error:
        logger.warning("request %s could not be cancelled: %s", request_id, error.message)


def retry_rule(retries: int, timeout: float) -> dict[str, Any]:
    """The arguments of tenacity's ``Retrying`` and ``AsyncRetrying``; see `Endpoint`."""

    def again(error: BaseException) -> bool:
        if isinstance(error, BusyError):
            return (error.retry_after or 0) <= timeout
        return isinstance(error, (LateError, NoDraftsError, *LOST))

    def exhausted(state: RetryCallState) -> bool:
        error = error_of(state)
        most = min(retries, 1) if isinstance(error, LOST) else retries  # the request may be what ends them
        return state.attempt_number > most and not isinstance(error, NoDraftsError)

    def pause(state: RetryCallState) -> float:
        error = error_of(state)
        if isinstance(error, NoDraftsError):
            return 0.0
        wanted = error.retry_after if isinstance(error, BusyError) else None
        return BACKOFF(state) if wanted is None else wanted

    return {"retry": retry_if_exception(again), "stop": exhausted, "wait": pause, "reraise": True}


def error_of(state: RetryCallState) -> BaseException | None:
    """The error of the latest attempt."""
    return None if state.outcome is None else state.outcome.exception()
