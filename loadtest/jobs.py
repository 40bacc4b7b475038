"""The kinds of jobs that users do, over the public client, each checked and timed."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
from workload import Request, WrongAnswerError, in_json

from genartisan.client import Client
from genartisan.errors import BusyError, GenartisanError, InputError, LateError, UnknownRequestError
from genartisan.serving.access import Access
from genartisan.serving.calls import Call, form_fields
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.request_headers import new_request_id

Times = dict[str, float]  # seconds by what they are measured to
LONG = {"preset": "fast", "steps": 400, "coarse_share": 0}  # a run that is to be cancelled or left
LEFT_TIMEOUT = 10  # seconds: the deadline of a run that is left
POLL = 0.25  # seconds between two looks at a run that was left
BAD: tuple[tuple[dict[str, Any], str], ...] = (  # changes of a good request, and the field that the refusal names
    ({"photo": b""}, "photo"),
    ({"photo": b"no picture"}, "photo"),
    ({"params": {"steps": -1}}, "steps"),
    ({"params": {"regions": {"portrait": {"weight": -1}}}}, "regions.portrait.weight"),
    ({"params": {"size": 10**6}}, "size"),
    ({"params": {"stepps": 3}}, "stepps"),
)


class NoCache(httpx.HTTPTransport):
    """Asks for new pictures, where the server keeps those of identical requests."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Cache-Control"] = "no-cache"
        return super().handle_request(request)


class Endpoint:
    """What a user reaches the server by.

    Attributes:
        http, grpc: clients; they repeat nothing unless told to, so that every refusal is seen.
        access: the key.
    """

    def __init__(self, url: str, grpc: str, timeout: float, key_file: str | None, retries: int = 0) -> None:
        options: dict[str, Any] = {"timeout": timeout, "retries": retries, "key_file": key_file}
        self.http, self.grpc = Client(url, **options, transport=NoCache()), Client(url, grpc=grpc, **options)
        self.access = Access.to(url, key_file=key_file)

    def close(self) -> None:
        """Cancels what is in progress, and closes the connections."""
        self.http.close()
        self.grpc.close()


def picture(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """A picture over HTTP: as PNG, or in JSON with its report."""
    is_plain = request.sha256 is not None or rng.random() < 0.5
    accept = "image/png" if is_plain else "application/json"
    reply = endpoint.http.stylize(request.photo, request.prompt, params=request.params, accept=accept)
    request.check(*((reply.content,) if is_plain else in_json(reply.content)))
    return {}


def over_grpc(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """A picture over gRPC."""
    request.check(endpoint.grpc.stylize(request.photo, request.prompt, params=request.params).content)
    return {}


def stream(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """A picture as a stream: times to the first event, to the draft, and the longest wait between previews."""
    times: Times = {}
    began = last_preview = time.monotonic()
    params = {**request.params, "preview_every": 2}
    with closing(endpoint.http.stream(request.photo, request.prompt, params=params)) as events:
        for event in events:
            now = time.monotonic()
            times.setdefault("first event", now - began)
            if event["event"] == "draft":
                times["draft"] = now - began
            if "preview" in event:
                times["between previews"] = max(times.get("between previews", 0), now - last_preview)
                last_preview = now
            if event["event"] == "result":
                request.check(base64.b64decode(event["photo"]), event["report"])
                return times
    raise WrongAnswerError(f"the stream ended with {event['event']}")


def explain(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """The regions of a photo."""
    content = endpoint.http.explain(request.photo, request.prompt, params=request.params).content
    if b'"explanation"' not in content:
        raise WrongAnswerError("no explanation")
    return {}


def cancel(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """A long run, cancelled at its first step: the time until its stream ends."""
    identity, params, asked = new_request_id(), {**request.params, **LONG}, None
    run = endpoint.http.stream(request.photo, request.prompt, params=params, request_id=identity)
    with closing(run) as events:
        for event in events:
            if event["event"] == "progress" and asked is None:
                asked = time.monotonic()
                endpoint.http.cancel(identity)
            if event["event"] == "cancelled" and asked is not None:
                return {"cancelled": time.monotonic() - asked}
    raise WrongAnswerError(f"the stream ended with {event['event']}, not cancelled")


def leave(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """A long run whose caller closes the connection at its first step, and says nothing: the worker's time it wastes.

    The deadline is what ends it, unless something in front of the server notices.
    """
    client, identity, params = endpoint.http, new_request_id(), {**request.params, **LONG, "timeout_s": LEFT_TIMEOUT}
    fields = form_fields(request.photo, request.prompt, None, None, params)
    with endpoint.access.headers() as key:
        call = Call("predictions", fields, EVENTS).http(client.url, key, identity)
    with httpx.Client(timeout=client.timeout, trust_env=False) as bare, bare.stream(**call) as answer:
        if answer.status_code != 200:
            answer.read()
            raise BusyError("busy") if answer.status_code == 503 else WrongAnswerError(answer.text[:200])
        next(line for line in answer.iter_lines() if '"progress"' in line)
    left = time.monotonic()
    while True:
        try:
            client.status(identity)
        except UnknownRequestError:
            return {"wasted": time.monotonic() - left}
        time.sleep(POLL)


def bad_input(endpoint: Endpoint, request: Request, rng: random.Random) -> Times:
    """Bad input, which must be refused with the field at fault."""
    change, field = rng.choice(BAD)
    sent = {"photo": request.photo, "prompt": request.prompt, "params": request.params, **change}
    photo, prompt = sent.pop("photo"), sent.pop("prompt")
    try:
        endpoint.http.stylize(photo, prompt, **sent)
    except InputError as error:
        if error.field != field:
            raise WrongAnswerError(f"the refusal names {error.field} instead of {field}") from error
        return {}
    raise WrongAnswerError(f"bad {field} was accepted")


KINDS: dict[str, Callable[[Endpoint, Request, random.Random], Times]] = {
    "picture": picture, "grpc": over_grpc, "stream": stream, "explain": explain, "cancel": cancel, "leave": leave,
    "bad": bad_input,
}  # fmt: skip
PICTURES = ("picture", "grpc", "stream")  # kinds whose answer is a picture


def outcome_of(error: BaseException | None) -> str:
    """``ok``, ``refused`` (busy, to be tried again), ``late``, ``wrong`` or ``failed``."""
    match error:
        case None:
            return "ok"
        case BusyError():
            return "refused"
        case LateError():
            return "late"
        case WrongAnswerError():
            return "wrong"
    return "failed"


def reason_of(error: BaseException | None) -> str:
    """What went wrong, briefly."""
    if error is None:
        return ""
    return error.message if isinstance(error, GenartisanError) else f"{type(error).__name__}: {error}"
