"""Real TorchServe servers for tests, and the plainest ways to talk to one: no client of ours in between."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
import tiny

from genartisan.serving import serve
from genartisan.serving.inference_grpc import METHOD, decode_response, encode_request

ROOT = Path(__file__).resolve().parent.parent
TINY = {"size": 64, "steps": 2, "patches": 2, "patch_size": 32, "seed": 7}
STYLE = "kept"  # the one kept style that they serve
MAX_REQUEST = 9_000_000  # bytes, in these servers: above gRPC's 4 MB and TorchServe's 6.5 MB, and soon exceeded


@dataclass(frozen=True)
class Answer:
    """What came back: over HTTP an HTTP status, over gRPC the name of its status."""

    status: int | str
    content: bytes
    media_type: str = ""

    @property
    def error(self) -> dict[str, Any]:
        """The error's code, message and field, wherever the protocol puts them."""
        text = self.content.decode()
        return json.loads(text if self.media_type else text.splitlines()[1])["error"]


@contextmanager
def running(bundle: Path, folder: Path) -> Iterator[serve.Server]:
    """A server of ``bundle`` on free ports, with all its files in ``folder``."""
    with prepared(bundle, folder) as arguments:
        server = serve.start(**arguments)
    members = family(server)
    try:
        yield server
    finally:
        serve.stop(folder / "state")
    assert [member for member in members if alive(member)] == []
    assert not Path(server.temporary).exists()


@contextmanager
def prepared(bundle: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The arguments for `serve.start`.

    While it lasts, a genartisan that cannot be imported stands first in PYTHONPATH: a server that is started now has to
    take the one in its archive.
    """
    decoy = folder / "decoy" / "genartisan"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise ImportError('not the genartisan of the archive')\n")
    config = folder / "config.properties"
    config.write_text((ROOT / "config.properties").read_text() + f"max_request_size={MAX_REQUEST}\n")
    settings = folder / "model-config.yaml"  # without a cache of results: every test's picture is to be made
    text = (ROOT / "handlers" / "model-config.yaml").read_text()
    settings.write_text(re.sub(r"result_cache_bytes: \d+", "result_cache_bytes: 0", text))
    style = tiny.write_style(folder / f"{STYLE}.safetensors")
    serve.archive(bundle, folder / "store", settings=settings, styles=[style])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(decoy.parent))
        yield {
            "store": folder / "store",
            "ports": free_ports(),
            "state": folder / "state",
            "config": config,
            "timeout": 300,
        }


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def free_ports() -> serve.Ports:
    """Five ports that nothing listens on."""
    probes = [socket.socket() for _ in range(5)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    numbers = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return serve.Ports(*numbers)


def worker_pid(server: serve.Server) -> int:
    """The process that makes the pictures; there is one, and it is ready."""
    (worker,) = serve.workers(server)
    assert worker["status"] == "READY"
    return int(worker["pid"])


def family(server: serve.Server) -> list[psutil.Process]:
    """Every process of a server."""
    java = psutil.Process(server.pid)
    return [java, *java.children(recursive=True)]


def key(server: serve.Server, kind: str = "inference") -> dict[str, str]:
    """The header that every request needs."""
    return {"Authorization": f"Bearer {json.loads(Path(server.keys).read_text())[kind]['key']}"}


def post(server: serve.Server, fields: Mapping[str, bytes], headers: Mapping[str, str] | None = None) -> Answer:
    """A form over HTTP."""
    files = [(name, (name, content, "application/octet-stream")) for name, content in fields.items()]
    return send(server, headers, files=files)


def send(
    server: serve.Server,
    headers: Mapping[str, str] | None = None,
    path: str = "predictions",
    version: str = "",
    **body: Any,
) -> Answer:
    """Any request over HTTP."""
    url = f"{server.url}/{path}/genartisan/{version}".rstrip("/")
    answer = httpx.post(url, headers={**key(server), **(headers or {})}, timeout=120, trust_env=False, **body)
    return Answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))


def managed(server: serve.Server, method: str, path: str, **options: Any) -> httpx.Response:
    """A call of the management API."""
    headers = key(server, "management")
    return httpx.request(
        method, f"{server.management}/{path}", headers=headers, timeout=120, trust_env=False, **options
    )


def log(server: serve.Server) -> str:
    """The worker's log with all that was logged so far.

    TorchServe copies what its worker prints into that file in its own time. So one more request, which is refused, asks
    for a line, and the log is read when that line, the last one, is in it.
    """
    url, path = f"{server.url}/predictions/genartisan", Path(server.logs) / "worker.log"
    sent = httpx.post(url, files={}, headers=key(server), timeout=60, trust_env=False).headers["x-request-id"]
    deadline = time.monotonic() + 30
    while "\n" not in (text := path.read_text()).partition(sent)[2]:
        assert time.monotonic() < deadline, f"no line of request {sent} in {path}"
        time.sleep(0.02)
    return text


def metrics(server: serve.Server) -> str:
    """The metrics, with all that was counted so far, and with the refusal that this itself makes.

    TorchServe reads them from what its worker prints, in the order in which it is printed: so all are there that were
    counted before a line which is in the log.
    """
    log(server)
    return httpx.get(f"{server.metrics}/metrics", trust_env=False).text


def eventually(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Waits until something holds, and fails if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def worker_starts(server: serve.Server) -> float:
    """How many workers have started so far."""
    told = httpx.get(f"{server.metrics}/metrics", trust_env=False).text
    return float(re.findall(r"^genartisan_worker_starts_total\{.*} (\S+)", told, re.M)[0])


def in_flight(server: serve.Server) -> dict[str, float]:
    """Worker -> 1 while it is at a request, as the metrics tell by now."""
    told = httpx.get(f"{server.metrics}/metrics", trust_env=False).text
    found = re.findall(r'genartisan_in_flight{worker="(\d+)".*} (\S+)', told)
    return {worker: float(value) for worker, value in found}


def call(server: serve.Server, fields: Mapping[str, bytes]) -> Answer:
    """A ``Predictions`` call over gRPC."""
    limits = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    with grpc.insecure_channel(server.grpc, options=[*limits, ("grpc.enable_http_proxy", 0)]) as channel:
        try:
            content = decode_response(
                channel.unary_unary(METHOD)(
                    encode_request("genartisan", dict(fields)),
                    timeout=120,
                    metadata=[("authorization", key(server)["Authorization"])],
                )
            )
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details().encode())
    return Answer("OK", content)
