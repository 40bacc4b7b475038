"""The TorchServe handler: bytes ↔ dataclasses, as `genartisan.serving` defines them.

TorchServe requires that this module defines exactly one class.
"""

from __future__ import annotations

import json
import logging
import os
import re
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
from ts.metrics.metric_type_enum import MetricTypes
from ts.service import Service
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException

import genartisan
from genartisan.cache import ByteCache
from genartisan.errors import GenartisanError, InputError, TooLargeError
from genartisan.io.files import sha256
from genartisan.io.images import encode
from genartisan.method.fitting_size import fitting_size
from genartisan.method.saved_style import StyleFolder
from genartisan.method.stylization import Result, Stylization, timed
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle
from genartisan.networks.device import set_threads
from genartisan.networks.memory import out_of_memory, peak_bytes, watch_peak
from genartisan.serving import events, telemetry
from genartisan.serving.answers import answer
from genartisan.serving.duplicate_fields import repeats_kept
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.gauges import Emit
from genartisan.serving.limits import Limits, check_not_expired, out_of_memory_error
from genartisan.serving.log_privacy import trace
from genartisan.serving.media_types import JSON
from genartisan.serving.model_description import describe_model
from genartisan.serving.request import StyleRequest, read_grpc, read_http
from genartisan.serving.request_headers import REQUEST_START, check_encoding, seconds_waited
from genartisan.serving.streaming import run_events
from genartisan.serving.telemetry import Record, Telemetry
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
        version = context.manifest["model"]["modelVersion"]
        build = (genartisan.__version__, bundle.name, self.bundle_hash, version)
        self.telemetry = Telemetry(emitter(context.metrics), Path(tempfile.gettempdir()), build)
        self.watchdog = Watchdog(float(self.settings["silence_s"]), self.telemetry.beat)
        logging.getLogger(telemetry.__name__).setLevel(logging.INFO)
        logging.getLogger("ts.service").addFilter(is_no_refusal)
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # TorchServe's own decoding drops duplicate keys
        Service.retrieve_data_for_inference = staticmethod(repeats_kept(Service.retrieve_data_for_inference))
        self.initialized = True
        logger.info("bundle %s on %s in %s", bundle.name, self.device, self.stylizer.precision)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer, one log line."""
        self.context = context
        if self._is_describe():
            return [self.describe_handle()]
        if not self._is_grpc() and (worker := events.to_hold(data[0])) is not None:
            return [self._hold(worker)]
        if self._is_grpc() and context.header_key_sequence_id.lower() in self._headers():
            # StreamPredictions2: its caller has an error already; only an answer without a recipient spares the worker.
            logger.warning("request %s came by StreamPredictions2 and is dropped", context.get_request_id(0))
            context.request_ids.clear()
            return [b""]
        kind = "explanation" if self._is_explain() else "prediction"
        self.record = Record(context.get_request_id(0), "grpc" if self._is_grpc() else "http", kind)
        watch_peak(self.device)
        self.telemetry.begin(self.record)
        try:
            with self.watchdog.at_work():
                return self._handle(data, context)
        finally:
            self.telemetry.end(self.record, peak_bytes(self.device))

    def _handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """The answer; any error becomes a refusal, and the worker lives on."""
        try:
            answers: list[Any] = super().handle(data, context)
            return answers
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
        fields, headers = data[0], self._headers()
        check_encoding(headers.get("content-encoding"))
        self.waited = seconds_waited((fields if self._is_grpc() else headers).get(REQUEST_START))
        request = read_grpc(fields) if self._is_grpc() else read_http(fields, headers)
        self.record.requested(request, self.stylizer.styles, bool(self.settings.get("log_prompts")))
        config = self.limits.admit(request)
        if self.waited is not None:
            self.record.seconds["queue"] = self.waited
            check_not_expired(self.waited, config)
        return replace(request, config=config)

    def inference(self, request: StyleRequest) -> tuple[StyleRequest, Result]:
        """The picture, as far as its deadline allows; from the cache if it has it."""
        key = request.key(self.bundle_hash)
        no_cache = "no-cache" in self._headers().get("cache-control", "").lower()
        cached = None if no_cache else self.results.get(key)
        self.record.details["cache"] = "miss" if cached is None else "hit"
        self.context.set_response_header(0, "X-Genartisan-Cache", self.record.details["cache"])
        if cached is not None:
            if request.media_type == EVENTS:
                self._send_accepted(request)
            return request, cached
        steps = self._steps(request)
        with closing(steps):
            if request.media_type == EVENTS:
                self._stream(steps, request)
            else:
                for _ in steps:
                    self._progress()
            result = steps.result()
        self.record.made(result.report, request.config.steps, steps.prompt_cached)
        if result.report["steps"] == request.config.steps:
            self.results.put(key, result, result.nbytes)
        return request, result

    def postprocess(self, made: tuple[StyleRequest, Result]) -> list[bytes]:
        """The picture in the requested media type."""
        request, result = made
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

    def _progress(self) -> None:
        """A unit of work is done."""
        self.watchdog.progress()
        self.telemetry.step()

    def _answer(self, name: str, image: Image.Image, facts: dict[str, Any], request: StyleRequest) -> bytes:
        """The answer with a picture and ``facts`` about it; ``name`` is the picture's field in JSON."""
        with timed(self.record.seconds, "encode"):
            picture = encode(image, request.picture_type)
        content = answer(request, name, picture, facts, self.settings["max_response_bytes"])  # more kills the worker
        if not self._is_streaming():
            self.context.set_response_content_type(0, request.media_type)
        if self._is_grpc():  # or StreamPredictions, which waits for the last reply, costs the worker
            self.context.set_response_header(0, "ts_stream_next", "false")
        return content

    def explain_handle(self, data_preprocess: StyleRequest, raw_data: Any) -> list[bytes]:
        """``/explanations``: the regions over the photo, or in JSON with what each of them would get."""
        if data_preprocess.media_type == EVENTS:
            raise InputError(f"accept is {EVENTS}, but an explanation is a single reply; use {JSON}.", "accept")
        explanation = self._steps(data_preprocess).explanation()
        return [self._answer("overlay", explanation.overlay, {"explanation": explanation.facts}, data_preprocess)]

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
        """The refusal of a request that ran out of memory, with a size that fits."""
        try:
            request = self.preprocess(data)
            size = fitting_size(self.stylizer, **request.inputs(), between=self._progress)
        except Exception as error:
            self._log_failure("found no smaller size", error)
            return TooLargeError("The server's memory does not suffice for this photo; send a smaller one.", "photo")
        return out_of_memory_error(request.config, size)

    def _send_accepted(self, request: StyleRequest) -> None:
        """Sends the first event; only once the input is valid, because it freezes the status."""
        context, name = self.context, self.stylizer.bundle.name
        context.set_response_content_type(0, EVENTS)
        context.set_response_header(0, "X-Accel-Buffering", "no")  # no buffering by a proxy
        self._send(events.accepted(context.get_request_id(0), request.seed, request.config.steps, name))

    def _stream(self, steps: Stylization, request: StyleRequest) -> None:
        """Runs the steps and sends their events."""
        self._send_accepted(request)
        for event in run_events(steps, request.preview_every):
            self._progress()
            self._send(event)

    def _send(self, event: events.Event) -> None:
        ids = self.context.request_ids
        send_intermediate_predict_response([events.line(event)], ids, "Progress", 200, self.context)

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
        """An error as the answer: status and JSON over HTTP; a status with the same JSON in its details over gRPC."""
        self.record.refused(error)
        body = json.dumps(error.as_dict())
        if self._is_streaming():
            return events.line(events.failed(error))
        if self._is_grpc():
            # INVALID_ARGUMENT for all bad input: RESOURCE_EXHAUSTED (413) and FAILED_PRECONDITION (415) invite retries.
            raise PredictionException(f"{error.message}\n{body}", 400 if error.status < 500 else error.status) from None
        self.context.set_response_status(error.status, idx=0)
        self.context.set_response_content_type(0, JSON)
        return body.encode()

    def _headers(self) -> dict[str, str]:
        """The request's headers, names in lower case, without the dicts that TorchServe adds for fields."""
        headers = self.context.get_all_request_header(0)
        return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}

    def _is_grpc(self) -> bool:
        """Whether there is neither a host nor the path that TorchServe notes for HTTP."""
        return not {"host", "url_path", "describe"} & self._headers().keys()

    def _device(self, context: Any) -> str:
        if (gpu := context.system_properties.get("gpu_id")) is None:
            return "cpu"
        return f"cuda:{gpu}" if torch.cuda.is_available() else "auto"


def is_no_refusal(record: logging.LogRecord) -> bool:
    """A filter: refusals are not logged with a traceback, nor with their message, which may quote the user."""
    return record.exc_info is None or not isinstance(record.exc_info[1], PredictionException)


def emitter(metrics: Any) -> Emit:
    """Writes to TorchServe's metrics, declared in handlers/metrics.yaml."""

    def emit(name: str, value: float, labels: list[str]) -> None:
        kind = MetricTypes.COUNTER if name.endswith("_total") else MetricTypes.GAUGE
        safe = [re.sub(r"[^\w.+-]", "_", label) for label in labels]  # TorchServe splits at commas, colons and bars
        metrics.get_metric(name, kind).add_or_update(value, safe)

    return emit
