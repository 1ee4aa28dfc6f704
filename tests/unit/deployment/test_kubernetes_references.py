"""Names that lead from one object to another, and to the Secrets that a script makes, lead somewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.deployment_secrets_made import Secrets, overlay_options, secrets_for
from tests.support.kubernetes_links import (
    Keys,
    account_faults,
    reference_faults,
    references,
    replica_faults,
    selector_faults,
    service_faults,
)
from tests.support.kubernetes_pods import is_service
from tests.support.kustomize import OVERLAYS, Object, named, objects_of, of_kind

LEAST_REPLICAS = {"dev": 1, "prod": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Secrets]:
    """Of each overlay."""
    return {overlay: secrets_for(overlay, tmp_path_factory.mktemp(overlay)) for overlay in OVERLAYS}


@pytest.fixture(scope="module")
def keys(made: Mapping[str, Secrets]) -> Mapping[str, Keys]:
    return {
        overlay: {name: frozenset(content) for name, content in secrets.items()} for overlay, secrets in made.items()
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_and_config_map_that_is_named_is_there(overlay: str, keys: Mapping[str, Keys]) -> None:
    objects = objects_of(overlay)
    assert reference_faults(objects, keys[overlay]) == []
    assert len({reference for one in objects for reference in references(one)}) > 20


def test_only_prod_has_certificates() -> None:
    assert overlay_options("dev") == ["--kubernetes", "conclave"]
    assert overlay_options("prod") == ["--kubernetes", "conclave", "--tls"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_the_output(overlay: str, made: Mapping[str, Secrets]) -> None:
    objects = objects_of(overlay)
    assert of_kind(objects, "Secret") == []
    output = json.dumps(objects)
    secrets = [text.strip() for one in made[overlay].values() for key, text in one.items() if key != "username"]
    assert len(secrets) > 40
    assert [text for text in secrets if text in output] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_and_ingress_leads_to_an_open_port(overlay: str) -> None:
    assert service_faults(objects_of(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_selects_its_own(overlay: str) -> None:
    assert selector_faults(objects_of(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_has_an_account_without_a_token(overlay: str) -> None:
    assert account_faults(objects_of(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_replicas_are_decided_on_by_one_and_are_enough(overlay: str) -> None:
    assert replica_faults(objects_of(overlay), LEAST_REPLICAS[overlay]) == []


# ---- what leads nowhere is seen


def pod_of(objects: list[Object], name: str) -> Object:
    return dict(named(objects, "Deployment", name)["spec"]["template"]["spec"])


def test_a_secret_of_another_name_is_seen(keys: Mapping[str, Keys]) -> None:
    objects = objects_of("dev")
    (volume,) = [one for one in pod_of(objects, "edge")["volumes"] if one["name"] == "secrets"]
    volume["secret"]["secretName"] = "edge-secret"
    assert reference_faults(objects, keys["dev"]) == ["Deployment/edge: there is no Secret edge-secret"]


def test_a_secret_that_the_script_no_longer_makes_is_seen(keys: Mapping[str, Keys]) -> None:
    without = {name: one for name, one in keys["prod"].items() if name != "rabbitmq-user-edge"}
    assert set(reference_faults(objects_of("prod"), without)) == {"User/edge: there is no Secret rabbitmq-user-edge"}


def test_a_key_that_the_script_calls_otherwise_is_seen(keys: Mapping[str, Keys]) -> None:
    renamed = {**keys["prod"], "keda-rabbitmq": frozenset({"url"})}
    assert reference_faults(objects_of("prod"), renamed) == [
        "TriggerAuthentication/rabbitmq: Secret keda-rabbitmq has no host, only url"
    ]


def test_a_config_map_of_another_name_and_a_file_that_it_has_not_are_seen(keys: Mapping[str, Keys]) -> None:
    objects = objects_of("dev")
    pod_of(objects, "edge")["containers"][0]["envFrom"][0]["configMapRef"]["name"] = "setting"
    mounts = pod_of(objects, "prometheus")["containers"][0]["volumeMounts"]
    next(one for one in mounts if "subPath" in one)["subPath"] = "prometheus.yaml"
    first, second = reference_faults(objects, keys["dev"])
    assert first == "Deployment/edge: there is no ConfigMap setting"
    assert second.endswith("has no prometheus.yaml, only prometheus.yml")


def test_a_service_whose_port_no_pod_opens_is_seen() -> None:
    objects = objects_of("dev")
    named(objects, "Service", "edge")["spec"]["ports"][0]["targetPort"] = "http"
    assert service_faults(objects) == ["Service/edge: port api is http, which no pod behind it opens"]


def test_a_service_that_selects_nobody_is_seen() -> None:
    objects = objects_of("dev")
    named(objects, "Service", "rabbitmq")["spec"]["selector"]["app.kubernetes.io/name"] = "rabbit"
    assert service_faults(objects)[0] == "Service/rabbitmq: no pod has the labels that it selects"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("name", "gate", "0 objects Service gate"), ("port", {"name": "http"}, "Service edge has no port http")],
)
def test_an_ingress_that_leads_nowhere_is_seen(field: str, value: object, said: str) -> None:
    objects = objects_of("prod")
    named(objects, "Ingress", "edge")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"][field] = value
    assert service_faults(objects) == [f"Ingress/edge: {said}"]


def test_a_budget_for_nobody_and_one_that_lets_nobody_go_are_seen() -> None:
    objects = objects_of("dev")
    named(objects, "PodDisruptionBudget", "edge")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] = "x"
    named(objects, "PodDisruptionBudget", "monitor")["spec"]["maxUnavailable"] = 0
    assert selector_faults(objects) == [
        "PodDisruptionBudget/edge: holds for nobody",
        "PodDisruptionBudget/monitor: may keep a node from being drained for ever",
        "Deployment/edge: has 0 disruption budgets",
    ]


def test_a_deployment_that_takes_others_pods_for_its_own_is_seen() -> None:
    objects = objects_of("dev")
    del named(objects, "Deployment", "edge")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]
    (fault,) = selector_faults(objects)
    assert fault.startswith("Deployment/edge: selects the pods of ")
    assert "Deployment/registry" in fault


def test_an_account_of_another_is_seen() -> None:
    objects = objects_of("dev")
    named(objects, "Deployment", "edge")["spec"]["template"]["spec"]["serviceAccountName"] = "default"
    named(objects, "ServiceAccount", "monitor")["automountServiceAccountToken"] = True
    first, second = account_faults(objects)
    assert first == "ServiceAccount/monitor: hands out tokens for Kubernetes' API"
    assert second.startswith("Deployment/edge: its account is default")


def test_replicas_of_two_minds_too_few_and_of_nobody_are_seen() -> None:
    objects = objects_of("prod")
    named(objects, "Deployment", "data-agent")["spec"]["replicas"] = 3
    named(objects, "Deployment", "registry")["spec"]["replicas"] = 1
    named(objects, "ScaledObject", "orchestrator")["spec"]["scaleTargetRef"]["name"] = "orchestra"
    assert sorted(replica_faults(objects, 2)) == [
        "Deployment/data-agent: its replicas are set, and an autoscaler's",
        "Deployment/orchestrator: 1 of it, and 2 are wanted",
        "Deployment/registry: 1 of it, and 2 are wanted",
        "ScaledObject/orchestrator: there is no Deployment orchestra",
    ]


def test_the_secrets_of_a_service_hold_no_other_services_keys(made: Mapping[str, Secrets]) -> None:
    for one in filter(is_service, objects_of("prod")):
        label = one["metadata"]["name"]
        private = [key for key in made["prod"][f"{label}-secrets"] if key.endswith(".private.json")]
        assert private == [f"{label.replace('-', '_')}.private.json"]


def test_secrets_are_made_anew_in_an_empty_folder(tmp_path: Path) -> None:
    first, second = (secrets_for("dev", tmp_path / name) for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert first["mongodb-secrets"] != second["mongodb-secrets"]
