"""Real TorchServe servers for tests, and plain HTTP and gRPC calls that bypass our client."""

from __future__ import annotations

import json
import re
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
STYLE = "saved"  # the saved style that they serve
PATIENCE = 300.0  # seconds to wait for what must come: only a failure waits so long, however busy the machine is
MAX_REQUEST = 9_000_000  # bytes: above the defaults of gRPC (4 MB) and TorchServe (6.5 MB), and quickly exceeded


@dataclass(frozen=True)
class Answer:
    """A reply, with an HTTP status or the name of a gRPC status."""

    status: int | str
    content: bytes
    media_type: str = ""

    @property
    def error(self) -> dict[str, Any]:
        """The error object, wherever the protocol puts it."""
        text = self.content.decode()
        return json.loads(text if self.media_type else text.splitlines()[1])["error"]


@contextmanager
def running(bundle: Path, folder: Path, *, with_drafts: bool = False) -> Iterator[serve.Server]:
    """A server with ``bundle`` on free ports; all its files are in ``folder``."""
    with prepared(bundle, folder, with_drafts=with_drafts) as arguments:
        server = serve.start(**arguments)
    with stopped_after(server):
        yield server


@contextmanager
def stopped_after(server: serve.Server) -> Iterator[None]:
    """Stops a server after the block; nothing of it is left then."""
    members = family(server)
    try:
        yield
    finally:
        serve.stop(server.state)
    assert [member for member in members if alive(member)] == []
    assert not Path(server.temporary).exists()


@contextmanager
def prepared(bundle: Path, folder: Path, *, with_drafts: bool = False) -> Iterator[dict[str, Any]]:
    """The arguments for `serve.start`; by default without workers for drafts, which take a while to start.

    Meanwhile PYTHONPATH starts with a genartisan that fails to import, so that the server must use that of its archive.
    """
    decoy = folder / "decoy" / "genartisan"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise ImportError('not the genartisan of the archive')\n")
    config = folder / "config.properties"
    lines = (ROOT / "config.properties").read_text()
    if not with_drafts:
        lines = lines.replace("genartisan-draft=genartisan.mar,", "")
    config.write_text(lines + f"max_request_size={MAX_REQUEST}\n")
    settings = write_settings(folder)
    style = tiny.write_style(folder / f"{STYLE}.safetensors")
    serve.archive(bundle, folder / "store", settings=settings, styles=[style])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(decoy.parent))
        yield {
            "store": folder / "store",
            "ports": serve.Ports.free(),
            "state": folder / "state",
            "config": config,
            "timeout": 300,
        }


def write_settings(folder: Path) -> Path:
    """The model's settings without the result cache, so that every picture is computed."""
    path = folder / "model-config.yaml"
    text = (ROOT / "handlers" / "model-config.yaml").read_text()
    path.write_text(re.sub(r"result_cache_bytes: \d+", "result_cache_bytes: 0", text))
    return path


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def worker_pid(server: Any) -> int:
    """PID of the only worker, which must be READY; of Ray's, that for pictures."""
    if not isinstance(server, serve.Server):
        return int(server.worker_pid())
    (worker,) = serve.workers(server)
    assert worker["status"] == "READY"
    return int(worker["pid"])


def family(server: serve.Server) -> list[psutil.Process]:
    """All processes of a server."""
    java = psutil.Process(server.pid)
    return [java, *java.children(recursive=True)]


def key(server: serve.Server, kind: str = "inference") -> dict[str, str]:
    """The authorization header."""
    return {"Authorization": f"Bearer {json.loads(Path(server.keys).read_text())[kind]['key']}"}


def http(method: str, url: str, **options: Any) -> httpx.Response:
    """Sends a request without a proxy, and without loading the certificates, which takes 60 ms."""
    return httpx.request(method, url, verify=False, trust_env=False, timeout=PATIENCE, **options)


def post(server: serve.Server, fields: Mapping[str, bytes], headers: Mapping[str, str] | None = None) -> Answer:
    """Posts a form."""
    files = [(name, (name, content, "application/octet-stream")) for name, content in fields.items()]
    return send(server, headers, files=files)


def send(
    server: serve.Server,
    headers: Mapping[str, str] | None = None,
    path: str = "predictions",
    version: str = "",
    model: str = "genartisan",
    **body: Any,
) -> Answer:
    """Posts any body."""
    url = f"{server.url}/{path}/{model}/{version}".rstrip("/")
    answer = http("POST", url, headers={**key(server), **(headers or {})}, **body)
    return Answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))


def control(server: serve.Server, **body: Any) -> Answer:
    """Asks to cancel a request, or how far it is."""
    url = f"{server.url}/predictions/genartisan-control"
    answer = http("POST", url, json=body, headers=key(server))
    return Answer(answer.status_code, answer.content, answer.headers.get("content-type", ""))


def managed(server: serve.Server, method: str, path: str, **options: Any) -> httpx.Response:
    """Calls the management API."""
    return http(method, f"{server.management}/{path}", headers=key(server, "management"), **options)


def log(server: Any) -> str:
    """The worker's complete log so far.

    TorchServe writes worker output to the log with a delay. So we send one more request, which is refused, and wait for
    its line.
    """
    if not isinstance(server, serve.Server):
        return str(server.log())
    url, path = f"{server.url}/predictions/genartisan", Path(server.logs) / "worker.log"
    sent = http("POST", url, files={}, headers=key(server)).headers["x-request-id"]
    deadline = time.monotonic() + PATIENCE
    while "\n" not in (text := path.read_text()).partition(sent)[2]:
        assert time.monotonic() < deadline, f"no line of request {sent} in {path}"
        time.sleep(0.02)
    return text


def metrics(server: serve.Server) -> str:
    """All metrics so far, including the refused request of `log`.

    TorchServe reads metrics and log lines from the same output, in order: once a line is logged, earlier metrics count.
    """
    log(server)
    return http("GET", f"{server.metrics}/metrics").text


def eventually(holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Waits for a condition; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def worker_starts(server: serve.Server) -> float:
    """The number of worker starts so far."""
    text = http("GET", f"{server.metrics}/metrics").text
    return float(re.findall(r"^genartisan_worker_starts_total\{.*} (\S+)", text, re.M)[0])


def in_flight(server: serve.Server) -> dict[str, float]:
    """Worker -> 1 while it has a request, according to the metrics."""
    text = http("GET", f"{server.metrics}/metrics").text
    samples = re.findall(r'genartisan_in_flight{worker="(\d+)".*} (\S+)', text)
    return {worker: float(value) for worker, value in samples}


def call(server: serve.Server, fields: Mapping[str, bytes], model: str = "genartisan") -> Answer:
    """Calls ``Predictions`` over gRPC."""
    limits = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    with grpc.insecure_channel(server.grpc, options=[*limits, ("grpc.enable_http_proxy", 0)]) as channel:
        try:
            content = decode_response(
                channel.unary_unary(METHOD)(
                    encode_request(model, dict(fields)),
                    timeout=PATIENCE,
                    metadata=[("authorization", key(server)["Authorization"])],
                )
            )
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details().encode())
    return Answer("OK", content)
