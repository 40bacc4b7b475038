"""docker/kubernetes: every kustomization renders, fits its schemas, and agrees with image, gate and settings."""

from __future__ import annotations

import base64
import copy
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import (
    FOLDER,
    GATE,
    Document,
    containers,
    disagreements,
    is_custom,
    objections,
    one,
    options_of,
    pod_of,
    render,
    server_of,
)
from pages import blocks, lines
from servers import ROOT

PAGE = ROOT / "docs" / "kubernetes.md"
COMPONENTS = sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml"))
BUILDS = {
    "cpu": ("overlays/cpu", ()),
    "gpu": ("overlays/gpu", ()),
    "kserve": ("kserve", ()),
    **{name: ("overlays/cpu", (name,)) for name in COMPONENTS},
    "all": ("overlays/gpu", ("autoscaling", "archive-store")),
}
each_build = pytest.mark.parametrize("built", BUILDS, indirect=True)


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Document]]:
    """Renders a build once: an overlay, and the components that an operator adds to it."""
    known: dict[str, list[Document]] = {}

    def build(name: str) -> list[Document]:
        if name not in known:
            overlay, components = BUILDS[name]
            folder = tmp_path_factory.mktemp(name)
            relative = os.path.relpath(FOLDER, folder.resolve())
            kustomization = {
                "resources": [f"{relative}/{overlay}"],
                "components": [f"{relative}/components/{component}" for component in components],
            }
            (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
            known[name] = render(folder)
        return copy.deepcopy(known[name])

    return build


@pytest.fixture
def built(request: pytest.FixtureRequest, builds: Callable[[str], list[Document]]) -> list[Document]:
    return builds(request.param)


def test_every_kustomization_is_built() -> None:
    folders = {path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("kustomization.yaml")}
    used = {overlay for overlay, _ in BUILDS.values()} | {f"components/{name}" for name in COMPONENTS}
    assert folders - used == {"base", "kserve/pod"}  # which the others contain


@each_build
def test_kubernetes_knows_every_field(built: list[Document]) -> None:
    assert [objection for document in built if not is_custom(document) for objection in objections(document)] == []


@pytest.mark.slow
@pytest.mark.parametrize("built", ["autoscaling", "kserve"], indirect=True)
def test_keda_prometheus_and_kserve_know_every_field(built: list[Document]) -> None:
    custom = [document for document in built if is_custom(document)]
    assert custom
    assert [objection for document in custom for objection in objections(document)] == []


@each_build
def test_the_objects_agree_with_the_image_the_gate_and_the_settings(built: list[Document]) -> None:
    assert disagreements(built) == []


def change(document: Document, path: str, value: Any) -> None:
    """Sets what a path such as ``spec.ports.0.targetPort`` leads to."""
    *parents, last = (int(name) if name.isdigit() else name for name in path.split("."))
    place: Any = document
    for name in parents:
        place = place[name]
    place[last] = value


POD, PREDICTOR = "spec.template.spec", "spec.predictor"


@pytest.mark.parametrize(
    ("build", "kind", "path", "value"),
    [
        ("cpu", "Deployment", f"{POD}.securityContext.runAsNonroot", True),
        ("cpu", "Deployment", f"{POD}.initContainers.0.restartPolicy", 1),
        ("cpu", "Deployment", "spec.strategy.rollingUpdate.maxSurges", 1),
        ("cpu", "Service", "spec.ports.0.targetport", "https"),
        ("cpu", "NetworkPolicy", "spec.ingres", []),
        ("cpu", "PodDisruptionBudget", "spec.maxUnavailable", 0.5),
        ("gpu", "Deployment", f"{POD}.tolerations.0.effects", "NoSchedule"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("autoscaling", "ScaledObject", "spec.minReplicas", 1),
                ("autoscaling", "ScaledObject", "spec.triggers.0.metadata.threshold", 2),
                ("autoscaling", "PodMonitor", "spec.podMetricsEndpoints.0.ports", "metrics"),
                ("kserve", "InferenceService", f"{PREDICTOR}.minReplica", 1),
                ("kserve", "InferenceService", f"{PREDICTOR}.containers.0.ports.0.containerport", 8000),
                ("kserve", "InferenceService", f"{PREDICTOR}.volumes.0.emptyDir", []),
                ("kserve", "InferenceService", f"{PREDICTOR}.maxReplicas", "8"),
            )
        ),
    ],
)
def test_an_unknown_field_or_a_wrong_type_is_refused(
    build: str, kind: str, path: str, value: Any, builds: Callable[[str], list[Document]]
) -> None:
    document = one(builds(build), kind)
    change(document, path, value)
    assert objections(document)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", f"{POD}.containers.0.ports.0.containerPort", 8443),
        ("Deployment", f"{POD}.containers.0.ports.1.name", "prometheus"),
        ("Deployment", f"{POD}.containers.0.env.0.value", "127.0.0.1:8405"),
        ("Deployment", f"{POD}.containers.0.readinessProbe.httpGet.path", "/health"),
        ("Deployment", f"{POD}.containers.0.volumeMounts.0.mountPath", "/usr/local/etc/haproxy"),
        ("Deployment", f"{POD}.containers.0.volumeMounts.2.readOnly", True),
        ("Deployment", f"{POD}.containers.0.lifecycle.preStop.exec.command", ["sleep", "600"]),
        ("Deployment", f"{POD}.containers.0.livenessProbe.terminationGracePeriodSeconds", 3600),
        ("Deployment", f"{POD}.containers.0.securityContext", {}),
        ("Deployment", f"{POD}.containers.0.command.3", "/state/serve/key_file.json"),
        ("Deployment", f"{POD}.initContainers.0.restartPolicy", None),
        ("Deployment", f"{POD}.initContainers.1.args.2", "/state/key_file.json"),
        ("Deployment", f"{POD}.initContainers.0.args", ["genartisan", "serve", "--foreground"]),
        ("Deployment", f"{POD}.initContainers.0.args.6", "8084"),
        ("Deployment", f"{POD}.initContainers.0.volumeMounts.1.mountPath", "/var/tmp"),
        ("Deployment", f"{POD}.initContainers.0.startupProbe.failureThreshold", 10),
        ("Deployment", f"{POD}.terminationGracePeriodSeconds", 30),
        ("Deployment", f"{POD}.securityContext.runAsUser", 1000),
        ("Deployment", f"{POD}.volumes.0.emptyDir", {}),
        ("Deployment", f"{POD}.volumes.4.projected.sources.0.configMap.name", "gate"),
        ("Deployment", "spec.template.metadata.labels", {"app": "genartisan"}),
        ("Deployment", "spec.strategy.rollingUpdate.maxUnavailable", 1),
        ("Service", "spec.ports.0.targetPort", 8080),
        ("NetworkPolicy", "spec.ingress.0.ports.0.port", 8080),
        ("NetworkPolicy", "spec.podSelector.matchLabels", {"app": "genartisan"}),
        ("PodDisruptionBudget", "spec.selector.matchLabels", {"app": "genartisan"}),
        ("ConfigMap", "data", {"haproxy.cfg": "global\n"}),
        ("PodMonitor", "spec.podMetricsEndpoints.1.path", "/server/metrics"),
        ("ScaledObject", "spec.scaleTargetRef.name", "torchserve"),
    ],
)
def test_a_value_that_does_not_fit_is_noticed(
    kind: str, path: str, value: Any, builds: Callable[[str], list[Document]]
) -> None:
    documents = builds("autoscaling")
    change(one(documents, kind), path, value)
    assert disagreements(documents)


