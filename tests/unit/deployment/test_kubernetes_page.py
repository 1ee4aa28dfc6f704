"""The tables of k8s/README.md say what kustomize builds."""

import re

import pytest

from scripts.deployed_services import deployed_services
from tests.support.custom_resources import crd_folder
from tests.support.dockerfile_stages import images
from tests.support.kubernetes_pods import service_container
from tests.support.kustomize import K8S, Object, named, objects_of, of_kind


def page() -> str:
    return (K8S / "README.md").read_text(encoding="utf-8")


def replicas(objects: list[Object], label: str) -> str:
    """As the table has them: a number, or between which two an autoscaler decides."""
    for one in of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler"):
        spec = one["spec"]
        if spec["scaleTargetRef"]["name"] == label:
            least = spec.get("minReplicaCount", spec.get("minReplicas"))
            return f"{least} to {spec.get('maxReplicaCount', spec.get('maxReplicas'))}"
    return str(named(objects, "Deployment", label)["spec"].get("replicas", 1))


def test_the_table_of_services_is_what_is_built() -> None:
    rows = re.findall(r"^\| (\w+) \| (\d+) \| ([\d to]+) \| (\w+ to \w+) \| (\w+ to \w+) \|", page(), re.MULTILINE)
    dev, prod = objects_of("dev"), objects_of("prod")
    expected = []
    for name, service in sorted(deployed_services().items()):
        resources = service_container(named(prod, "Deployment", service.label))["resources"]
        least, most = resources["requests"], resources["limits"]
        expected.append(
            (
                name,
                replicas(dev, service.label),
                replicas(prod, service.label),
                f"{least['cpu']} to {most['cpu']}",
                f"{least['memory']} to {most['memory']}",
            )
        )
    assert rows == expected


def test_dev_requests_what_the_page_says_and_keeps_the_limits() -> None:
    match = re.search(r"`dev` requests (\w+) and (\w+) of each, with the same limits", page())
    assert match is not None
    for service in deployed_services().values():
        here, there = (
            service_container(named(objects_of(one), "Deployment", service.label)) for one in ("dev", "prod")
        )
        assert here["resources"]["requests"] == {"cpu": match[1], "memory": match[2]}
        assert here["resources"]["limits"] == there["resources"]["limits"]


def test_every_image_has_a_size() -> None:
    sizes = dict(re.findall(r"(?<=\| )(\w+) \| (\d{3})(?= \|)", page()))
    assert sizes.keys() == images()


def test_every_folder_is_in_the_table() -> None:
    for folder in sorted(path.name for path in (K8S / "components").iterdir() if path.is_dir()):
        assert f"`{folder}`" in page(), folder
    for overlay in ("dev", "prod"):
        assert f"`overlays/{overlay}`" in page()


def test_the_operators_are_those_of_the_definitions() -> None:
    sources = crd_folder() / "README.md"
    if not sources.exists():
        pytest.skip(f"not run: {sources} does not say where the definitions are from")
    published = re.findall(
        r"^\| \S+.*? \| ([\w-]+/[\w-]+) \| (\w+) \((\S+)\)", sources.read_text("utf-8"), re.MULTILINE
    )
    named_here = re.findall(r"\| ([\w-]+/[\w-]+) (\w+) \((\S+)\) \|", page())
    assert set(named_here) == set(published)
    assert len(named_here) == 5
