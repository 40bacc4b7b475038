"""docker/prometheus, docker/grafana and docker/compose.yaml: they are valid, and every query finds what it names."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import haproxy
import httpx
import pytest
import servers
import yaml
from pages import headings
from proxies import CALLER, FORM
from servers import ROOT

from genartisan.serving.defaults import Ports
from genartisan.serving.serve import Server
from genartisan.serving.telemetry import COUNTERS, LABELS

DOCKER = ROOT / "docker"
FOLDER = DOCKER / "prometheus"
BLACKBOX = "prometheus-blackbox-exporter"  # as Debian calls it
GROUPS = [
    group for name in ("rules.yml", "alerts.yml") for group in yaml.safe_load((FOLDER / name).read_text())["groups"]
]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboard.json").read_text())
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SELECTOR = re.compile(r"\b((?:genartisan|haproxy|ts|probe)_\w+|(?:slo|gate):[\w:]+|up)\b(\{[^}]*\})?")


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


def live(test: Any) -> Any:
    """Marks a test with a server, HAProxy, Prometheus and the blackbox exporter."""
    tools = needs("prometheus", BLACKBOX)
    for mark in (pytest.mark.server, pytest.mark.slow, tools, *haproxy.installed):
        test = mark(test)
    return test


def documented() -> list[str]:
    """The queries of docs/serving.md."""
    page = ROOT / "docs" / "serving.md"
    text = page.read_text(encoding="utf-8").partition("## Metrics")[2]
    cells = re.findall(r"^\|[^|]*\| `(.+)` \|$", text, re.M)
    return [cell.replace(r"\|", "|") for cell in cells]


def selectors(query: str) -> set[str]:
    """What a query reads: metrics with their labels."""
    return {name + labels for name, labels in SELECTOR.findall(query)}


def done(*command: str | Path) -> str:
    """The output of a command that must succeed."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout
    return result.stdout


@needs("promtool")
def test_the_configuration_and_its_rules_are_valid_and_fire_when_they_should() -> None:
    done("promtool", "check", "config", "--lint-fatal", FOLDER / "prometheus.yml")
    done("promtool", "test", "rules", FOLDER / "rules_test.yml")


def test_every_alert_has_a_unit_test() -> None:
    cases = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    assert fired == {alert["alert"] for alert in ALERTS}


@needs("amtool")
@pytest.mark.parametrize(("severity", "receiver"), [("page", "pages"), ("ticket", "tickets")])
def test_alertmanager_sends_each_severity_to_its_receiver(severity: str, receiver: str) -> None:
    file = FOLDER / "alertmanager.yml"
    done("amtool", "check-config", file)
    routed = done("amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}")
    assert routed.splitlines()[-1] == receiver
    assert severity in {alert["labels"]["severity"] for alert in ALERTS}


def test_every_alert_has_an_entry_in_the_runbook_and_every_entry_an_alert() -> None:
    page = ROOT / "docs" / "runbook.md"
    entries = {title for title in headings(page) if title.startswith("genartisan")}
    assert entries == {alert["alert"].lower() for alert in ALERTS}
    for alert in ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"


def test_our_metrics_and_their_labels_exist() -> None:
    for query in [*PANELS, *(rule["expr"] for rule in RULES)]:
        for name, labels in SELECTOR.findall(query):
            if name.startswith("genartisan_"):
                assert name in LABELS
                for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                    assert value in COUNTERS[name][label], f"{name}{labels}"


def test_compose_follows_its_specification() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done(*command, DOCKER / "compose.yaml")


def test_what_compose_mounts_and_builds_exists() -> None:
    sources = [str(volume).partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [source for source in sources if source.startswith(".")]
    assert files
    assert [file for file in files if not (DOCKER / file).exists()] == []
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])
    for service in SERVICES.values():
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        script = service.get("command", [""])[0]
        assert not script.startswith("/gate/") or (DOCKER / "gate" / Path(script).name).is_file()
    secrets = [secret for service in SERVICES.values() for secret in service.get("secrets", [])]
    needed = {secret if isinstance(secret, str) else secret["source"] for secret in secrets}
    assert needed == set(COMPOSE["secrets"])


def test_the_gate_finds_its_files_where_compose_puts_them() -> None:
    named = set(re.findall(r"/etc/haproxy/[\w.]+", re.sub("#.*", "", haproxy.CONFIGURATION.read_text())))
    assert {secret["target"] for secret in SERVICES["gate"]["secrets"]} == named


