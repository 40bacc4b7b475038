"""The TorchServe handler: bytes ↔ dataclasses. `genartisan.serving.request` says what a request means.

TorchServe wants exactly one class in this module.
"""

from __future__ import annotations

import base64
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

# The archive carries its own genartisan, and this must win over any other that PYTHONPATH or site-packages may hold.
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
from genartisan.io.images import encode
from genartisan.method.fitting_size import fitting_size
from genartisan.method.saved_style import StyleFolder
from genartisan.method.stylization import Result, Stylization, timed
from genartisan.method.stylizer import Stylizer
from genartisan.networks.bundle import MANIFEST, Bundle, sha256
from genartisan.networks.device import set_threads
from genartisan.networks.memory import out_of_memory, peak_bytes, watch_peak
from genartisan.serving import events, schema, telemetry
from genartisan.serving.duplicate_fields import repeats_kept
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.gauges import Emit
from genartisan.serving.limits import Limits, check_not_expired
from genartisan.serving.log_privacy import trace
from genartisan.serving.request import JSON, StyleRequest, read_body, read_form, read_grpc
from genartisan.serving.request_headers import REQUEST_START, check_encoding, seconds_waited
from genartisan.serving.telemetry import Record, Telemetry
from genartisan.serving.warm_up import warm_up
from genartisan.serving.watchdog import Watchdog

logger = logging.getLogger(__name__)


