"""What starting a server, asking it and the command line have to agree on; nothing here takes time to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODEL = "genartisan"  # the archive's name, and the last part of the endpoint's path
HOST = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")  # to listen on; no address to ask
STORE = Path("model_store")
STATE = Path(".serve")
READY_WITHIN = 600.0  # seconds, for Java, the bundle, the warm-up and one picture
TIMEOUT = 3600.0  # seconds: the paper's settings on a CPU take long; the server itself gives up sooner


@dataclass(frozen=True)
class Ports:
    """Where a server listens; the names are TorchServe's settings without ``_address`` and ``_port``."""

    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071


URL = f"http://{HOST}:{Ports.inference}"