def test_only_the_gate_is_reachable_from_outside() -> None:
    ports = {port for service in SERVICES.values() for port in service.get("ports", [])}
    assert {port for port in ports if not port.startswith("127.0.0.1:")} == {"443:443"}
    for name, service in SERVICES.items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_a_request_in_progress_outlasts_the_stop() -> None:
    settings = yaml.safe_load((ROOT / "handlers" / "model-config.yaml").read_text())
    for name in ("genartisan", "cuda", "gate"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > settings["responseTimeout"]


def test_grafana_has_the_data_source_of_its_dashboard_and_no_default_password() -> None:
    (source,) = yaml.safe_load((DOCKER / "grafana" / "datasources.yml").read_text())["datasources"]
    used = {json.dumps(panel["datasource"]) for panel in DASHBOARD["panels"]}
    assert used == {json.dumps({"type": source["type"], "uid": source["uid"]})}
    targets = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    (provider,) = yaml.safe_load((DOCKER / "grafana" / "dashboards.yml").read_text())["providers"]
    assert Path(targets["./grafana/dashboard.json"]).parent == Path(provider["options"]["path"])
    assert SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_password"


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **params: str) -> Any:
        reply = servers.http("GET", f"{self.url}/api/v1/{path}", params=params).json()
        assert reply["status"] == "success", f"{params}: {reply}"
        return reply["data"]

    def values(self, query: str) -> list[float]:
        """The values of a query now; fails if it is invalid."""
        return [float(sample["value"][1]) for sample in self.get("query", query=query)["result"]]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


@contextmanager
def scraping(torchserve: str, gate: haproxy.HAProxy, folder: Path) -> Iterator[Prometheus]:
    """Prometheus and the blackbox exporter with our configuration, in which only ports and intervals are replaced."""
    shutil.copytree(FOLDER, folder / "prometheus")
    configuration, ports = folder / "prometheus" / "prometheus.yml", Ports.free()
    text = configuration.read_text()
    for documented, actual in {
        "127.0.0.1:8082": torchserve.removeprefix("http://"),
        "127.0.0.1:8405": f"127.0.0.1:{gate.metrics}",
        "127.0.0.1:443": f"127.0.0.1:{gate.port}",
        "127.0.0.1:9115": f"127.0.0.1:{ports.inference}",
        "interval: 15s": "interval: 1s",
    }.items():
        assert documented in text, documented
        text = text.replace(documented, actual)
    configuration.write_text(text)
    port = ports.metrics
    prober = [BLACKBOX, f"--config.file={FOLDER / 'blackbox.yml'}", f"--web.listen-address=127.0.0.1:{ports.inference}"]
    command = [
        "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (
        (folder / "prometheus.log").open("w") as log,
        subprocess.Popen(prober, stdout=log, stderr=log) as exporter,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:

            def listens() -> bool:
                assert process.poll() is None, (folder / "prometheus.log").read_text()
                try:
                    return servers.http("GET", f"http://127.0.0.1:{port}/-/ready").status_code == 200
                except httpx.TransportError:
                    return False

            servers.eventually(listens, "Prometheus is ready")
            yield Prometheus(port)
        finally:
            process.terminate()
            exporter.terminate()


@pytest.fixture(scope="module")
def prometheus(
    server: Server, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus that has seen a picture, a draft and a refusal come through the gate."""
    folder = tmp_path_factory.mktemp("monitoring")
    with (
        haproxy.running(server, certificate, folder) as gate,
        scraping(server.metrics, gate, folder) as prometheus,
    ):
        servers.eventually(lambda: prometheus.values("up") == [1, 1, 1], "all are scraped")
        draft = [*FORM[:2], ("params", ("params", b'{"preset": "draft", "size": 64}', "application/octet-stream"))]
        assert [gate.post(CALLER, files=files).status_code for files in (FORM, draft, FORM[:1])] == [200, 200, 400]
        seen = 'count(increase(genartisan_answers_within_total{seconds="+Inf"}[5m]) > 0) == 2'
        servers.eventually(lambda: prometheus.values(seen) != [], "the answers are scraped")
        yield prometheus


@live
@pytest.mark.parametrize("query", sorted({*PANELS, *documented()}))
def test_every_query_of_the_dashboard_and_the_page_has_a_result(query: str, prometheus: Prometheus) -> None:
    def has_result() -> bool:
        values = prometheus.values(query)
        return values != [] and all(map(math.isfinite, values))

    servers.eventually(has_result, query)


@live
@pytest.mark.parametrize("selector", sorted({one for rule in RULES for one in selectors(rule["expr"])}))
def test_everything_that_rules_and_alerts_read_exists(selector: str, prometheus: Prometheus) -> None:
    servers.eventually(lambda: prometheus.values(selector) != [], selector)


@live
def test_rules_are_evaluated_and_none_fires_on_a_healthy_node(prometheus: Prometheus) -> None:
    servers.eventually(lambda: {rule["health"] for rule in prometheus.rules()} == {"ok"}, "all rules are evaluated")
    assert len(prometheus.rules()) == len(RULES)
    for rule in RULES:
        if "record" in rule:
            labels = ",".join(f'{label}="{value}"' for label, value in rule.get("labels", {}).items())
            series = f"{rule['record']}{{{labels}}}"
            servers.eventually(lambda series=series: prometheus.values(series) != [], series)
    assert [alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]] == []


def test_there_are_queries_to_run() -> None:
    assert len(PANELS) >= 10
    assert len(documented()) >= 10
