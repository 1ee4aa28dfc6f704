"""k8s/ has every service of the code, under one name everywhere, and no other."""

from collections.abc import Mapping

import pytest

from scripts.deployed_services import DeployedService, deployed_services
from tests.support.dockerfile_stages import images
from tests.support.kubernetes_pods import is_service, service_container
from tests.support.kustomize import K8S, OVERLAYS, Object, identity, named, objects_of, of_kind, pod_template

STORE, API_KEYS = "conclave/store", "conclave/api-keys"  # labels


def name_faults(objects: list[Object], services: Mapping[str, DeployedService]) -> list[str]:
    """Services that are not deployed, Deployments of none, and names that differ between what belongs together."""
    by_label = {service.label: service for service in services.values()}
    deployed = {one["metadata"]["name"]: one for one in filter(is_service, objects)}
    found = [f"{name} is not deployed" for name in sorted(by_label.keys() - deployed.keys())]
    found += [f"{name} is no service of the code" for name in sorted(deployed.keys() - by_label.keys())]
    for label, one in deployed.items():
        if (service := by_label.get(label)) is not None:
            found += [f"{label}: {fault}" for fault in _faults_of(one, service)]
    return found


def _faults_of(one: Object, service: DeployedService) -> list[str]:
    template = one["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    folders = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
    environment = {variable["name"] for variable in service_container(one).get("env", [])}
    image = service_container(one)["image"].rpartition(":")[0].rpartition("/")[2]
    said = {
        "its image": (image, service.name),
        "its label": (labels["app.kubernetes.io/name"], service.label),
        "its part of": (labels["app.kubernetes.io/part-of"], "conclave"),
        "its secrets": (folders, [f"{service.label}-secrets"]),
        "hosting agents": (labels["app.kubernetes.io/component"] == "agent", service.agents),
        "being the edge": (labels["app.kubernetes.io/component"] == "edge", "api" in service.ports),
        "the label of the store": (labels.get(STORE) == "true", service.store),
        "the label of API keys": (labels.get(API_KEYS) == "true", service.api_keys),
        "DATABASE_URL_FILE": ("DATABASE_URL_FILE" in environment, service.store),
        "API_KEY_HASH_KEY_FILE": ("API_KEY_HASH_KEY_FILE" in environment, service.api_keys),
    }
    return [f"{what} is {here}, in the code {there}" for what, (here, there) in said.items() if here != there]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_of_the_code_is_deployed_under_its_name(overlay: str) -> None:
    assert name_faults(objects_of(overlay), deployed_services()) == []


def test_every_service_has_a_folder_of_its_name() -> None:
    folders = {path.parent.name for path in (K8S / "base").glob("*/deployment.yaml")}
    assert folders == deployed_services().keys() | {"every_service"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_of_the_dockerfile_is_used(overlay: str) -> None:
    used = {
        container["image"].rpartition(":")[0].rpartition("/")[2]
        for one in objects_of(overlay)
        if (pod := pod_template(one)) is not None
        for container in pod["spec"]["containers"]
        if "conclave/" in container["image"]
    }
    assert used == images()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_in_the_namespace_and_part_of_conclave(overlay: str) -> None:
    outside = {"Namespace", "PriorityClass"}
    seen = set()
    for one in objects_of(overlay):
        metadata = one["metadata"]
        seen.add((one["apiVersion"], one["kind"], metadata["name"]))
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "conclave", identity(one)
        assert metadata.get("namespace") == (None if one["kind"] in outside else "conclave"), identity(one)
    assert len(seen) == len(objects_of(overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_refuses_what_is_not_restricted(overlay: str) -> None:
    (namespace,) = of_kind(objects_of(overlay), "Namespace")
    assert namespace["metadata"]["name"] == "conclave"
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_ingress_of_prod_is_that_of_the_installation() -> None:
    spec = named(objects_of("prod"), "Ingress", "edge")["spec"]
    assert [rule["host"] for rule in spec["rules"]] == ["conclave.example.com"]
    assert spec["tls"] == [{"hosts": ["conclave.example.com"], "secretName": "edge-tls"}]
    assert of_kind(objects_of("prod"), "ConfigMap") == [
        one for one in of_kind(objects_of("prod"), "ConfigMap") if one["metadata"]["name"] != "installation"
    ]


def test_the_images_of_prod_come_from_the_registry_of_the_installation() -> None:
    used = {service_container(one)["image"] for one in filter(is_service, objects_of("prod"))}
    assert {image.rpartition("/")[0] for image in used} == {"registry.example.com/conclave"}


# ---- names changed on one side only are seen


def test_a_new_service_of_the_code_is_seen() -> None:
    services = {**deployed_services(), "night_agent": DeployedService("night_agent", False, True, False, {})}
    assert name_faults(objects_of("prod"), services) == ["night-agent is not deployed"]


def test_a_service_renamed_in_the_code_is_seen() -> None:
    services = deployed_services()
    services["clerk"] = services.pop("registry")
    services["clerk"] = DeployedService("clerk", True, False, False, services["clerk"].ports)
    assert name_faults(objects_of("dev"), services) == ["clerk is not deployed", "registry is no service of the code"]


def test_a_service_that_begins_to_use_the_store_is_seen() -> None:
    services = deployed_services()
    services["data_agent"] = DeployedService("data_agent", True, True, False, services["data_agent"].ports)
    assert name_faults(objects_of("dev"), services) == [
        "data-agent: the label of the store is False, in the code True",
        "data-agent: DATABASE_URL_FILE is False, in the code True",
    ]


def test_a_deployment_with_anothers_image_and_secrets_is_seen() -> None:
    objects = objects_of("dev")
    pod = named(objects, "Deployment", "registry")["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = "conclave/monitor:0.1.0"
    next(one for one in pod["volumes"] if "secret" in one)["secret"]["secretName"] = "monitor-secrets"
    assert name_faults(objects, deployed_services()) == [
        "registry: its image is monitor, in the code registry",
        "registry: its secrets is ['monitor-secrets'], in the code ['registry-secrets']",
    ]
