"""Whether a server is ready, for load balancers: ``GET /healthz`` at a port of its own, without a key.

It asks for no picture, and the server at most once a second, however many ask here. TorchServe's own ``/ping`` takes a
caller's key and stays Healthy for minutes after a worker has died.
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
FRESH = 1.0  # seconds that an answer is given again


class Probe:
    """Answers 200 while the server of a state folder is ready, and 503 otherwise. As a context manager: while it lasts.

    Args:
        port: None for no probe.
    """

    def __init__(self, state: str | Path, host: str, port: int | None) -> None:
        self._state, self._lock = Path(state).resolve(), threading.Lock()
        self._ready, self._asked = False, float("-inf")
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
        """Whether the server is ready, or was a moment ago."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._ready, self._asked = self._ask(), time.monotonic()
            return self._ready

    def _ask(self) -> bool:
        try:
            server = noted(self._state)
        except (ServeError, OSError):  # another user's
            return False
        return server is not None and is_ready(server)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        probe = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds that a caller may take to say what it wants

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
                """Says nothing: a probe comes every few seconds."""

        return Handler
