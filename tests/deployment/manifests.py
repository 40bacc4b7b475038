"""docker/kubernetes for tests: rendering, the schemas, and what must agree across files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import ROOT

from genartisan.cli.main import build_parser
from genartisan.serving import probe

Document = dict[str, Any]
FOLDER = ROOT / "docker" / "kubernetes"
IMAGE = (ROOT / "docker" / "Dockerfile").read_text()
FILES = {name: (ROOT / "docker" / "gate" / name).read_text() for name in ("haproxy.cfg", "run.sh", "share_key.sh")}
GATE = FILES["haproxy.cfg"]
MODEL: Document = yaml.safe_load((ROOT / "handlers" / "model-config.yaml").read_text())
VERSIONS = ("1.29", "1.37")  # the first Kubernetes with sidecars, and the newest known
CUSTOM = ("keda.sh/", "monitoring.coreos.com/", "serving.kserve.io/")
KSERVE = Path(sys.prefix) / "kserve" / "bin" / "python"


def render(folder: Path) -> list[Document]:
    """The objects of a kustomization."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def one(documents: list[Document], kind: str) -> Document:
    """The only object of a kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def is_custom(document: Document) -> bool:
    """Whether the object is of a kind that Kubernetes itself does not have."""
    return str(document["apiVersion"]).startswith(CUSTOM)


def objections(document: Document) -> list[str]:
    """Unknown fields and invalid values, by the schemas of Kubernetes, KEDA, the Prometheus operator or KServe."""
    if not is_custom(document):
        return list(_objections_of_kubernetes(document))
    if document["kind"] == "InferenceService":
        return _objections_of_kserve(document)
    return _objections_of_models(document)


def _objections_of_kubernetes(document: Document) -> Iterator[str]:
    validate = pytest.importorskip("kubernetes_validate")
    for version in VERSIONS:
        try:
            validate.validate(document, version, strict=True)
        except validate.ValidationError as error:
            yield f"{version}: {error.message}"


def _objections_of_kserve(document: Document) -> list[str]:
    if not KSERVE.exists():
        pytest.skip(f"KServe's models are not installed; make {KSERVE.parent.parent.relative_to(Path.cwd())}")
    command = [str(KSERVE), str(Path(__file__).with_name("kserve_fields.py"))]
    done = subprocess.run(command, input=json.dumps([document]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _objections_of_models(document: Document) -> list[str]:
    try:
        model = _models()[document["kind"]]
        read = model.model_validate(document)
    except ValueError as error:
        return [str(error)]
    known = read.model_dump(mode="json", by_alias=True, exclude_unset=True)  # it drops unknown fields
    return [] if known == document else [f"unknown field: {document} was read as {known}"]


@cache
def _models() -> dict[str, Any]:
    keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1")
    operator = pytest.importorskip("cloudcoil.models.prometheus_operator.v1")
    return {"ScaledObject": keda.ScaledObject, "PodMonitor": operator.PodMonitor}


def pod_of(documents: list[Document]) -> Document:
    """The pod's spec, with its labels as ``labels``."""
    for document in documents:
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            return {**template["spec"], "labels": template["metadata"]["labels"]}
    service = one(documents, "InferenceService")
    return {**service["spec"]["predictor"], "labels": service["metadata"]["labels"]}


def containers(pod: Document) -> list[Document]:
    return [*pod["initContainers"], *pod["containers"]]


def server_of(pod: Document) -> Document:
    return next(container for container in pod["initContainers"] if container["name"] == "server")


def gate_of(pod: Document) -> Document:
    (gate,) = pod["containers"]
    return gate


def mounted(container: Document, volume: str) -> str:
    """Where a container sees a volume."""
    return next(str(mount["mountPath"]) for mount in container["volumeMounts"] if mount["name"] == volume)


def environment(container: Document) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container["env"]}


def options_of(command: list[str]) -> Any:
    """What the command line makes of a container's command."""
    assert command[0] == "genartisan"
    return build_parser().parse_args(command[1:])


def seconds(text: str) -> int:
    """``15``, ``3600s``."""
    return int(text.removesuffix("s"))


def disagreements(documents: list[Document]) -> list[str]:
    """Where the objects do not fit each other, the image, the gate or the model's settings."""
    pod = pod_of(documents)
    checks = (_user, _ports, _files, _server, _times, _hardening, _labels)
    return [found for check in checks for found in check(documents, pod)]


