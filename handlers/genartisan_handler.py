"""The TorchServe handler; `genartisan.serving.handling` does the work.

TorchServe requires that this module defines exactly one class, and no function called ``handle``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The archive's genartisan takes precedence over any in PYTHONPATH or site-packages.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

from genartisan.method.saved_style import StyleFolder
from genartisan.serving import events
from genartisan.serving.defaults import DRAFT
from genartisan.serving.handler_context import (
    TorchServeExchange,
    adapt_service,
    emitter,
    is_dropped,
    is_grpc,
    send_event,
    told_of_failures,
)
from genartisan.serving.handling import answer_request
from genartisan.serving.worker import Worker


class GenartisanHandler:
    """Answers one request at a time (batchSize 1), over HTTP and gRPC."""

    @told_of_failures()
    def initialize(self, context: Any) -> None:
        """Loads the archive's bundle and warms up."""
        archive = Path(context.system_properties["model_dir"])
        self.worker = Worker.load(
            archive / "bundle",
            StyleFolder(archive / "styles"),
            context.model_yaml_config,
            self._device(context),
            drafts_only=context.model_name == DRAFT,
            version=context.manifest["model"]["modelVersion"],
            shared=Path(tempfile.gettempdir()),  # by all workers of this server
            emit=emitter(context.metrics),
        )
        adapt_service()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One request, one answer."""
        if context.get_request_header(0, "describe") == "True":  # GET /models/genartisan?customized=true
            return [self.worker.describe()]
        if not is_grpc(context) and (worker := events.to_hold(data[0])) is not None:
            return [self._hold(worker, context)]
        if is_dropped(context):
            return [b""]
        return [answer_request(self.worker, TorchServeExchange.of(context, data[0]))]

    def _hold(self, worker: Any, context: Any) -> bytes:
        """Idles if ``worker`` is this process, so that it can be removed (`genartisan.serving.management`)."""
        if worker == os.getpid():
            send_event(events.line(events.held(worker)), context)
            time.sleep(events.HOLD)
        return events.line(events.released(worker))

    def _device(self, context: Any) -> str:
        if (gpu := context.system_properties.get("gpu_id")) is None:
            return "cpu"
        return f"cuda:{gpu}" if torch.cuda.is_available() else "auto"
