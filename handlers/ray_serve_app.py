"""The endpoint on Ray Serve, over HTTP; `genartisan.serving.handling` does the work. docs/hardening.md compares it.

serve run --app-dir handlers ray_serve_app:build
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import secrets
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import create_form_parser
from ray import cloudpickle, serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter, Gauge
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from genartisan.environment import variables
from genartisan.errors import GenartisanError, TooLargeError
from genartisan.method.saved_style import StyleFolder
from genartisan.networks.bundle import resolve
from genartisan.networks.device import set_threads
from genartisan.serving import control
from genartisan.serving.access import Access
from genartisan.serving.archive import VERSION, project_file
from genartisan.serving.archive_check import SETTINGS
from genartisan.serving.defaults import CONTROL, DRAFT, JSON, MODEL
from genartisan.serving.exchange import Exchange
from genartisan.serving.gauges import Emit
from genartisan.serving.handling import answer_request
from genartisan.serving.jobs import Jobs
from genartisan.serving.limits import Limits
from genartisan.serving.replies import DIED
from genartisan.serving.request_headers import AUTHORIZATION
from genartisan.serving.state import KEY_FILE
from genartisan.serving.telemetry import LABELS
from genartisan.serving.worker import Worker

MAX_CALLERS = 10_000  # connections, far above the queues
RETRY_AFTER = 10  # seconds, as docker/gate/haproxy.cfg says
FORM = "multipart/form-data"
MAX_NAME = 65_536  # bytes of a form field's name, and what else its header says


@dataclass
class RayExchange(Exchange):
    """An exchange through Ray Serve.

    Attributes:
        put: takes status and headers of the answer, then its parts.
    """

    put: Callable[[Any], None] = lambda part: None
    status: int = 200
    answer_headers: dict[str, str] = field(default_factory=dict)

    def set_header(self, name: str, value: str) -> None:
        """Sets a header of the answer."""
        self.answer_headers[name] = value

    def set_media_type(self, media_type: str) -> None:
        """Sets the media type of the answer."""
        self.set_header("Content-Type", media_type)

    def send(self, line: bytes) -> None:
        """Sends one event of a stream."""
        if not self.is_streaming:
            self.is_streaming = True
            self.put((self.status, self.answer_headers))
        self.put(line)

    def refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer: sets the status, and returns the body."""
        self.status = error.status
        self.set_media_type(JSON)
        return json.dumps(error.as_dict()).encode()

    def end(self, content: bytes) -> None:
        """Sends the answer, or the last event of a stream."""
        if not self.is_streaming:
            self.set_header("Content-Length", str(len(content)))
            self.put((self.status, self.answer_headers))
        self.put(content)


class Artisan:
    """A worker, which makes one picture at a time.

    Args:
        load: the arguments of `Worker.load` but ``drafts_only`` and ``emit``.
        drafts_only: as in `Exchange`.
    """

    def __init__(self, load: dict[str, Any], drafts_only: bool) -> None:
        logging.basicConfig(format="%(message)s")
        self._drafts_only = drafts_only
        self._thread = ThreadPoolExecutor(1)  # niceness and PyTorch's number of threads are a thread's own
        self._worker = self._thread.submit(Worker.load, **load, drafts_only=drafts_only, emit=emitter()).result()

    async def __call__(
        self, number: str, is_explanation: bool, headers: dict[str, str], body: bytes
    ) -> AsyncIterator[Any]:
        """Status and headers of the answer, then its parts."""
        loop, parts = asyncio.get_running_loop(), asyncio.Queue[Any]()
        exchange = RayExchange(number, "http", {}, headers, is_explanation, self._drafts_only)
        exchange.put = lambda part: loop.call_soon_threadsafe(parts.put_nowait, part)  # type: ignore[assignment]
        work = loop.run_in_executor(self._thread, self._answer, exchange, body)
        work.add_done_callback(lambda _: parts.put_nowait(None))
        try:
            while (part := await parts.get()) is not None:
                yield part
        finally:
            exchange.has_left = True  # if the caller has, Ray cancels this coroutine
            await work

    def _answer(self, exchange: RayExchange, body: bytes) -> None:
        exchange.fields = fields_of(body, exchange.headers.get("content-type", ""))
        exchange.end(answer_request(self._worker, exchange))