def _user(_: list[Document], pod: Document) -> Iterator[str]:
    (user,) = re.findall(r"^USER (\d+)", IMAGE, re.M)
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        if pod["securityContext"][name] != int(user):
            yield f"{name} is not the image's user {user}"


def _ports(documents: list[Document], pod: Document) -> Iterator[str]:
    gate = gate_of(pod)
    ports = {port["name"]: port["containerPort"] for port in gate["ports"]}
    bound = dict(re.findall(r'^    presetenv (GATE_\w+) "?(\S+)', GATE, re.M)) | environment(gate)
    if sorted(ports.values()) != sorted(int(bound[name].rpartition(":")[2]) for name in ("GATE_BIND", "GATE_METRICS")):
        yield f"the gate listens at {bound}, its container has {ports}"
    if any(bound[name].startswith("127.") for name in ("GATE_BIND", "GATE_METRICS")):
        yield f"the gate listens on loopback: {bound}"
    named = [gate["readinessProbe"]["httpGet"]["port"]]
    for document in documents:
        if document["kind"] == "Service":
            named += [port["targetPort"] for port in document["spec"]["ports"]]
        elif document["kind"] == "NetworkPolicy":
            named += [port["port"] for rule in document["spec"]["ingress"] for port in rule["ports"]]
        elif document["kind"] == "PodMonitor":
            named += [endpoint["port"] for endpoint in document["spec"]["podMetricsEndpoints"]]
            served = " ".join(re.findall(r"\{ path ([^}]*) \}", GATE)).split()
            paths = [endpoint["path"] for endpoint in document["spec"]["podMetricsEndpoints"]]
            yield from (f"the gate has no {path}" for path in paths if path not in served)
    yield from (f"no port is called {name!r}" for name in named if name not in ports)
    if f"use_backend probe if {{ path {gate['readinessProbe']['httpGet']['path']} }}" not in GATE:
        yield "the gate's readiness probe does not ask the server's"
    if any(container.get("ports") for container in pod["initContainers"]):
        yield "the server has a port of its own"


