"""TorchServe's context, as both handlers need it: the request's headers, its id and owner, refusals, metrics.

Of our package this module alone runs inside TorchServe's workers and imports TorchServe.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from ts.metrics.metric_type_enum import MetricTypes
from ts.service import Service
from ts.utils.util import PredictionException

from genartisan.errors import BusyError, CancelledError, GenartisanError, UnknownRequestError
from genartisan.serving.defaults import JSON
from genartisan.serving.duplicate_fields import repeats_kept
from genartisan.serving.gauges import Emit
from genartisan.serving.request_headers import AUTHORIZATION, REQUEST_ID, as_text, check_request_id

logger = logging.getLogger(__name__)
OWN_RPC_STATUS = (UnknownRequestError, CancelledError)  # NOT_FOUND, CANCELLED


def adapt_service() -> None:
    """Has TorchServe keep duplicate fields, and log no refusals; once in each worker."""
    logging.getLogger("ts.service").addFilter(is_no_refusal)
    os.environ["TS_DECODE_INPUT_REQUEST"] = "false"  # its own decoding drops duplicate keys
    Service.retrieve_data_for_inference = staticmethod(repeats_kept(Service.retrieve_data_for_inference))


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


def mark_last(context: Any) -> None:
    """Marks the answer as the last over gRPC, or StreamPredictions, which waits for that, costs the worker."""
    if is_grpc(context):
        context.set_response_header(0, "ts_stream_next", "false")


def owner_of(context: Any, fields: Mapping[str, Any]) -> str:
    """What entitles to cancel a request: the header ``Authorization``; over gRPC the field, empty without one.

    TorchServe has checked the header, or over gRPC the metadata, which it keeps from us.
    """
    return str(as_text((fields if is_grpc(context) else headers_of(context)).get(AUTHORIZATION, ""))).strip()


def id_of(context: Any, fields: Mapping[str, Any]) -> str:
    """The request's id: the sender's, or else TorchServe's, a random UUID.

    Raises:
        InputError: it is malformed.
    """
    chosen = (fields if is_grpc(context) else headers_of(context)).get(REQUEST_ID)
    return str(context.get_request_id(0)) if chosen is None else check_request_id(chosen)


def refuse(error: GenartisanError, context: Any) -> bytes:
    """An error as the answer over HTTP: status and JSON.

    Raises:
        PredictionException: the same over gRPC: a status with the JSON in its details.
    """
    body = json.dumps(error.as_dict())
    if is_grpc(context):
        # INVALID_ARGUMENT for all bad input: RESOURCE_EXHAUSTED (413) and FAILED_PRECONDITION (415) invite retries.
        status = error.status if error.status >= 500 or isinstance(error, OWN_RPC_STATUS) else 400
        raise PredictionException(f"{error.message}\n{body}", status) from None
    context.set_response_status(error.status, idx=0)
    context.set_response_content_type(0, JSON)
    if isinstance(error, BusyError) and error.retry_after is not None:
        context.set_response_header(0, "Retry-After", f"{error.retry_after:.0f}")
    return body.encode()


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
