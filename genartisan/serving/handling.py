"""Handles a request: reads it, makes the picture or the explanation, and answers. Knows no server."""

from __future__ import annotations

import base64
import logging
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

from PIL import Image

from genartisan.errors import BusyError, CancelledError, GenartisanError, InputError, TooLargeError
from genartisan.io.images import encode
from genartisan.method.fitting_size import fitting_size
from genartisan.method.step import Step
from genartisan.method.stylization import Result, Stylization
from genartisan.networks.memory import out_of_memory, peak_bytes, watch_peak
from genartisan.serving import events
from genartisan.serving.answers import answer, in_header
from genartisan.serving.defaults import JSON, WARNINGS
from genartisan.serving.events import MEDIA_TYPE as EVENTS
from genartisan.serving.exchange import Exchange
from genartisan.serving.jobs import Job
from genartisan.serving.limits import check_draft, check_not_expired, out_of_memory_error
from genartisan.serving.record import Record
from genartisan.serving.request import StyleRequest, read_grpc, read_http
from genartisan.serving.request_headers import REQUEST_START, check_encoding, seconds_waited
from genartisan.serving.streaming import run_events
from genartisan.serving.tracebacks import trace
from genartisan.serving.worker import Worker

logger = logging.getLogger(__name__)


def answer_request(worker: Worker, exchange: Exchange) -> bytes:
    """One request, one answer, one log line; of a stream the last event."""
    kind = "explanation" if exchange.is_explanation else "prediction"
    record = Record(exchange.number, exchange.protocol, kind, trace_context=exchange.trace_context)
    device = worker.stylizer.device
    watch_peak(device)
    worker.telemetry.begin(record)
    try:
        with worker.watchdog.at_work():
            return _identified(worker, exchange, record)
    finally:
        worker.telemetry.end(record, peak_bytes(device))


def _identified(worker: Worker, exchange: Exchange, record: Record) -> bytes:
    """The answer; the request can be cancelled meanwhile."""
    try:
        request_id = record.identified(exchange.request_id)
    except InputError as error:
        record.refused(error)
        return exchange.refusal(error)
    with worker.jobs.at_work(exchange.owner, request_id) as job:
        return Handling(worker, exchange, record, job, request_id).answer()


