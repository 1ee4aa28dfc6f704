"""What scales with what: the queues are those of the code, and going down gives a step its time."""

from pathlib import Path
from typing import Any

import pytest

from contracts import topology
from contracts.topology import SHARDS, Queue
from scripts.rabbitmq_permissions import AGENT_SERVICES, broker_of
from services.runtime.settings import Settings
from tests.support.deployment_secrets_made import secrets_for
from tests.support.kustomize import Object, containers, named, objects_of, of_kind, pod_template

CONCURRENCY, TIMEOUT, LEASE = (
    Settings.model_fields[name].default for name in ("agent_concurrency", "agent_timeout", "step_lease")
)
LONGEST_WINDOW = 3_600  # seconds; Kubernetes takes no more

QUEUES: dict[str, list[Queue]] = {
    name.replace("_", "-"): [topology.agent_type_queue(one) for one in types]
    for name, types in AGENT_SERVICES.items()
    if types
} | {
    "orchestrator": [
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
    ]
}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return objects_of("prod")


def scaled(objects: list[Object], label: str) -> dict[str, Any]:
    spec: dict[str, Any] = named(objects, "ScaledObject", label)["spec"]
    return spec


def concurrency_of(objects: list[Object], label: str) -> int:
    """Steps that a host of the overlay works on at once."""
    template = pod_template(named(objects, "Deployment", label))
    assert template is not None
    (container,) = containers(template)
    given = {one["name"]: one.get("value") for one in container.get("env", ())}
    return int(given.get("AGENT_CONCURRENCY") or CONCURRENCY)


def test_every_service_whose_queues_are_known_is_scaled_by_all_of_them(objects: list[Object]) -> None:
    found = {
        one["spec"]["scaleTargetRef"]["name"]: [trigger["metadata"]["queueName"] for trigger in one["spec"]["triggers"]]
        for one in of_kind(objects, "ScaledObject")
    }
    assert found == {label: [queue.name for queue in queues] for label, queues in QUEUES.items()}
    assert {queue.name for queues in QUEUES.values() for queue in queues} <= {one.name for one in broker_of().queues}


@pytest.mark.parametrize("label", sorted(QUEUES))
def test_it_asks_over_amqp_as_the_user_that_may_nothing_else(objects: list[Object], label: str) -> None:
    for trigger in scaled(objects, label)["triggers"]:
        assert trigger["type"] == "rabbitmq"
        assert trigger["metadata"]["protocol"] == "amqp"
        assert trigger["metadata"]["mode"] == "QueueLength"
        assert trigger["authenticationRef"] == {"name": "rabbitmq"}


def test_its_login_and_authority_are_in_the_secrets(objects: list[Object], tmp_path: Path) -> None:
    made = secrets_for("prod", tmp_path)
    asked = named(objects, "TriggerAuthentication", "rabbitmq")["spec"]
    secrets = {one["parameter"]: made[one["name"]][one["key"]] for one in asked["secretTargetRef"]}
    assert secrets["host"].startswith("amqps://scaler:")
    assert "BEGIN CERTIFICATE" in secrets["ca"]
    (tls,) = asked["configMapTargetRef"]
    assert tls["parameter"] == "tls"
    assert named(objects, "ConfigMap", tls["name"])["data"][tls["key"]] == "enable"


@pytest.mark.parametrize("label", sorted(set(QUEUES) - {"orchestrator"}))
def test_another_host_is_made_when_two_rounds_of_work_wait(objects: list[Object], label: str) -> None:
    (trigger,) = scaled(objects, label)["triggers"]
    assert int(trigger["metadata"]["value"]) == 2 * concurrency_of(objects, label)


def test_there_are_no_more_orchestrators_than_shards(objects: list[Object]) -> None:
    assert scaled(objects, "orchestrator")["maxReplicaCount"] == SHARDS


@pytest.mark.parametrize("label", sorted(QUEUES))
def test_a_broker_that_is_away_takes_no_replica(objects: list[Object], label: str) -> None:
    spec = scaled(objects, label)
    assert spec["fallback"] == {"failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher"}
    assert spec["minReplicaCount"] == 2 < spec["maxReplicaCount"]
    # KEDA has no fallback for others, and says so only when it is installed.
    assert {trigger["metricType"] for trigger in spec["triggers"]} == {"AverageValue"}


@pytest.mark.parametrize("label", sorted(QUEUES))
def test_a_replica_goes_only_after_a_step_had_its_time(objects: list[Object], label: str) -> None:
    down = scaled(objects, label)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert TIMEOUT + LEASE < down["stabilizationWindowSeconds"] <= LONGEST_WINDOW
    assert [(one["type"], one["value"]) for one in down["policies"]] == [("Pods", 1)]


def test_the_edge_is_scaled_by_what_requests_cost(objects: list[Object]) -> None:
    spec = named(objects, "HorizontalPodAutoscaler", "edge")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "edge"}
    (metric,) = spec["metrics"]
    assert metric["resource"]["name"] == "cpu"
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    template = pod_template(named(objects, "Deployment", "edge"))
    assert template is not None
    # A share of what is requested: without a request there is no share.
    assert [one["resources"]["requests"]["cpu"] for one in containers(template)] == ["250m"]


def test_nothing_sets_back_what_an_autoscaler_has_set(objects: list[Object]) -> None:
    owned = {*QUEUES, "edge"}
    deployments = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "Deployment")}
    assert owned <= set(deployments)
    assert [name for name in sorted(owned) if "replicas" in deployments[name]] == []
