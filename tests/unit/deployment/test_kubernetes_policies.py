"""What holds for every pod of every overlay, and that each of these checks sees what it is there to see."""

import asyncio
import tomllib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from scripts.deployed_services import DeployedService, deployed_services
from services.runtime.telemetry.endpoints import Endpoints
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.dockerfile_stages import images
from tests.support.kubernetes_pods import (
    confinement_faults,
    image_faults,
    port_faults,
    probe_faults,
    quantity,
    resource_faults,
    rollout_faults,
    volume_faults,
)
from tests.support.kustomize import OVERLAYS, ROOT, Object, named, objects_of, of_kind

Check = Callable[[list[Object]], list[str]]


def version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


@cache
def answered_on_metrics(path: str) -> bool:
    """Whether the operations port of a process answers it otherwise than that there is nothing."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    asyncio.run(Endpoints(Telemetry())(scope, receive, send))
    return statuses != [404]


def images_of_this_version(objects: list[Object]) -> list[str]:
    return image_faults(objects, images(), version())


def probes_of_paths_that_are_answered(objects: list[Object]) -> list[str]:
    return probe_faults(objects, {"metrics": answered_on_metrics})


def ports_of_the_code(objects: list[Object]) -> list[str]:
    return port_faults(objects, deployed_services())


CHECKS: tuple[Check, ...] = (
    images_of_this_version,
    resource_faults,
    confinement_faults,
    volume_faults,
    probes_of_paths_that_are_answered,
    ports_of_the_code,
    rollout_faults,
)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_of_an_overlay_keeps_to_it(overlay: str, check: Check) -> None:
    assert check(objects_of(overlay)) == []


@pytest.mark.parametrize(
    ("workload", "path", "value", "check", "said"),
    [
        ("Deployment/edge", "containers.0.image", "conclave/edge:latest", images_of_this_version, "has no version"),
        ("Deployment/edge", "containers.0.image", "conclave/edge", images_of_this_version, "has no version"),
        ("Deployment/edge", "containers.0.image", "conclave/gate:0.1.0", images_of_this_version, "no target gate"),
        ("Deployment/edge", "containers.0.image", "other/gate:0.1.0", images_of_this_version, "no target gate"),
        ("Deployment/edge", "containers.0.image", "conclave/edge:0.0.9", images_of_this_version, "not of version"),
        ("Job/mongodb-setup", "containers.0.image", "conclave/tool:0.1.0", images_of_this_version, "no target tool"),
        ("StatefulSet/mongodb", "initContainers.0.image", "mongo", images_of_this_version, "has no version"),
        ("Deployment/edge", "containers.0.resources.limits", {"cpu": "1"}, resource_faults, "no memory (memory)"),
        ("Deployment/edge", "containers.0.resources", {}, resource_faults, "no requests (cpu)"),
        ("StatefulSet/mongodb", "initContainers.0.resources", {}, resource_faults, "no requests (cpu)"),
        (
            "Deployment/edge",
            "containers.0.resources.requests.memory",
            "2Gi",
            resource_faults,
            "requests more memory than its limit",
        ),
        ("Deployment/edge", "securityContext.runAsNonRoot", False, confinement_faults, "may run as root"),
        ("Deployment/edge", "securityContext.runAsUser", 0, confinement_faults, "may run as root"),
        ("Deployment/edge", "securityContext.fsGroup", 1000, confinement_faults, "does not run as 10001"),
        ("Deployment/edge", "securityContext.seccompProfile", {"type": "Unconfined"}, confinement_faults, "seccomp"),
        ("Deployment/edge", "automountServiceAccountToken", True, confinement_faults, "token"),
        ("Deployment/edge", "enableServiceLinks", True, confinement_faults, "variables made of Services"),
        ("Deployment/edge", "hostNetwork", True, confinement_faults, "has hostNetwork"),
        (
            "Deployment/edge",
            "containers.0.securityContext.readOnlyRootFilesystem",
            False,
            confinement_faults,
            "can write",
        ),
        (
            "Deployment/edge",
            "containers.0.securityContext.capabilities",
            {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            confinement_faults,
            "keeps capabilities",
        ),
        (
            "StatefulSet/rabbitmq",
            "containers.0.securityContext.allowPrivilegeEscalation",
            True,
            confinement_faults,
            "may gain privileges",
        ),
        ("Deployment/edge", "containers.0.securityContext.privileged", True, confinement_faults, "is privileged"),
        ("Deployment/edge", "containers.0.ports.0.hostPort", 8000, confinement_faults, "port of its host"),
        ("Deployment/edge", "containers.0.volumeMounts.0.name", "temp", volume_faults, "there is no volume temp"),
        ("Deployment/edge", "volumes.1.emptyDir", {}, volume_faults, "no sizeLimit"),
        ("Deployment/edge", "volumes.0.secret.defaultMode", 0o444, volume_faults, "read by everybody"),
        (
            "Deployment/edge",
            "containers.0.readinessProbe.httpGet.path",
            "/health/redy",
            probes_of_paths_that_are_answered,
            "asks /health/redy, which nothing answers on metrics",
        ),
        (
            "Deployment/edge",
            "containers.0.livenessProbe.httpGet.port",
            "metric",
            probes_of_paths_that_are_answered,
            "asks port metric",
        ),
        ("Deployment/edge", "containers.0.startupProbe", None, probes_of_paths_that_are_answered, "no startupProbe"),
        ("StatefulSet/mongodb", "containers.0.livenessProbe", None, probes_of_paths_that_are_answered, "no liveness"),
        ("Deployment/edge", "containers.0.ports.0.containerPort", 8001, ports_of_the_code, "'api': 8001"),
        ("Deployment/monitor", "containers.0.ports.0.name", "metric", ports_of_the_code, "opens {'metric': 9090}"),
        ("Deployment/edge", "topologySpreadConstraints", [], rollout_faults, "not spread over zones and hosts"),
    ],
)
def test_a_pod_that_does_not_is_seen(workload: str, path: str, value: Any, check: Check, said: str) -> None:
    objects = objects_of("dev")
    before = check(objects)
    place: Any = named(objects, *workload.split("/"))["spec"]["template"]["spec"]
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    faults = [fault for fault in check(objects) if fault not in before]
    assert faults != []
    assert all(fault.startswith(f"{workload}: ") for fault in faults)
    assert any(said in fault for fault in faults), faults


def test_an_update_that_takes_pods_away_first_is_seen() -> None:
    objects = objects_of("prod")
    named(objects, "Deployment", "registry")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 1
    assert rollout_faults(objects) == [
        "Deployment/registry: an update takes a pod away before the next is ready",
    ]


def test_a_port_changed_in_the_code_and_not_here_is_seen() -> None:
    moved = {
        name: DeployedService(one.name, one.store, one.agents, one.api_keys, {**one.ports, "metrics": 9091})
        for name, one in deployed_services().items()
    }
    assert len(port_faults(objects_of("prod"), moved)) == len(moved)


def test_a_target_gone_from_the_dockerfile_is_seen() -> None:
    faults = image_faults(objects_of("prod"), images() - {"registry"}, version())
    assert faults == ["Deployment/registry: the Dockerfile has no target registry"]


def test_a_new_version_of_the_project_is_seen() -> None:
    assert len(image_faults(objects_of("prod"), images(), "99.0.0")) == len(images())


@pytest.mark.parametrize(("path", "there"), [("/health/live", True), ("/health/ready", True), ("/healthz", False)])
def test_a_path_is_answered_where_the_code_has_it(path: str, there: bool) -> None:
    assert answered_on_metrics(path) is there


@pytest.mark.parametrize(
    ("text", "amount"), [("250m", 0.25), ("2", 2.0), (1, 1.0), ("64Mi", 64 * 2**20), ("1.5Gi", 1.5 * 2**30)]
)
def test_a_quantity_is_read(text: Any, amount: float) -> None:
    assert quantity(text) == amount


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="64MB"):
        quantity("64MB")


# ---- what the servers of the dev overlay and the operators are given


def test_every_claim_and_image_of_the_operators_is_bounded_and_has_a_version() -> None:
    objects = objects_of("prod")
    (broker,) = of_kind(objects, "RabbitmqCluster")
    (store,) = of_kind(objects, "MongoDBCommunity")
    dev = named(objects_of("dev"), "StatefulSet", "rabbitmq")
    assert broker["spec"]["image"] == dev["spec"]["template"]["spec"]["containers"][0]["image"]
    mongodb = named(objects_of("dev"), "StatefulSet", "mongodb")["spec"]["template"]["spec"]
    assert f"mongo:{store['spec']['version']}" == mongodb["containers"][0]["image"]
    for container in store["spec"]["statefulSet"]["spec"]["template"]["spec"]["containers"]:
        assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert broker["spec"]["resources"]["limits"].keys() == {"cpu", "memory"}
