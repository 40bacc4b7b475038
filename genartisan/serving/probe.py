"""Readiness probe for load balancers: ``GET /healthz`` on a separate port, without a key.

It makes no picture, and asks the server at most once a second. TorchServe's own ``/ping`` requires a key and says
Healthy for minutes after a worker has died.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from genartisan.errors import ServeError
from genartisan.serving.describe import is_ready
from genartisan.serving.state import noted

PATH = "/healthz"
MAX_AGE = 1.0  # seconds for which an answer is reused


class Probe:
    """Context manager that answers 200 while the server of a state folder is ready, and 503 otherwise.

    Args:
        port: None for no probe.
    """

    def __init__(self, state: str | Path, host: str, port: int | None) -> None:
        self._state, self._lock = Path(state).resolve(), threading.Lock()
        self._ready, self._asked_at = False, float("-inf")
        self._server = None if port is None else ThreadingHTTPServer((host, port), self._handler())

    def __enter__(self) -> Probe:
        if self._server:
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def ready(self) -> bool:
        """Whether the server is ready, or was within the last `MAX_AGE` seconds."""
        with self._lock:
            if time.monotonic() - self._asked_at > MAX_AGE:
                self._ready, self._asked_at = self._ask(), time.monotonic()
            return self._ready

    def _ask(self) -> bool:
        try:
            server = noted(self._state)
        except (ServeError, OSError):  # it belongs to another user
            return False
        return server is not None and all(is_ready(server, model) for model in server.models)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        probe = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds for a request to arrive

            def do_GET(self) -> None:
                known = self.path == PATH
                ready = known and probe.ready()
                body = json.dumps({"status": "ready" if ready else "not_ready"} if known else {"error": f"ask {PATH}"})
                self.send_response(200 if ready else 503 if known else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Silent: a probe comes every few seconds."""

        return Handler
