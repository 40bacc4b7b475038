"""Nodes in network namespaces, each with a TorchServe and its gate, behind docker/gate/balancer.cfg; needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import servers
from haproxy import CONFIGURATION, KEY, end, write_files

GATE = CONFIGURATION.parent
NETWORK = "10.213.7"  # ".1" is the balancer, ".11" the first node
ADDRESS = f"{NETWORK}.1"
BRIDGE = "genartisan0"
SLOW_STEPS = """
import sys, time
if any("model_service_worker" in argument for argument in sys.orig_argv):
    import torch
    def step(self, *arguments, of=torch.optim.Adam.step):
        time.sleep({seconds})
        return of(self, *arguments)
    torch.optim.Adam.step = step
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def network(nodes: int) -> Iterator[None]:
    """A bridge, and a namespace for each node."""
    clear(nodes)
    try:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for number in range(1, nodes + 1):
            space, outer = f"genartisan{number}", f"gena{number}"
            run("ip", "netns", "add", space)
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "set", outer, "master", BRIDGE, "up")
            inside = ("ip", "-n", space)
            run(*inside, "address", "add", f"{NETWORK}.{10 + number}/24", "dev", "eth0")
            run(*inside, "link", "set", "eth0", "up")
            run(*inside, "link", "set", "lo", "up")
        yield
    finally:
        clear(nodes)


def clear(nodes: int) -> None:
    for number in range(1, nodes + 1):
        subprocess.run(["ip", "netns", "delete", f"genartisan{number}"], capture_output=True)
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)


@dataclass
class Node:
    """A server and its gate."""

    number: int
    folder: Path
    store: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    starts: int = 0

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def _run(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        inside = ("ip", "netns", "exec", f"genartisan{self.number}", *command)
        self.processes[name] = subprocess.Popen(inside, stdout=log, stderr=log, env=self.environment)

    def start(self) -> None:
        """Starts the server, and the gate unless it runs."""
        self.starts += 1
        config = self.folder / "config.properties"
        self._run(
            "server", sys.executable, "-m", "genartisan", "serve", "--foreground", "--probe-port=8083",
            f"--store={self.store}", f"--state={self.state}", f"--config={config}",
        )  # fmt: skip
        if "gate" not in self.processes:
            self._run("key", str(GATE / "share_key.sh"), str(self.state / "key_file.json"), str(self.folder / "key"))
            self._run("gate", str(GATE / "run.sh"), str(self.folder / "haproxy.cfg"), str(self.folder / "key"))

    def health(self) -> int:
        """The status of the gate's answer to the balancer's checks; 0 if there is none."""
        try:
            return servers.http("GET", f"http://{NETWORK}.{10 + self.number}:8405/healthz").status_code
        except httpx.TransportError:
            return 0

    def ready(self) -> bool:
        said = (self.folder / "server.log").read_text()
        assert self.processes["server"].poll() is None, said[-2000:]
        return said.count("ready: ") == self.starts and self.health() == 200

    def drain(self) -> None:
        """SIGTERM to the server, and waits for its end."""
        self.processes["server"].send_signal(signal.SIGTERM)
        assert self.processes["server"].wait(servers.PATIENCE) == 0

    def signal(self, number: int) -> None:
        """Sends a signal to all processes of the server."""
        top = psutil.Process(self.processes["server"].pid)
        for process in [top, *top.children(recursive=True)]:
            process.send_signal(number)

    def cut(self, *, off: bool) -> None:
        """Cuts the node's cable, or mends it."""
        run("ip", "link", "set", f"gena{self.number}", "down" if off else "up")

    def end(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                end(process)


@contextmanager
def node(number: int, folder: Path, arguments: dict[str, Any], certificate: tuple[Path, Path]) -> Iterator[Node]:
    """A node that is not yet started. Each step of its worker sleeps, so that three share two cores."""
    folder.mkdir()
    patch = folder / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(SLOW_STEPS.format(seconds=0.05))
    (folder / "config.properties").write_text(Path(arguments["config"]).read_text())
    write_files(folder, certificate, rates="ann 100000\n", quotas="ann 1000000\n")
    text = CONFIGURATION.read_text()
    (folder / "haproxy.cfg").write_text(
        text.replace("/etc/haproxy/", f"{folder}/").replace("/run/haproxy.sock", f"{folder}/haproxy.sock")
    )
    environment = {
        **os.environ, "PYTHONPATH": f"{patch}:{servers.ROOT}", "GATE_METRICS": f"{NETWORK}.{10 + number}:8405",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    made = Node(number, folder, Path(arguments["store"]), environment)
    try:
        yield made
    finally:
        made.end()


@dataclass
class Balancer:
    """The balancer; its log has a line for each request."""

    url: str
    log: Path

    def requests(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def balancer(folder: Path, certificate: tuple[Path, Path], nodes: int) -> Iterator[Balancer]:
    """docker/gate/balancer.cfg with our addresses, and plain HTTP for Locust."""
    folder.mkdir()
    (folder / "nodes.pem").write_bytes(certificate[0].read_bytes())
    text = (GATE / "balancer.cfg").read_text().replace("/etc/haproxy/", f"{folder}/")
    for documented, actual in {
        f"bind :443 ssl crt {folder}/pictures.pem alpn h2,http/1.1": f"bind {ADDRESS}:8000",
        "/run/haproxy.sock": f"{folder}/haproxy.sock",
        "10.0.0.": f"{NETWORK}.",
    }.items():
        assert documented in text, documented
        text = text.replace(documented, actual)
    lines = [line for line in text.splitlines() if not line.strip().startswith("server node") or
             int(line.split()[1].removeprefix("node")) <= nodes]  # fmt: skip
    (folder / "haproxy.cfg").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log, ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log)
        )
        stack.callback(process.kill)
        yield Balancer(f"http://{ADDRESS}:8000", folder / "log")


@contextmanager
def load(url: str, folder: Path, users: int, steps: int) -> Iterator[dict[str, Any]]:
    """Locust asks for pictures during the block; then its report is in the dict."""
    params = json.dumps({"size": 64, "steps": steps, "patches": 2, "patch_size": 32})
    command = [
        sys.executable, "-m", "locust", "--headless", "--only-summary", "-f", "loadtest/locustfile.py", "--host", url,
        "--i-own-this", "--users", str(users), "--spawn-rate", "10", "--run-time", "1h", "--stop-timeout", "60",
        "--params", params, "--check-share", "0", "--report", str(folder),
    ]  # fmt: skip
    report: dict[str, Any] = {}
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=servers.ROOT, env={**os.environ, "GENARTISAN_TOKEN": KEY}
        )
        try:
            time.sleep(10)  # Locust starts
            yield report
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(servers.PATIENCE)
    report.update(json.loads((folder / "report.json").read_text()))