@pytest.mark.parametrize(("build", "service"), [("cpu", "genartisan"), ("kserve", "genartisan"), ("gpu", "cuda")])
def test_images_are_those_of_the_compose_file(
    build: str, service: str, builds: Callable[[str], list[Document]]
) -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    assert server_of(pod_of(builds(build)))["image"] == compose["services"][service]["image"]


def test_only_the_gpu_overlay_asks_for_a_gpu(builds: Callable[[str], list[Document]]) -> None:
    limits = {name: server_of(pod_of(builds(name)))["resources"]["limits"] for name in ("cpu", "gpu")}
    assert ["nvidia.com/gpu" in limits[name] for name in limits] == [False, True]


def test_callers_reach_the_gate_alone_and_the_server_reaches_nothing(builds: Callable[[str], list[Document]]) -> None:
    policy = one(builds("cpu"), "NetworkPolicy")["spec"]
    assert {*policy["policyTypes"]} == {"Ingress", "Egress"}
    assert not policy.get("egress")
    open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
    assert open_to_all == ["https"]


@pytest.mark.parametrize("build", ["archive-volume", "archive-store", "all"])
def test_archives_from_elsewhere_must_be_signed(build: str, builds: Callable[[str], list[Document]]) -> None:
    documents = builds(build)
    pod = pod_of(documents)
    server = server_of(pod)
    options = options_of(server["args"])
    mounts = {mount["mountPath"]: mount for mount in server["volumeMounts"]}
    assert mounts[str(options.store)] == {"name": "archives", "mountPath": str(options.store), "readOnly": True}
    assert mounts[str(options.require_signature.parent)]["name"] == "signature"
    (archives,) = (volume for volume in pod["volumes"] if volume["name"] == "archives")
    if build == "archive-volume":
        assert archives["persistentVolumeClaim"]["readOnly"]
        return
    fetch, after, _ = pod["initContainers"]  # in this order: the server starts when the archives are there
    assert (fetch["name"], after["name"]) == ("fetch", "server")
    assert fetch["args"][-1] == str(options.store)
    assert archives["emptyDir"]["sizeLimit"]
    assert {port["port"] for rule in one(documents, "NetworkPolicy")["spec"]["egress"] for port in rule["ports"]} == {
        443,
        53,
    }