class Door:
    """Checks key and size, passes requests to the workers, and cancels.

    Args:
        most: bytes of a request.
        state: has the key file, and is shared with the workers.
    """

    def __init__(self, pictures: DeploymentHandle[Any], drafts: DeploymentHandle[Any], most: int, state: Path) -> None:
        self._models: dict[str, Any] = {MODEL: pictures.options(stream=True), DRAFT: drafts.options(stream=True)}
        self._most, self._access, self._jobs = most, Access(file=state / KEY_FILE), Jobs(state)

    async def __call__(self, request: Request) -> Response:
        """Any request."""
        path, number = request.url.path, str(uuid.uuid4())
        if path == "/healthz":
            return await asyncio.to_thread(readiness)
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not hmac.compare_digest(headers.get(AUTHORIZATION, "").encode(), f"Bearer {self._access.key()}".encode()):
            return failure(400, "InvalidKeyException", "The key is missing or invalid.")
        kind, _, model = path.strip("/").partition("/")
        if (kind, model) not in ROUTES:
            return failure(404, "ModelNotFoundException", f"There is no {path[:80]}.")
        if request.method != "POST":
            return failure(405, "MethodNotAllowedException", "Use POST.")
        try:
            body = await self._body(request)
        except TooLargeError as error:
            return JSONResponse(error.as_dict(), error.status)
        if model == CONTROL:
            return await asyncio.to_thread(self._control, number, headers, body)
        return await self._passed_on(model, number, kind == "explanations", headers, body)

    async def _body(self, request: Request) -> bytes:
        """The body, refused as soon as it is known to be too large."""
        body, size = bytearray(), int(request.headers.get("content-length", 0))
        if size <= self._most:
            async for part in request.stream():
                body += part
                if len(body) > self._most:
                    break
        if max(size, len(body)) > self._most:
            raise TooLargeError(f"The request has more than {self._most:,} bytes; send a smaller photo.", "photo")
        return bytes(body)

    def _control(self, number: str, headers: dict[str, str], body: bytes) -> Response:
        """Cancels a request, or tells how far it is."""
        exchange = RayExchange(number, "http", fields_of(body, headers.get("content-type", "")), headers)
        content = control.answer_control(self._jobs, exchange)
        return Response(content, exchange.status, exchange.answer_headers)

    async def _passed_on(self, model: str, *request: Any) -> Response:
        """The answer of a worker; Ray cancels its request with this one."""
        parts = self._models[model].remote(*request)
        try:
            status, headers = await anext(parts)
        except (BackPressureError, DeploymentUnavailableError):
            busy = f"The queue of {model} is full, or it has no worker to serve the request."
            return failure(503, "ServiceUnavailableException", busy, {"Retry-After": str(RETRY_AFTER)})
        except RayActorError:
            return failure(500, "InternalServerException", f"{DIED}.")
        return StreamingResponse(parts, status, headers)


ROUTES = [(kind, model) for kind in ("predictions", "explanations") for model in (MODEL, DRAFT)]
ROUTES.append(("predictions", CONTROL))


def readiness() -> Response:
    """Whether every deployment has its workers."""
    app = serve.status().applications[serve.get_replica_context().app_name]
    is_ready = app.status == "RUNNING"
    return JSONResponse({"status": "ready" if is_ready else "not_ready"}, 200 if is_ready else 503)