def _files(documents: list[Document], pod: Document) -> Iterator[str]:
    gate = gate_of(pod)
    configuration = one(documents, "ConfigMap")
    if configuration["data"] != FILES:
        yield "the ConfigMap does not have the files of docker/gate"
    mounts = {mount["name"]: mount for mount in gate["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    sources = volumes["gate"]["projected"]["sources"]
    if {"configMap": {"name": configuration["metadata"]["name"]}} not in sources:
        yield "the gate's volume has another ConfigMap"
    folder = mounts["gate"]["mountPath"]
    files = {*re.findall(r"(/\S+\.map)", GATE), *re.findall(r"crt (\S+)", environment(gate).get("GATE_BIND", GATE))}
    yield from (f"{name} is not in {folder}" for name in files if str(Path(name).parent) != folder)
    (socket,) = re.findall(r"stats socket (\S+)", GATE)
    if mounts["run"]["mountPath"] != str(Path(socket).parent) or mounts["run"].get("readOnly"):
        yield f"{socket} cannot be made"
    server = {mount["name"]: mount for mount in server_of(pod)["volumeMounts"]}
    writable = {mount["mountPath"] for mount in server.values() if not mount.get("readOnly")}
    needed = {*re.findall(r"^VOLUME (\S+)", IMAGE, re.M), *re.findall(r"HOME=(\S+)", IMAGE)}
    yield from (f"{path} is not writable" for path in needed - writable)
    yield from _key(pod)
    for container in containers(pod):
        for mount in container["volumeMounts"]:
            if mount["name"] not in volumes:
                yield f"there is no volume {mount['name']!r}"


def _key(pod: Document) -> Iterator[str]:
    """The way of the key: from the server's state through share_key.sh to run.sh."""
    server, gate = server_of(pod), gate_of(pod)
    key = next(container for container in pod["initContainers"] if container["name"] == "key")
    configured, source = Path(mounted(gate, "gate")), options_of(server["args"]).state / "key_file.json"
    if mounted(key, "state") != mounted(server, "state"):
        yield "the key's container sees the state at another path"
    copied, read = Path(mounted(key, "key")) / "inference", Path(mounted(gate, "key")) / "inference"
    if key["args"] != ["sh", f"{mounted(key, 'gate')}/share_key.sh", str(source), str(copied)]:
        yield f"{key['args']} does not copy the key"
    if gate["command"] != ["sh", str(configured / "run.sh"), str(configured / "haproxy.cfg"), str(read)]:
        yield f"{gate['command']} does not run the gate"
    if any(mount["name"] == "state" for mount in gate["volumeMounts"]):
        yield "the gate sees the keys for models"


def _server(_: list[Document], pod: Document) -> Iterator[str]:
    server = server_of(pod)
    (command,) = re.findall(r"^CMD (\[.*\])$", IMAGE, re.M)[-1:]
    image, options = options_of(json.loads(command)), options_of(server["args"])
    if options.host != "127.0.0.1":
        yield f"TorchServe listens on {options.host}; without the gate it must not be reached"
    if not options.foreground or options.state != image.state or options.probe_port != image.probe_port:
        yield "the server is not started as in the image"
    checked = re.findall(r"check port (\d+)", GATE)
    passed = re.findall(r"^backend probe\n    server node 127\.0\.0\.1:(\d+)", GATE, re.M)
    if {int(port) for port in (*checked, *passed)} != {options.probe_port}:
        yield "the gate checks another port than the probe's"
    url = f'"http://127.0.0.1:{options.probe_port}{probe.PATH}"'
    for name in ("startupProbe", "livenessProbe"):
        if url not in server[name]["exec"]["command"][-1]:
            yield f"{name} does not ask {url}"
    for name in ("server", "key"):
        container = next(container for container in pod["initContainers"] if container["name"] == name)
        if container.get("restartPolicy") != "Always":
            yield f"{name} is no sidecar: the gate would not wait for it, nor it for the gate"


def _times(documents: list[Document], pod: Document) -> Iterator[str]:
    grace, longest = pod["terminationGracePeriodSeconds"], MODEL["responseTimeout"]
    hook = seconds(gate_of(pod)["lifecycle"]["preStop"]["exec"]["command"][-1])
    (hard,) = re.findall(r"hard-stop-after (\w+)", GATE)
    if seconds(hard) != longest or grace != longest + 60 or hook >= 60:
        yield f"grace of {grace} s, responseTimeout {longest} s, hard-stop-after {hard}, preStop {hook} s"
    startup = server_of(pod)["startupProbe"]
    if startup["periodSeconds"] * startup["failureThreshold"] < MODEL["startupTimeout"]:
        yield "the startup probe gives up before startupTimeout"
    for container in containers(pod):
        liveness = container.get("livenessProbe")
        if liveness and liveness.get("terminationGracePeriodSeconds", grace) > 60:
            yield f"a dead {container['name']} would drain for {grace} s"
    for document in documents:
        if document["kind"] in ("Deployment", "InferenceService"):
            spec = document["spec"]
            strategy = spec.get("strategy") or spec["predictor"]["deploymentStrategy"]
            if strategy["rollingUpdate"] != {"maxUnavailable": 0, "maxSurge": 1}:
                yield "a rolling update may leave fewer pods than asked for"


def _hardening(_: list[Document], pod: Document) -> Iterator[str]:
    if pod["automountServiceAccountToken"] or not pod["securityContext"]["runAsNonRoot"]:
        yield "the pod has a service account's token or runs as root"
    if pod["securityContext"]["seccompProfile"] != {"type": "RuntimeDefault"}:
        yield "no seccomp profile"
    wanted = {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    for container in containers(pod):
        if container["securityContext"] != wanted:
            yield f"container {container['name']} is not confined"
        resources = container["resources"]
        if not {"cpu", "memory"} <= {*resources["requests"]} or "memory" not in resources["limits"]:
            yield f"container {container['name']} has no resources"
    for volume in pod["volumes"]:
        if "emptyDir" in volume and not volume["emptyDir"].get("sizeLimit"):
            yield f"volume {volume['name']!r} has no limit"


def _labels(documents: list[Document], pod: Document) -> Iterator[str]:
    selectors = [constraint["labelSelector"]["matchLabels"] for constraint in pod["topologySpreadConstraints"]]
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            selectors.append(spec["selector"])
        elif document["kind"] in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
            selectors.append(spec["selector"]["matchLabels"])
        elif document["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"]["matchLabels"])
        if document["kind"] == "ScaledObject":
            (target,) = (found["metadata"]["name"] for found in documents if found["kind"] == "Deployment")
            if spec["scaleTargetRef"]["name"] != target:
                yield "KEDA scales another Deployment"
        if document["kind"] != "Namespace" and document["metadata"]["namespace"] != "genartisan":
            yield f"{document['kind']} is in another namespace"
    yield from (f"{selector} selects no pod" for selector in selectors if not selector.items() <= pod["labels"].items())
