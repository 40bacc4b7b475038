"""Proxies in front of a server, for tests: a certificate, a client, and what answers behind them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import servers
import tiny
from servers import TINY

from genartisan.io.images import encode

CALLER = {"Authorization": "Bearer a-callers-own"}
FIELDS = {"photo": encode(tiny.picture()), "prompt": b"Watercolor painting", "params": json.dumps(TINY).encode()}
FORM = [(name, (name, content, "application/octet-stream")) for name, content in FIELDS.items()]


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Runs a small HTTP server; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def self_signed(folder: Path, addresses: Sequence[str] = ()) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and further addresses, and its key."""
    path, key = folder / "pictures.pem", folder / "pictures.key"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    name = [
        "-subj",
        "/CN=localhost",
        "-addext",
        ",".join(["subjectAltName=DNS:localhost", *(f"IP:{address}" for address in addresses)]),
    ]
    command = ["openssl", "req", "-x509", *curve, *name, "-keyout", str(key), "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path, key


class Gate:
    """A running nginx, and clients for it."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port, self.certificate = port, certificate
        self.url = f"https://localhost:{port}"
        self.http = httpx.Client(
            base_url=self.url,
            verify=ssl.create_default_context(cafile=str(certificate)),
            timeout=servers.PATIENCE,
            trust_env=False,
        )

    def post(self, headers: dict[str, str] | None = None, path: str = "/predictions/genartisan", **body: Any) -> Any:
        body = body or {"files": FORM}
        return self.http.post(path, headers=CALLER if headers is None else headers, **body)

    def rpc(self, method: str, message: bytes, caller: str | None = CALLER["Authorization"]) -> bytes | grpc.StatusCode:
        """The reply to a gRPC call, or its error status."""
        credentials = grpc.ssl_channel_credentials(self.certificate.read_bytes())
        metadata = [] if caller is None else [("authorization", caller)]
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.secure_channel(f"localhost:{self.port}", credentials, options) as channel:
            try:
                answer: bytes = channel.unary_unary(method)(message, metadata=metadata, timeout=servers.PATIENCE)
            except grpc.RpcError as error:
                return error.code()
        return answer


@contextmanager
def sent(
    gate: Gate,
    target: str,
    method: str = "POST",
    caller: str = CALLER["Authorization"],
    length: int = 0,
    name: str = "raw",
) -> Iterator[ssl.SSLSocket]:
    """A connection on which a request was sent: an unnormalised target, a length and no body."""
    context = ssl.create_default_context(cafile=str(gate.certificate))
    with (
        socket.create_connection(("127.0.0.1", gate.port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Authorization: {caller}", f"X-Request-Id: {name}"]
        secure.sendall("\r\n".join([*lines, f"Content-Length: {length}", "Connection: close", "", ""]).encode())
        yield secure


def raw(gate: Gate, target: str, method: str = "POST", **request: Any) -> int:
    """The status of a request as `sent` sends it."""
    with sent(gate, target, method, **request) as connection:
        return int(connection.makefile("rb").readline().split()[1])