def failure(status: int, kind: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error that is none of ours, as TorchServe puts it."""
    return JSONResponse({"code": status, "type": kind, "message": message}, status, headers)


def fields_of(body: bytes, media_type: str) -> dict[str, Any]:
    """The fields of a form, a list where one was sent twice; any other body, or a malformed form, as ``body``."""
    if media_type.partition(";")[0].strip().lower() != FORM:
        return {"body": body}
    values = dict[str, list[bytes]]()

    def add(name: bytes | None, value: bytes | None) -> None:
        values.setdefault((name or b"").decode(errors="replace"), []).append(value or b"")

    def add_file(part: Any) -> None:
        part.file_object.seek(0)
        add(part.field_name, part.file_object.read())

    try:
        parser = create_form_parser(
            {"Content-Type": media_type.encode("latin-1")},
            lambda part: add(part.field_name, part.value),
            add_file,
            {"MAX_MEMORY_FILE_SIZE": len(body), "MAX_HEADER_SIZE": MAX_NAME},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        return {"body": body}
    return {name: sent[0] if len(sent) == 1 else sent for name, sent in values.items()}


def emitter() -> Emit:
    """Writes to Ray's metrics, whose names begin with ``ray_``."""
    metrics = {
        name: (Counter if name.endswith("_total") else Gauge)(name, tag_keys=labels) for name, labels in LABELS.items()
    }

    def emit(name: str, value: float, labels: list[str]) -> None:
        metric, tags = metrics[name], dict(zip(LABELS[name], labels, strict=True))
        if isinstance(metric, Gauge):
            metric.set(value, tags)
        elif value > 0:  # Ray refuses 0
            metric.inc(value, tags)

    return emit


class Arguments(BaseModel):
    """What ``serve run`` takes after the name, as NAME=VALUE."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bundle: str = "embedded"
    """``embedded``, ``official`` or a bundle's folder."""
    styles: Path | None = None
    """A folder of saved styles to serve by name."""
    settings: Path | None = None
    """Replaces handlers/model-config.yaml."""
    state: Path = Path(".serve/ray")
    """A folder for the key file and what the workers share."""
    gpus: float = 0
    """GPUs of each worker; half a one where pictures and drafts share it."""


def build(given: dict[str, str]) -> serve.Application:
    """The application, for ``serve run``.

    Args:
        given: `Arguments` by name.

    Raises:
        ValueError: an argument or a setting is invalid.
    """
    arguments = Arguments.model_validate(given)
    # Ray's processes need not find this file.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    path = arguments.settings or project_file(f"handlers/{SETTINGS}")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings = config["handler"]
    limits = Limits.of_server(settings.get("limits", {}), config["responseTimeout"])
    # Ray sets OMP_NUM_THREADS in its workers, so that `auto` is resolved here.
    set_threads(settings.get("threads", "auto"), config["maxWorkers"])
    settings["threads"] = torch.get_num_threads()
    state = arguments.state.resolve()
    write_key(state)
    load = {
        "bundle": resolve(arguments.bundle).resolve(),
        "styles": dict(StyleFolder(arguments.styles)) if arguments.styles else {},
        "config": config,
        "device": "cuda" if arguments.gpus else "cpu",
        "version": VERSION,
        "shared": state,
    }
    worker: Any = serve.deployment(
        max_ongoing_requests=1,
        max_queued_requests=config["jobQueueSize"],
        graceful_shutdown_timeout_s=limits.max_timeout_s,
        ray_actor_options={
            "num_cpus": 0,
            "num_gpus": arguments.gpus,
            "runtime_env": {"env_vars": variables(os.environ)},
        },
    )(Artisan)
    door: Any = serve.deployment(max_ongoing_requests=MAX_CALLERS, ray_actor_options={"num_cpus": 0})(Door)
    pictures = worker.options(name="pictures", num_replicas=config["minWorkers"])
    application: serve.Application = door.bind(
        pictures.bind(load, drafts_only=False),
        worker.options(name="drafts").bind(load, drafts_only=True),
        limits.request_bytes,
        state,
    )
    return application


def write_key(state: Path) -> None:
    """Draws a key, unless the state folder has one."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (path := state / KEY_FILE).exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"inference": {"key": secrets.token_urlsafe(24)}}), encoding="ascii")
