"""The handler of the second model, genartisan-control: cancels requests and tells how far they are.

TorchServe requires that this module defines exactly one class, and no function called ``handle``. It loads no networks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

# The archive's genartisan takes precedence over any in PYTHONPATH or site-packages.
sys.path.insert(0, str(Path(__file__).resolve().parent))


import genartisan
from genartisan.serving.control import answer_control
from genartisan.serving.handler_context import TorchServeExchange, adapt_service, is_dropped
from genartisan.serving.jobs import Jobs


class ControlHandler:
    """Answers one request at a time, over HTTP and gRPC, in milliseconds."""

    def initialize(self, context: Any) -> None:
        """Opens the folder that the other workers write to."""
        self.jobs = Jobs(Path(tempfile.gettempdir()))
        adapt_service()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer."""
        if context.get_request_header(0, "describe") == "True":
            return [{"version": genartisan.__version__}]
        if is_dropped(context):
            return [b""]
        return [answer_control(self.jobs, TorchServeExchange.of(context, data[0]))]
