"""The TorchServe handler: bytes ↔ dataclasses, as `genartisan.serving` defines them.

TorchServe requires that this module defines exactly one class.
"""

from __future__ import annotations

import base64
import logging
import os
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

# The archive's genartisan takes precedence over any in PYTHONPATH or site-packages.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from PIL import Image
from ts.handler_utils.utils import send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler

import genartisan
from genartisan.cache import ByteCache
from genartisan.errors import CancelledError, GenartisanError, InputError, TooLargeError
from genartisan.io.files import sha256
from genartisan.io.images import encode
from genartisan.method.fitting_size import fitting_size
from genartisan.method.saved_style import StyleFolder
from genartisan.method.step import Step
from genartisan.method.stylization import Result, Stylization, timed
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle
from genartisan.networks.device import lower_priority, set_threads
from genartisan.networks.memory import out_of_memory, peak_bytes, watch_peak
from genartisan.serving import events, telemetry
from genartisan.serving.answers import answer
from genartisan.serving.defaults import DRAFT, JSON
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.handler_context import (
    adapt_service,
    emitter,
    headers_of,
    id_of,
    is_dropped,
    is_grpc,
    mark_last,
    owner_of,
    refuse,
)
from genartisan.serving.jobs import Jobs
from genartisan.serving.limits import Limits, check_draft, check_not_expired, out_of_memory_error
from genartisan.serving.model_description import describe_model
from genartisan.serving.request import StyleRequest, read_grpc, read_http
from genartisan.serving.request_headers import REQUEST_START, check_encoding, seconds_waited
from genartisan.serving.streaming import run_events
from genartisan.serving.telemetry import Record, Telemetry
from genartisan.serving.traces import trace
from genartisan.serving.warm_up import warm_up
from genartisan.serving.watchdog import Watchdog

logger = logging.getLogger(__name__)


