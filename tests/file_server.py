"""A web server on the loopback that serves files well or badly, as told, and notes what it sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """A file on the server and how it is to behave, one entry of each list a request, then well."""

    content: bytes | Path
    tag: str | None = '"one"'
    ranges: bool = True  # answer to Range
    tell_length: bool = True
    statuses: list[int] = field(default_factory=list)  # 0: answer well
    cuts: list[int | None] = field(default_factory=list)  # bytes after which the connection ends; None: never
    at_cut: Callable[[], object] = lambda: None

    @property
    def size(self) -> int:
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def read(self, first: int, length: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[first : first + length]
        with self.content.open("rb") as file:
            file.seek(first)
            return file.read(length)


@dataclass
class Request:
    """A request as the server saw it."""

    name: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by name, and keeps ``requests``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Served] = {}
        self.requests: list[Request] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def sent(self, name: str) -> int:
        return sum(request.sent for request in self.requests if request.name == name)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        request = Request(name, self.headers["Range"], self.headers["If-Range"])
        self.server.requests.append(request)
        self.close_connection = True
        served = self.server.files.get(name)
        status = 404 if served is None else (served.statuses.pop(0) if served.statuses else 0)
        if served is None or status:
            self._head(request, status, {"Content-Length": "0"})
            return
        first = 0
        headers = {"ETag": served.tag} if served.tag else {}
        if served.ranges and request.range and request.if_range in (None, served.tag):
            first = int(request.range.removeprefix("bytes=").removesuffix("-"))
            if first >= served.size:
                self._head(request, 416, {"Content-Range": f"bytes */{served.size}", "Content-Length": "0"})
                return
            headers["Content-Range"] = f"bytes {first}-{served.size - 1}/{served.size}"
        if served.tell_length:
            headers["Content-Length"] = str(served.size - first)
        self._head(request, 206 if "Content-Range" in headers else 200, headers)
        self._body(request, served, first)

    def _head(self, request: Request, status: int, headers: dict[str, str]) -> None:
        request.status = status
        self.send_response(status)
        for key, value in {**headers, "Connection": "close"}.items():
            self.send_header(key, value)
        self.end_headers()

    def _body(self, request: Request, served: Served, first: int) -> None:
        cut = served.cuts.pop(0) if served.cuts else None
        last = served.size if cut is None else min(first + cut, served.size)
        while first < last:
            block = served.read(first, min(1 << 18, last - first))
            self.wfile.write(block)
            request.sent += len(block)
            first += len(block)
        if cut is not None:
            self.wfile.flush()
            served.at_cut()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A running server."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
