"""TorchServe's context, as both handlers need it: requests and their answers, metrics.

Of our package this module alone runs inside TorchServe's workers and imports TorchServe.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.metrics.metric_type_enum import MetricTypes
from ts.service import Service
from ts.utils.util import PredictionException

from genartisan.errors import CancelledError, GenartisanError, UnknownRequestError
from genartisan.serving.defaults import DRAFT, JSON
from genartisan.serving.duplicate_fields import repeats_kept
from genartisan.serving.exchange import Exchange
from genartisan.serving.gauges import Emit
from genartisan.serving.request import GRPC_HEADERS
from genartisan.serving.server_log import CANNOT_LOAD

logger = logging.getLogger(__name__)
READ_WITHIN = 1.0  # seconds, by TorchServe, of a worker's output
OWN_RPC_STATUS = (UnknownRequestError, CancelledError)  # NOT_FOUND, CANCELLED


def adapt_service() -> None:
    """Has TorchServe keep duplicate fields, and log no refusals; once in each worker."""
    logging.getLogger("ts.service").addFilter(is_no_refusal)
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # its own decoding drops duplicate keys
    Service.retrieve_data_for_inference = staticmethod(repeats_kept(Service.retrieve_data_for_inference))


@contextmanager
def told_of_failures() -> Iterator[None]:
    """Logs the error that ends the block, in time: TorchServe drops what it has not read when a worker ends."""
    try:
        yield
    except Exception:
        logger.exception(CANNOT_LOAD)
        time.sleep(READ_WITHIN)
        raise


def headers_of(context: Any) -> dict[str, str]:
    """The request's headers, names in lower case, without the dicts that TorchServe adds for fields."""
    headers = context.get_all_request_header(0)
    return {name.lower(): value for name, value in headers.items() if isinstance(value, str)}


def is_grpc(context: Any) -> bool:
    """Whether there is neither a host nor the path that TorchServe notes for HTTP."""
    return not {"host", "url_path", "describe"} & headers_of(context).keys()


def is_dropped(context: Any) -> bool:
    """Whether the call is gRPC's StreamPredictions2, which is dropped, to be returned as ``[b""]``.

    Its caller has an error already; only an answer without a recipient spares the worker.
    """
    if not is_grpc(context) or context.header_key_sequence_id.lower() not in headers_of(context):
        return False
    logger.warning("request %s came by StreamPredictions2 and is dropped", context.get_request_id(0))
    context.request_ids.clear()
    return True


class TorchServeExchange(Exchange):
    """An exchange through TorchServe.

    Attributes:
        context: TorchServe's, of a batch with this request alone.
    """

    context: Any

    @classmethod
    def of(cls, context: Any, fields: Mapping[str, Any]) -> TorchServeExchange:
        """The exchange of a call of ``handle`` with ``fields``, its ``data[0]``."""
        over_grpc = is_grpc(context)
        headers = {name: fields[name] for name in GRPC_HEADERS if name in fields} if over_grpc else headers_of(context)
        exchange = cls(
            context.get_request_id(0),
            "grpc" if over_grpc else "http",
            fields,
            headers,
            is_explanation=context.get_request_header(0, "explain") == "True",
            drafts_only=context.model_name == DRAFT,
        )
        exchange.context = context
        if over_grpc:  # the answer is the last, or StreamPredictions, which waits for that, costs the worker
            exchange.set_header("ts_stream_next", "false")
        return exchange

    def set_header(self, name: str, value: str) -> None:
        """Sets a header of the answer."""
        self.context.set_response_header(0, name, value)

    def set_media_type(self, media_type: str) -> None:
        """Sets the media type of the answer."""
        self.context.set_response_content_type(0, media_type)

    def send(self, line: bytes) -> None:
        """Sends one event of a stream."""
        self.is_streaming = True
        send_event(line, self.context)

    def refusal(self, error: GenartisanError) -> bytes:
        """An error as the answer over HTTP: status and JSON.

        Raises:
            PredictionException: the same over gRPC: a status with the JSON in its details.
        """
        body = json.dumps(error.as_dict())
        if self.protocol == "grpc":
            # INVALID_ARGUMENT for all bad input: RESOURCE_EXHAUSTED (413) and FAILED_PRECONDITION (415) invite retries.
            status = error.status if error.status >= 500 or isinstance(error, OWN_RPC_STATUS) else 400
            raise PredictionException(f"{error.message}\n{body}", status) from None
        self.context.set_response_status(error.status, idx=0)
        self.set_media_type(JSON)
        return body.encode()


def send_event(line: bytes, context: Any) -> None:
    """Sends one event of a stream."""
    send_intermediate_predict_response([line], context.request_ids, "OK", 200, context)


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