class GenartisanHandler(BaseHandler):  # type: ignore[misc]
    """Answers one request at a time (batchSize 1) with a picture, over HTTP and gRPC."""

    def initialize(self, context: Any) -> None:
        """Loads the bundle beside this file, once, and makes some pictures: the first user need not wait."""
        self.settings = context.model_yaml_config["handler"]
        self.limits = Limits.of_server(self.settings.get("limits", {}), context.model_yaml_config["responseTimeout"])
        torch.set_float32_matmul_precision("highest")  # BaseHandler's module lowers it on CUDA, the library does not
        archive = Path(context.system_properties["model_dir"])
        folder, styles = archive / "bundle", StyleFolder(archive / "styles")
        bundle, self.bundle_hash = Bundle.load(folder), sha256(folder / MANIFEST)
        device = self._device(context)
        set_threads(self.settings.get("threads", "auto"), int(context.model_yaml_config.get("maxWorkers", 1)))
        self.stylizer = Stylizer(
            bundle,
            device,
            self.settings["precision"],
            int(self.settings["prompt_cache_bytes"]),
            graphs=self.settings.get("cuda_graphs", False) is True and device.startswith("cuda"),
            styles=dict(styles),
        )
        self.device = self.stylizer.device
        self.results = ByteCache[Result](int(self.settings["result_cache_bytes"]))
        warm_up(self.stylizer, self.settings.get("warm_up"))
        model = context.manifest["model"]["modelVersion"]
        build = (genartisan.__version__, bundle.name, self.bundle_hash, model)
        self.telemetry = Telemetry(emitter(context.metrics), Path(tempfile.gettempdir()), build)
        self.watchdog = Watchdog(float(self.settings["silence_s"]), self.telemetry.beat)
        logging.getLogger(telemetry.__name__).setLevel(logging.INFO)
        logging.getLogger("ts.service").addFilter(is_no_refusal)
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # of two equal keys TorchServe's own reading keeps the last
        Service.retrieve_data_for_inference = staticmethod(repeats_kept(Service.retrieve_data_for_inference))
        self.initialized = True
        logger.info("bundle %s on %s in %s", bundle.name, self.device, self.stylizer.precision)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer, one line in the log."""
        self.context = context
        if self._is_describe():
            return [self.describe_handle()]
        if not self._is_grpc() and (worker := events.to_hold(data[0])) is not None:
            return [self._hold(worker)]
        if self._is_grpc() and context.header_key_sequence_id.lower() in self._headers():
            # StreamPredictions2, whose caller has an error already. Any answer to it, or none, costs TorchServe the
            # worker; an answer to nobody does not.
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
        """Whatever goes wrong with a request is said to its sender, and the worker lives on."""
        try:
            answers: list[Any] = super().handle(data, context)
            return answers
        except GenartisanError as error:
            return [self._refusal(error)]
        except Exception as error:
            request = context.get_request_id(0)
            self._log_failure("failed", error)
            if not out_of_memory(error):
                return [self._refusal(GenartisanError(f"The server failed; its log says why, at request {request}."))]
        return [self._refusal(self._too_large(data))]

    def preprocess(self, data: list[dict[str, Any]]) -> StyleRequest:
        """TorchServe's fields as a checked request, within the limits."""
        fields, headers = data[0], self._headers()
        check_encoding(headers.get("content-encoding"))
        self.waited = seconds_waited((fields if self._is_grpc() else headers).get(REQUEST_START))
        if self._is_grpc():
            request = read_grpc(fields)
        elif set(fields) == {"body"}:
            request = read_body(fields["body"], headers.get("content-type", ""), headers.get("accept"))
        else:
            request = read_form(fields, headers.get("accept"))
        self.record.mode = request.config.mode
        self.record.details["prompt_characters"] = len(request.prompt or "")
        if request.config.style is not None and request.config.style in self.stylizer.styles:  # or it is the user's own
            self.record.details["style"] = request.config.style
        if request.style_images:
            self.record.details["style_images"] = len(request.style_images)
        if self.settings.get("log_prompts"):
            self.record.details["prompt"] = request.prompt
        config = self.limits.admit(request.photo, request.masks, request.style_images, request.prompt, request.config)
        if self.waited is not None:
            self.record.seconds["queue"] = self.waited
            check_not_expired(self.waited, config)
        return replace(request, config=config)

    def inference(self, request: StyleRequest) -> tuple[StyleRequest, Result]:
        """The picture, or as much of it as its deadline allows; from the cache if it was made before."""
        key = request.key(self.bundle_hash)
        anew = "no-cache" in self._headers().get("cache-control", "").lower()
        cached = None if anew else self.results.get(key)
        self.record.details["cache"] = "miss" if cached is None else "hit"
        self.context.set_response_header(0, "X-Genartisan-Cache", self.record.details["cache"])
        if cached is not None:
            if request.media_type == EVENTS:
                self._accept(request)
            return request, cached
        steps = self._steps(request)
        with closing(steps):
            if request.media_type == EVENTS:
                self._tell(steps, request)
            else:
                for _ in steps:
                    self._progress()
            result = steps.result()
        self.record.made(result.report, request.config.steps, steps.prompt_cached)
        if result.report["steps"] == request.config.steps:
            self.results.put(key, result, result.nbytes)
        return request, result

    def postprocess(self, answer: tuple[StyleRequest, Result]) -> list[bytes]:
        """The picture in the media type that was asked for."""
        request, result = answer
        return [self._answer("photo", result.image, {"report": result.report}, request)]

    def _steps(self, request: StyleRequest) -> Stylization:
        """What a request asks of the library."""
        return self.stylizer.steps(
            request.photo,
            request.prompt,
            config=request.config,
            mask=request.masks,
            style_image=request.style_images,
            seed=request.seed,
            began=None if self.waited is None else time.perf_counter() - self.waited,
            between=self._progress,
        )

    def _progress(self) -> None:
        """A piece of the work is done."""
        self.watchdog.progress()
        self.telemetry.step()

    def _answer(self, name: str, image: Image.Image, facts: dict[str, Any], request: StyleRequest) -> bytes:
        """A picture; or JSON with it, in base64 under its name, and ``facts``; or the same as a stream's last event."""
        with timed(self.record.seconds, "encode"):
            content = encode(image, request.picture_type)
        if request.media_type in (JSON, EVENTS):
            told = {"media_type": request.picture_type, name: base64.b64encode(content).decode(), **facts}
            content = json.dumps(told).encode() if request.media_type == JSON else events.line(events.result(told))
        if len(content) > self.settings["max_response_bytes"]:  # TorchServe would kill the worker
            field = "size" if request.config.output_size is None else "output_size"
            raise InputError(
                f"The answer has {len(content):,} bytes; at most {self.settings['max_response_bytes']:,} can be sent. "
                f"Lower {field}, or ask for image/jpeg.",
                field,
            )
        if not self._is_streaming():
            self.context.set_response_content_type(0, request.media_type)
        if self._is_grpc():  # StreamPredictions wants to know that this is the last reply, or the worker is lost
            self.context.set_response_header(0, "ts_stream_next", "false")
        return content

    def explain_handle(self, data_preprocess: StyleRequest, raw_data: Any) -> list[bytes]:
        """``/explanations``: the regions over the photo, or in JSON with what each of them will get."""
        request = data_preprocess
        if request.media_type == EVENTS:
            raise InputError(f"accept is {EVENTS}; an explanation is one reply, a picture or {JSON}.", "accept")
        explanation = self._steps(request).explanation()
        return [self._answer("overlay", explanation.overlay, {"explanation": explanation.facts}, request)]

    def describe_handle(self) -> dict[str, Any]:
        """``GET /models/genartisan?customized=true``."""
        bundle = self.stylizer.bundle
        return {
            "version": genartisan.__version__,
            "package": str(Path(genartisan.__file__ or "").parent),  # inside the archive, or something is wrong
            "device": str(self.device),
            "precision": self.stylizer.precision,
            "threads": torch.get_num_threads(),
            "bundle": {
                "name": bundle.name,
                "sha256": self.bundle_hash,
                "files": {entry.file: entry.sha256 for entry in bundle.manifest.networks.values()},
            },
            "styles": {name: saved.about.described for name, saved in self.stylizer.styles.items()},
            "limits": self.limits.model_dump(),
            "input": schema.description(),
        }

    def _hold(self, worker: Any) -> bytes:
        """Does nothing for a while if ``worker`` is this process, so that it can be removed (`serving/management.py`).

        Asked for by those who may ask for pictures, which hold a worker much longer.
        """
        if worker == os.getpid():
            self._send(events.held(worker))
            time.sleep(events.HOLD)
        return events.line(events.released(worker))

    def _too_large(self, data: list[dict[str, Any]]) -> GenartisanError:
        """The refusal of a request for which the memory did not suffice, with a size for which it does."""
        try:
            request = self.preprocess(data)
            config = request.config
            size = fitting_size(
                self.stylizer,
                request.photo,
                request.prompt,
                config,
                mask=request.masks,
                style_image=request.style_images,
                between=self._progress,
            )
        except Exception as error:
            self._log_failure("found no smaller size", error)
            return TooLargeError("The server's memory does not suffice for this photo; send a smaller one.", "photo")
        smaller = f"lower patches, which is {config.patches}"
        if config.output_size is not None:
            smaller += f", or output_size, which is {config.output_size}"
        remedy = f"size {size} would fit" if size else smaller
        reason = f"size is {config.size}, for which the server's memory does not suffice"
        return TooLargeError(f"{reason}; {remedy}.", "size")

    def _accept(self, request: StyleRequest) -> None:
        """Sends the first event. Nothing may be sent before the input is known to be good."""
        name = self.stylizer.bundle.name
        self.context.set_response_content_type(0, EVENTS)
        self.context.set_response_header(0, "X-Accel-Buffering", "no")  # a proxy is not to collect them
        self._send(events.accepted(self.context.get_request_id(0), request.seed, request.config.steps, name))

    def _tell(self, steps: Stylization, request: StyleRequest) -> None:
        """Runs the steps and sends an event now and then."""
        self._accept(request)
        for event in events.progress(steps, request.preview_every):
            self._progress()
            self._send(event)

    def _send(self, event: events.Event) -> None:
        context = self.context
        send_intermediate_predict_response([events.line(event)], context.request_ids, "Progress", 200, context)

    def _is_streaming(self) -> bool:
        """Whether an event has been sent: TorchServe's function notes it among the response's headers."""
        return bool(self.context.get_response_headers(0).get("ts_stream_next") == "true")

    def _log_failure(self, what: str, error: Exception) -> None:
        """Logs an error of ours; its words, which may quote the user's, only where these may be logged."""
        request = self.context.get_request_id(0)
        if self.settings.get("log_prompts"):
            logger.error("request %s %s", request, what, exc_info=error)
        else:
            logger.error("request %s %s (its words: log_prompts)\n%s", request, what, trace(error))

    def _refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer: status and JSON over HTTP; over gRPC a status, with the same JSON in its details."""
        self.record.refused(error)
        body = json.dumps(error.as_dict())
        if self._is_streaming():  # the status went out with the first event
            return events.line(events.failed(error))
        if self._is_grpc():
            # 400 is INVALID_ARGUMENT; 413 would be RESOURCE_EXHAUSTED, 415 FAILED_PRECONDITION, which invite a retry.
            raise PredictionException(f"{error.message}\n{body}", 400 if error.status < 500 else error.status) from None
        self.context.set_response_status(error.status, idx=0)
        self.context.set_response_content_type(0, JSON)
        return body.encode()

    def _headers(self) -> dict[str, str]:
        """The request's headers, names in lower case. TorchServe puts a dict here for every field: those are none."""
        headers = self.context.get_all_request_header(0)
        return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}

    def _is_grpc(self) -> bool:
        """Only an HTTP request has a host, or the path that TorchServe notes for ``/predictions``."""
        return not {"host", "url_path", "describe"} & self._headers().keys()

    def _device(self, context: Any) -> str:
        gpu = context.system_properties.get("gpu_id")
        if gpu is None:
            return "cpu"
        return f"cuda:{gpu}" if torch.cuda.is_available() else "auto"


def is_no_refusal(record: logging.LogRecord) -> bool:
    """Keeps TorchServe from logging bad input with a traceback, and a refusal's words, which may be the user's."""
    return record.exc_info is None or not isinstance(record.exc_info[1], PredictionException)


def emitter(metrics: Any) -> Emit:
    """Writes to TorchServe's metrics, which handlers/metrics.yaml declares."""

    def emit(name: str, value: float, labels: list[str]) -> None:
        kind = MetricTypes.COUNTER if name.endswith("_total") else MetricTypes.GAUGE
        # In a label TorchServe reads commas, colons and bars as the end of it.
        metrics.get_metric(name, kind).add_or_update(value, [re.sub(r"[^\w.+-]", "_", label) for label in labels])

    return emit
