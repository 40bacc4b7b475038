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
from genartisan.serving.state import is_leaving, noted

PATH = "/healthz"
MAX_AGE = 1.0  # seconds for which an answer is reused


class Probe:
    """Context manager that answers for the server of a state folder.

    200 while it is ready; 404 while it drains, by which HAProxy (``disable-on-404``) sends it nothing more and leaves
    its connections alone; 503 otherwise.

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

    def answer(self) -> tuple[int, dict[str, str]]:
        """Status and body."""
        if is_leaving(self._state):
            return 404, {"status": "draining"}
        return (200, {"status": "ready"}) if self.ready() else (503, {"status": "not_ready"})

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
            wbufsize = -1  # one write: HAProxy's check closes the connection at the first bytes

            def do_GET(self) -> None:
                status, answer = probe.answer() if self.path == PATH else (404, {"error": f"ask {PATH}"})
                body = json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Silent: a probe comes every few seconds."""

        return Handler
