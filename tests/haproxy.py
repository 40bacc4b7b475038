"""docker/gate/haproxy.cfg as a running HAProxy in front of a test server."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import psutil
import pytest
import servers
from proxies import CALLER, Gate, answering

from genartisan.serving.defaults import Ports
from genartisan.serving.serve import Server

CONFIGURATION = servers.ROOT / "docker" / "gate" / "haproxy.cfg"
RUN = servers.ROOT / "docker" / "gate" / "run.sh"
KEY = CALLER["Authorization"].removeprefix("Bearer ")
installed = [
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


class Healthy(BaseHTTPRequestHandler):
    """Stands in for ``serve --probe-port``."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest().upper()


class HAProxy(Gate):
    """A running HAProxy."""

    def __init__(self, port: int, certificate: Path, folder: Path, metrics: int, pid: int) -> None:
        super().__init__(port, certificate)
        self.folder, self.metrics, self.pid = folder, metrics, pid

    def listening(self) -> set[int]:
        """PIDs of the HAProxy that takes requests; an old one only ends those that it has."""
        children = [child for child in psutil.Process(self.pid).children() if child.name() == "haproxy"]
        return {child.pid for child in children if any(one.status == "LISTEN" for one in child.net_connections("tcp"))}

    def tell(self, command: str) -> str:
        """The answer of its admin socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "haproxy.sock"))
            connection.sendall(f"{command}\n".encode())
            return connection.makefile().read()

    def queued(self, backend: str) -> int:
        """Requests that wait."""
        return self._sum("haproxy_server_current_queue", backend)

    def refusals(self) -> int:
        """5xx that are the gate's own, as docker/prometheus/rules.yml counts them."""
        return self._sum("haproxy_frontend_http_responses_total", "callers", "5xx") - self._sum(
            "haproxy_backend_http_responses_total", r"\w+", "5xx"
        )

    def _sum(self, metric: str, proxy: str, code: str | None = None) -> int:
        text = httpx.get(f"http://127.0.0.1:{self.metrics}/metrics", trust_env=False).text
        labels = f'proxy="{proxy}"' + (f',code="{code}"' if code else r'(?:,server="node")?')
        samples = re.findall(rf"^{metric}{{{labels}}} (\S+)$", text, re.M)
        assert samples, f"{metric} {labels}"
        return sum(int(float(sample)) for sample in samples)


def write_files(folder: Path, certificate: tuple[Path, Path], rates: str, quotas: str) -> None:
    """The certificate, the caller with `KEY`, and the contents of rates.map and quotas.map."""
    (folder / "pictures.pem").write_bytes(b"".join(path.read_bytes() for path in certificate))
    (folder / "callers.map").write_text(f"{hash_of(KEY)} ann\n")
    (folder / "rates.map").write_text(rates)
    (folder / "quotas.map").write_text(quotas)


@contextmanager
def running(
    server: Server,
    certificate: tuple[Path, Path],
    folder: Path,
    http: str | None = None,
    rates: str = "",
    quotas: str = "",
    body: str = "60s",
) -> Iterator[HAProxy]:
    """HAProxy with our configuration, in which only ports and files are replaced, as the compose file starts it.

    Args:
        http: what answers HTTP instead of the server.
        rates: the content of rates.map.
        quotas: the content of quotas.map.
        body: the time to send a body.
    """
    ports = Ports.free()
    write_files(folder, certificate, rates, quotas)
    (folder / "key").write_text(servers.key(server)["Authorization"].removeprefix("Bearer "))
    with ExitStack() as stack:
        healthy = stack.enter_context(answering(Healthy))
        text = CONFIGURATION.read_text()
        for documented, actual in {
            '":443 ssl': f'"127.0.0.1:{ports.inference} ssl',
            "127.0.0.1:8405": f"127.0.0.1:{ports.metrics}",
            "127.0.0.1:8080": http or server.url.removeprefix("http://"),
            "127.0.0.1:7070": server.grpc,
            "check port 8083": f"check port {healthy.rpartition(':')[2]}",
            "wait-for-body time 60s": f"wait-for-body time {body}",
            "/etc/haproxy/": f"{folder}/",
            "/run/haproxy.sock mode": f"{folder}/haproxy.sock mode",
        }.items():
            assert documented in text, documented
            text = text.replace(documented, actual)
        (folder / "haproxy.cfg").write_text(text)
        log = stack.enter_context((folder / "log").open("w"))
        command = [str(RUN), str(folder / "haproxy.cfg"), str(folder / "key")]
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        stack.callback(end, process)

        def listens() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", ports.inference)) == 0

        servers.eventually(listens, "HAProxy listens")
        gate = HAProxy(ports.inference, certificate[0], folder, ports.metrics, process.pid)
        stack.callback(gate.http.close)
        yield gate


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its children, as far as they live."""
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid)
        for member in [*family.children(recursive=True), family]:
            member.kill()