def test_keda_owns_the_replicas(builds: Callable[[str], list[Document]]) -> None:
    documents = builds("autoscaling")
    assert "replicas" not in one(documents, "Deployment")["spec"]
    scaled = one(documents, "ScaledObject")["spec"]
    assert 2 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]  # one may be drained
    (trigger,) = scaled["triggers"]
    named = re.findall(r'proxy=~"([^"]*)"', trigger["metadata"]["query"])[0].split("|")
    assert {*named} <= {*re.findall(r"^backend (\w+)", GATE, re.M)}


def test_kserve_scales_by_the_same_measure(builds: Callable[[str], list[Document]]) -> None:
    scaled = one(builds("autoscaling"), "ScaledObject")["spec"]
    predictor = one(builds("kserve"), "InferenceService")["spec"]["predictor"]
    (metric,) = predictor["autoScaling"]["metrics"]
    (trigger,) = scaled["triggers"]
    external = metric["external"]
    assert external["metric"] | {"threshold": external["target"]["value"]} == {
        "backend": trigger["type"],
        **trigger["metadata"],
    }
    assert [predictor[name] for name in ("minReplicas", "maxReplicas")] == [
        scaled[name] for name in ("minReplicaCount", "maxReplicaCount")
    ]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    for way, values in predictor["autoScaling"]["behavior"].items():
        assert values["stabilizationWindowSeconds"] == behavior[way]["stabilizationWindowSeconds"]


def test_kserve_gets_the_pod_of_the_deployment(builds: Callable[[str], list[Document]]) -> None:
    documents = builds("kserve")
    assert not {"Deployment", "Service"} & {document["kind"] for document in documents}  # KServe makes its own
    predictor, pod = pod_of(documents), pod_of(builds("cpu"))
    assert predictor["containers"][0]["name"] == "kserve-container"
    same = ("initContainers", "terminationGracePeriodSeconds", "topologySpreadConstraints", "labels")
    assert {name: predictor[name] for name in same} == {name: pod[name] for name in same}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_page_makes_the_secrets_that_the_gate_needs(
    certificate: tuple[Path, Path], tmp_path: Path, builds: Callable[[str], list[Document]]
) -> None:
    gate = next(volume for volume in pod_of(builds("cpu"))["volumes"] if volume["name"] == "gate")
    for name, path in zip(("pictures.pem", "pictures.key"), certificate, strict=True):
        shutil.copyfile(path, tmp_path / name)
    block = next(block for block in blocks(PAGE, "sh") if "openssl" in block)
    local = [line for line in lines(block) if not re.match("kubectl (apply|rollout)", line)]
    script = "\n".join(f"{line} --dry-run=client -o yaml; echo ---" if "secret" in line else line for line in local)
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    made = {secret["metadata"]["name"]: secret["data"] for secret in yaml.safe_load_all(done.stdout) if secret}
    assert {name: {*made[name]} for name in made} == {
        "gate-callers": {Path(name).name for name in re.findall(r"/etc/haproxy/\w+\.map", GATE)},
        "gate-certificate": {item["key"] for item in gate["projected"]["sources"][2]["secret"]["items"]},
    }
    key = (tmp_path / "ann.key").read_bytes()
    assert base64.b64decode(made["gate-callers"]["callers.map"]).decode() == f"{sha256(key).hexdigest().upper()} ann\n"


def test_the_overlay_of_the_page_renders(tmp_path: Path) -> None:
    (overlay,) = blocks(PAGE, "yaml")
    (tmp_path / "kustomization.yaml").write_text(overlay.replace("..", os.path.relpath(ROOT, tmp_path.resolve())))
    pod = pod_of(render(tmp_path))
    images = {container["name"]: container["image"] for container in containers(pod)}
    assert images["server"] == images["key"] == "registry.example.org/genartisan:1.0"


def test_secrets_are_made_in_the_page(builds: Callable[[str], list[Document]]) -> None:
    made = set(re.findall(r"kubectl create secret \w+ (\S+)", PAGE.read_text()))
    used = {name for build in BUILDS for name in secrets(pod_of(builds(build)))}
    assert used == made


def secrets(part: Any) -> Iterator[str]:
    """The Secrets that a pod names."""
    if isinstance(part, list):
        for entry in part:
            yield from secrets(entry)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("secret", "secretRef"):
                yield value.get("secretName") or value["name"]
            else:
                yield from secrets(value)