class Handling:
    """The work on one request."""

    def __init__(self, worker: Worker, exchange: Exchange, record: Record, job: Job, request_id: str) -> None:
        self.worker, self.exchange, self.record, self.job, self.request_id = worker, exchange, record, job, request_id
        self.waited: float | None = None

    def answer(self) -> bytes:
        """The answer; any error becomes a refusal, and the worker lives on."""
        try:
            self._check()
            return self._answer()
        except GenartisanError as error:
            return self._refusal(error)
        except Exception as error:
            self._log_failure("failed", error)
            if not out_of_memory(error):
                reason = f"The server failed; its log says why, at request {self.exchange.number}."
                return self._refusal(GenartisanError(reason))
        return self._refusal(self._too_large())

    def read(self) -> StyleRequest:
        """The fields as a valid request within the limits."""
        fields, headers = self.exchange.fields, self.exchange.headers
        check_encoding(headers.get("content-encoding"))
        self.waited = seconds_waited(headers.get(REQUEST_START))
        self.worker.jobs.check_open(self.waited)
        request = read_grpc(fields) if self.exchange.protocol == "grpc" else read_http(fields, headers)
        self.record.requested(request, self.worker.stylizer.styles, bool(self.worker.settings.get("log_prompts")))
        if self.exchange.drafts_only and not self.exchange.is_explanation:
            check_draft(request.config)
        config = self.worker.limits.admit(request)
        if self.waited is not None:
            self.record.seconds["queue"] = self.waited
            check_not_expired(self.waited, config)
        return replace(request, config=config)

    def explain(self, request: StyleRequest) -> bytes:
        """``/explanations``: the regions over the photo, or in JSON with what each of them would get."""
        if request.media_type == EVENTS:
            raise InputError(f"accept is {EVENTS}, but an explanation is a single reply; use {JSON}.", "accept")
        explanation = self._steps(request).explanation()
        facts: dict[str, Any] = {"explanation": explanation.facts}
        if explanation.classes is not None and request.media_type == JSON:
            facts["classes"] = base64.b64encode(encode(explanation.classes)).decode()
        return self._content("overlay", explanation.overlay, facts, request)

    def _answer(self) -> bytes:
        request = self.read()
        if self.exchange.is_explanation:
            return self.explain(request)
        result = self._result(request)
        if result is None:
            return events.line(events.cancelled(None))
        return self._content("photo", result.image, {"report": result.report}, request)

    def _result(self, request: StyleRequest) -> Result | None:
        """The picture, as far as its deadline allows or the cache has it; None: cancelled before there was one."""
        key = request.key(self.worker.bundle_hash)
        no_cache = "no-cache" in self.exchange.headers.get("cache-control", "").lower()
        cached = None if no_cache else self.worker.results.get(key)
        self.record.details["cache"] = "miss" if cached is None else "hit"
        self.exchange.set_header("X-Genartisan-Cache", self.record.details["cache"])
        if cached is not None:
            if request.media_type == EVENTS:
                self._send_accepted(request)
            return cached
        steps = self._steps(request)
        with closing(steps):
            try:
                self._run(steps, request)
            except CancelledError:
                if not self.exchange.is_streaming:
                    raise
                return self._so_far(steps)
            result = steps.result()
        self.record.made(result.report, request.config.steps, steps.prompt_cached)
        if result.report["steps"] == request.config.steps:
            self.worker.results.put(key, result, result.nbytes)
        return result

    def _steps(self, request: StyleRequest) -> Stylization:
        """The stylization of a request; the library validates it, and only then is its cost known."""
        steps = self.worker.stylizer.steps(
            **request.inputs(),
            seed=request.seed,
            began=None if self.waited is None else time.perf_counter() - self.waited,
            between=self._progress,
        )
        self.record.work = steps.phases
        self.worker.limits.check_cost(steps.size, steps.config, request.style_images)
        return steps

    def _run(self, steps: Stylization, request: StyleRequest) -> None:
        """Runs the steps, and sends their events if the request wants them."""
        if request.media_type != EVENTS:
            for step in steps:
                self._stepped(step)
            return
        self._send_accepted(request)
        for event in run_events(steps, request.preview_every, self._stepped):
            self.exchange.send(events.line(event))

    def _send_accepted(self, request: StyleRequest) -> None:
        """Sends the first event; only once the input is valid, because it freezes the status."""
        self.exchange.set_media_type(EVENTS)
        self.exchange.set_header("X-Accel-Buffering", "no")  # no buffering by a proxy
        name = self.worker.stylizer.bundle.name
        self.exchange.send(events.line(events.accepted(self.request_id, request.seed, request.config.steps, name)))

    def _so_far(self, steps: Stylization) -> Result | None:
        """The picture of a cancelled stream."""
        result = steps.result(full_size=False) if steps.has_picture else None
        if result is not None:
            self.record.made(result.report, steps.config.steps, steps.prompt_cached)
        self.record.cancelled()
        return result

    def _stepped(self, step: Step) -> None:
        """A step is done."""
        self.job.stepped(step.index, step.total, step.eta)
        self.record.steps.append(time.perf_counter())
        self._progress()

    def _progress(self) -> None:
        """A unit of work is done."""
        self.worker.watchdog.progress()
        self.worker.telemetry.step()
        self._check()

    def _check(self) -> None:
        """Raises CancelledError if the request is cancelled or its caller has left."""
        self.job.check()
        if self.exchange.has_left:
            raise CancelledError("The request was cancelled, as its caller left.")

    def _content(self, name: str, image: Image.Image, facts: dict[str, Any], request: StyleRequest) -> bytes:
        """The answer with a picture and ``facts`` about it; ``name`` is the picture's field in JSON."""
        with self.record.seconds.timed("encode"):
            picture = encode(image, request.picture_type)
        most = self.worker.settings["max_response_bytes"]  # more kills TorchServe's worker
        content = answer(request, name, picture, facts, most, is_cancelled=self.record.outcome == "cancelled")
        if not self.exchange.is_streaming:
            self.exchange.set_media_type(request.media_type)
            if request.media_type != JSON and "report" in facts:
                self.exchange.set_header(WARNINGS, in_header(facts["report"]["warnings"]))
        return content

    def _too_large(self) -> GenartisanError:
        """The refusal of a request that ran out of memory, with a size that fits, unless it is cancelled meanwhile."""
        try:
            request = self.read()
            size = fitting_size(self.worker.stylizer, **request.inputs(), between=self._progress)
        except CancelledError as error:
            return error
        except Exception as error:
            self._log_failure("found no smaller size", error)
            return TooLargeError("The server's memory does not suffice for this photo; send a smaller one.", "photo")
        return out_of_memory_error(request.config, size)

    def _log_failure(self, what: str, error: Exception) -> None:
        """Logs an error; its message, which may quote the user, only if ``log_prompts`` is true."""
        if self.worker.settings.get("log_prompts"):
            logger.error("request %s %s", self.exchange.number, what, exc_info=error)
        else:
            logger.error("request %s %s (log_prompts shows the message)\n%s", self.exchange.number, what, trace(error))

    def _refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer, or as a stream's last event."""
        self.record.refused(error)
        if self.exchange.is_streaming:
            return events.line(events.failed(error))
        if isinstance(error, BusyError) and error.retry_after is not None:
            self.exchange.set_header("Retry-After", f"{error.retry_after:.0f}")
        return self.exchange.refusal(error)
