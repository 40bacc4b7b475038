"""The handler of the second model, genartisan-control: cancels requests and tells how far they are.

TorchServe requires that this module defines exactly one class. It loads no networks.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

# The archive's genartisan takes precedence over any in PYTHONPATH or site-packages.
sys.path.insert(0, str(Path(__file__).resolve().parent))


import genartisan
from genartisan.errors import GenartisanError
from genartisan.serving.control import respond
from genartisan.serving.defaults import JSON
from genartisan.serving.handler_context import adapt_service, is_dropped, is_grpc, mark_last, owner_of, refuse
from genartisan.serving.jobs import Jobs
from genartisan.serving.request_headers import AUTHORIZATION
from genartisan.serving.traces import trace

logger = logging.getLogger(__name__)


class ControlHandler:
    """Answers one request at a time, over HTTP and gRPC, in milliseconds."""

    def initialize(self, context: Any) -> None:
        """Opens the folder that the other workers write to."""
        self.jobs = Jobs(Path(tempfile.gettempdir()))
        adapt_service()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer; any error becomes a refusal, and the worker lives on."""
        if context.get_request_header(0, "describe") == "True":
            return [{"version": genartisan.__version__}]
        if is_dropped(context):
            return [b""]
        mark_last(context)
        try:
            owner = owner_of(context, data[0])
            if is_grpc(context):
                data[0].pop(AUTHORIZATION, None)
            answer = respond(self.jobs, owner, data[0])
        except GenartisanError as error:
            return [refuse(error, context)]
        except Exception as error:
            number = context.get_request_id(0)
            logger.error("request %s failed\n%s", number, trace(error))
            reason = f"The server failed; its log says why, at request {number}."
            return [refuse(GenartisanError(reason), context)]
        context.set_response_content_type(0, JSON)
        return [answer]
