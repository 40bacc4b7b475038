"""Defaults shared by server, clients and command line; quick to import."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

MODEL = "genartisan"  # names the archive and the endpoint
DRAFT = "genartisan-draft"  # the same archive once more, for drafts and explanations: they do not wait behind runs
CONTROL = "genartisan-control"  # the model that cancels requests, and tells how far they are
JSON = "application/json"
WARNINGS = "X-Genartisan-Warnings"  # header of a picture: its report's warnings, as a JSON list
HOST = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")  # listen addresses that clients cannot use
STORE = Path("model_store")
STATE = Path(".serve")
READY_WITHIN = 600.0  # seconds for Java, the bundle, the warm-up and one picture
TIMEOUT = 3600.0  # seconds; above the server's own max_timeout_s


@dataclass(frozen=True)
class Ports:
    """A server's ports, named after TorchServe's settings without ``_address`` and ``_port``."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    @classmethod
    def free(cls) -> Ports:
        """Ports of this machine that nothing listens on."""
        with ExitStack() as stack:
            probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in fields(cls)]
            return cls(*(probe.getsockname()[1] for probe in probes))


URL = f"http://{HOST}:{Ports.inference}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