class GenartisanHandler(BaseHandler):  # type: ignore[misc]
    """Answers one request at a time (batchSize 1), over HTTP and gRPC."""

    def initialize(self, context: Any) -> None:
        """Loads the archive's bundle and warms up."""
        self.settings = context.model_yaml_config["handler"]
        self.limits = Limits.of_server(self.settings.get("limits", {}), context.model_yaml_config["responseTimeout"])
        torch.set_float32_matmul_precision("highest")  # BaseHandler's module lowers it on CUDA
        archive = Path(context.system_properties["model_dir"])
        bundle, self.bundle_hash = Bundle.load(archive / "bundle"), sha256(archive / "bundle" / MANIFEST)
        device = self._device(context)
        if context.model_name != DRAFT and not device.startswith("cuda"):
            lower_priority(self.settings.get("nice", 0))
        set_threads(self.settings.get("threads", "auto"), int(context.model_yaml_config.get("maxWorkers", 1)))
        self.stylizer = Stylizer(
            bundle,
            device,
            self.settings["precision"],
            int(self.settings["prompt_cache_bytes"]),
            graphs=self.settings.get("cuda_graphs", False) is True and device.startswith("cuda"),
            styles=dict(StyleFolder(archive / "styles")),
        )
        self.device = self.stylizer.device
        self.results = ByteCache[Result](int(self.settings["result_cache_bytes"]))
        warm_up(self.stylizer, self.settings.get("warm_up"))
        build = (genartisan.__version__, bundle.name, self.bundle_hash, context.manifest["model"]["modelVersion"])
        shared = Path(tempfile.gettempdir())  # by all workers of this server
        self.telemetry, self.jobs = Telemetry(emitter(context.metrics), shared, build), Jobs(shared)
        self.watchdog = Watchdog(float(self.settings["silence_s"]), self.telemetry.beat)
        logging.getLogger(telemetry.__name__).setLevel(logging.INFO)
        adapt_service()
        self.initialized = True
        logger.info("bundle %s on %s in %s", bundle.name, self.device, self.stylizer.precision)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer, one log line."""
        self.context = context
        if self._is_describe():
            return [self.describe_handle()]
        if not is_grpc(self.context) and (worker := events.to_hold(data[0])) is not None:
            return [self._hold(worker)]
        if is_dropped(context):
            return [b""]
        kind = "explanation" if self._is_explain() else "prediction"
        self.record = Record(context.get_request_id(0), "grpc" if is_grpc(self.context) else "http", kind)
        watch_peak(self.device)
        self.telemetry.begin(self.record)
        try:
            with self.watchdog.at_work():
                return self._handle(data, context)
        finally:
            self.telemetry.end(self.record, peak_bytes(self.device))

    def _handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """The answer; the request can be cancelled meanwhile."""
        try:
            self.request_id = self.record.identified(id_of(context, data[0]))
        except InputError as error:
            return [self._refusal(error)]
        with self.jobs.at_work(owner_of(context, data[0]), self.request_id) as self.job:
            return self._answers(data, context)

    def _answers(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """The answer; any error becomes a refusal, and the worker lives on."""
        try:
            self.jobs.check_open()
            self.job.check()
            return list(super().handle(data, context))
        except GenartisanError as error:
            return [self._refusal(error)]
        except Exception as error:
            self._log_failure("failed", error)
            if not out_of_memory(error):
                reason = f"The server failed; its log says why, at request {context.get_request_id(0)}."
                return [self._refusal(GenartisanError(reason))]
        return [self._refusal(self._too_large(data))]

    def preprocess(self, data: list[dict[str, Any]]) -> StyleRequest:
        """TorchServe's fields as a valid request within the limits."""
        fields, headers = data[0], headers_of(self.context)
        check_encoding(headers.get("content-encoding"))
        self.waited = seconds_waited((fields if is_grpc(self.context) else headers).get(REQUEST_START))
        request = read_grpc(fields) if is_grpc(self.context) else read_http(fields, headers)
        self.record.requested(request, self.stylizer.styles, bool(self.settings.get("log_prompts")))
        if self.context.model_name == DRAFT and not self._is_explain():
            check_draft(request.config)
        config = self.limits.admit(request)
        if self.waited is not None:
            self.record.seconds["queue"] = self.waited
            check_not_expired(self.waited, config)
        return replace(request, config=config)

    def inference(self, request: StyleRequest) -> tuple[StyleRequest, Result | None]:
        """The picture, as far as its deadline allows or the cache has it; None: cancelled before there was one."""
        key = request.key(self.bundle_hash)
        no_cache = "no-cache" in headers_of(self.context).get("cache-control", "").lower()
        cached = None if no_cache else self.results.get(key)
        self.record.details["cache"] = "miss" if cached is None else "hit"
        self.context.set_response_header(0, "X-Genartisan-Cache", self.record.details["cache"])
        if cached is not None:
            if request.media_type == EVENTS:
                self._send_accepted(request)
            return request, cached
        steps = self._steps(request)
        with closing(steps):
            try:
                self._run(steps, request)
            except CancelledError:
                if not self._is_streaming():
                    raise
                return request, self._so_far(steps)
            result = steps.result()
        self.record.made(result.report, request.config.steps, steps.prompt_cached)
        if result.report["steps"] == request.config.steps:
            self.results.put(key, result, result.nbytes)
        return request, result

    def postprocess(self, made: tuple[StyleRequest, Result | None]) -> list[bytes]:
        """The picture in the requested media type."""
        request, result = made
        if result is None:
            return [events.line(events.cancelled(None))]
        return [self._answer("photo", result.image, {"report": result.report}, request)]

    def _steps(self, request: StyleRequest) -> Stylization:
        """The stylization of a request; the library validates it, and only then is its cost known."""
        steps = self.stylizer.steps(
            **request.inputs(),
            seed=request.seed,
            began=None if self.waited is None else time.perf_counter() - self.waited,
            between=self._progress,
        )
        self.limits.check_cost(steps.size, steps.config, request.style_images)
        return steps

    def _so_far(self, steps: Stylization) -> Result | None:
        """The picture of a cancelled stream."""
        result = steps.result(full_size=False) if steps.has_picture else None
        if result is not None:
            self.record.made(result.report, steps.config.steps, steps.prompt_cached)
        self.record.cancelled()
        return result

    def _progress(self) -> None:
        """A unit of work is done."""
        self.watchdog.progress()
        self.telemetry.step()
        self.job.check()

    def _stepped(self, step: Step) -> None:
        """A step is done."""
        self.job.stepped(step.index, step.total, step.eta)
        self._progress()

    def _answer(self, name: str, image: Image.Image, facts: dict[str, Any], request: StyleRequest) -> bytes:
        """The answer with a picture and ``facts`` about it; ``name`` is the picture's field in JSON."""
        with timed(self.record.seconds, "encode"):
            picture = encode(image, request.picture_type)
        most = self.settings["max_response_bytes"]  # more kills the worker
        content = answer(request, name, picture, facts, most, is_cancelled=self.record.outcome == "cancelled")
        if not self._is_streaming():
            self.context.set_response_content_type(0, request.media_type)
        mark_last(self.context)
        return content

    def explain_handle(self, data_preprocess: StyleRequest, raw_data: Any) -> list[bytes]:
        """``/explanations``: the regions over the photo, or in JSON with what each of them would get."""
        if data_preprocess.media_type == EVENTS:
            raise InputError(f"accept is {EVENTS}, but an explanation is a single reply; use {JSON}.", "accept")
        explanation = self._steps(data_preprocess).explanation()
        facts: dict[str, Any] = {"explanation": explanation.facts}
        if explanation.classes is not None and data_preprocess.media_type == JSON:
            facts["classes"] = base64.b64encode(encode(explanation.classes)).decode()
        return [self._answer("overlay", explanation.overlay, facts, data_preprocess)]

    def describe_handle(self) -> dict[str, Any]:
        """``GET /models/genartisan?customized=true``."""
        return describe_model(self.stylizer, self.bundle_hash, self.limits)

    def _hold(self, worker: Any) -> bytes:
        """Idles if ``worker`` is this process, so that it can be removed (`genartisan.serving.management`)."""
        if worker == os.getpid():
            self._send(events.held(worker))
            time.sleep(events.HOLD)
        return events.line(events.released(worker))

    def _too_large(self, data: list[dict[str, Any]]) -> GenartisanError:
        """The refusal of a request that ran out of memory, with a size that fits, unless it is cancelled meanwhile."""
        try:
            request = self.preprocess(data)
            size = fitting_size(self.stylizer, **request.inputs(), between=self._progress)
        except CancelledError as error:
            return error
        except Exception as error:
            self._log_failure("found no smaller size", error)
            return TooLargeError("The server's memory does not suffice for this photo; send a smaller one.", "photo")
        return out_of_memory_error(request.config, size)

    def _send_accepted(self, request: StyleRequest) -> None:
        """Sends the first event; only once the input is valid, because it freezes the status."""
        context, name = self.context, self.stylizer.bundle.name
        context.set_response_content_type(0, EVENTS)
        context.set_response_header(0, "X-Accel-Buffering", "no")  # no buffering by a proxy
        self._send(events.accepted(self.request_id, request.seed, request.config.steps, name))

    def _run(self, steps: Stylization, request: StyleRequest) -> None:
        """Runs the steps, and sends their events if the request wants them."""
        if request.media_type != EVENTS:
            for step in steps:
                self._stepped(step)
            return
        self._send_accepted(request)
        for event in run_events(steps, request.preview_every, self._stepped):
            self._send(event)

    def _send(self, event: events.Event) -> None:
        send_intermediate_predict_response([events.line(event)], self.context.request_ids, "OK", 200, self.context)

    def _is_streaming(self) -> bool:
        """Whether an event has been sent; TorchServe notes it in a response header."""
        return bool(self.context.get_response_headers(0).get("ts_stream_next") == "true")

    def _log_failure(self, what: str, error: Exception) -> None:
        """Logs an error; its message, which may quote the user, only if ``log_prompts`` is true."""
        request = self.context.get_request_id(0)
        if self.settings.get("log_prompts"):
            logger.error("request %s %s", request, what, exc_info=error)
        else:
            logger.error("request %s %s (log_prompts shows the message)\n%s", request, what, trace(error))

    def _refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer, or as a stream's last event."""
        self.record.refused(error)
        if self._is_streaming():
            return events.line(events.failed(error))
        return refuse(error, self.context)

    def _device(self, context: Any) -> str:
        if (gpu := context.system_properties.get("gpu_id")) is None:
            return "cpu"
        return f"cuda:{gpu}" if torch.cuda.is_available() else "auto"
