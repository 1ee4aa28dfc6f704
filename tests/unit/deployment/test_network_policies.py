"""Every arrow that the NetworkPolicies let through is one that the code uses, and every arrow that the code uses is let
through. A service that gains a store, or a port, fails here until its arrow is there."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts import deployment_secrets
from scripts.deployed_services import API_PORT, DeployedService, deployed_services
from tests.support.kustomize import K8S, Object, built, named, objects_of, of_kind
from tests.support.network_arrows import NAMESPACE, Arrow, Party, allowed_arrows, half_arrows, matches, pods_of

DNS, KUBERNETES = 53, (443, 6443)
LOCAL_KUBERNETES = (*KUBERNETES, 8443, 16443)
"""With the ports of minikube and MicroK8s, which the deployment guide names."""
INGRESS = Party("ingress", {"app.kubernetes.io/name": "ingress-nginx"}, "ingress-nginx")
PROMETHEUS = Party("cluster's prometheus", {"app.kubernetes.io/name": "prometheus"}, "monitoring")
KEDA = Party("keda", {"app.kubernetes.io/name": "keda-operator"}, "keda")
TOPOLOGY = Party("topology operator", {"app.kubernetes.io/name": "messaging-topology-operator"}, "rabbitmq-system")
COLLECTOR = Party("collector", {"app.kubernetes.io/name": "opentelemetry-collector"}, "observability", (4317, 4318))
OUTSIDERS = (
    INGRESS,
    PROMETHEUS,
    KEDA,
    TOPOLOGY,
    COLLECTOR,
    Party("dns", {"k8s-app": "kube-dns"}, "kube-system", (DNS, *LOCAL_KUBERNETES)),
    Party("kubernetes", namespace=None, serves=LOCAL_KUBERNETES),
    Party("a pod of somebody else's", {"app.kubernetes.io/name": "prometheus"}, "elsewhere", (80, 443, 5671, 27017)),
)
OVERLAYS = ("dev", "prod")


def of_services(services: Mapping[str, DeployedService], broker_port: int) -> set[Arrow]:
    """What the code of the services does."""
    mongodb_port = urlsplit(deployment_secrets.MONGODB_URL).port or 0
    arrows = {(INGRESS.name, "edge", API_PORT)}
    for service in services.values():
        arrows.add((service.label, "rabbitmq", broker_port))
        arrows.add((PROMETHEUS.name, service.label, service.ports["metrics"]))
        if service.store:
            arrows.add((service.label, "mongodb", mongodb_port))
    return arrows


def of_dev(services: Mapping[str, DeployedService]) -> set[Arrow]:
    """With servers of its own, and the Job that sets up MongoDB."""
    return {
        *of_services(services, urlsplit(deployment_secrets.RABBITMQ_URL).port or 0),
        *(("prometheus", one.label, one.ports["metrics"]) for one in services.values()),
        ("grafana", "prometheus", 9090),
        ("mongodb-setup", "mongodb", 27017),
        *(("prometheus", "kubernetes", port) for port in LOCAL_KUBERNETES),
    }


def of_prod(services: Mapping[str, DeployedService]) -> set[Arrow]:
    """With those of the operators."""
    broker_port = urlsplit(deployment_secrets.RABBITMQ_TLS_URL).port or 0
    return {
        *of_services(services, broker_port),
        (KEDA.name, "rabbitmq", broker_port),
        (TOPOLOGY.name, "rabbitmq", 15671),
        (PROMETHEUS.name, "rabbitmq", 15691),
        ("rabbitmq", "rabbitmq", 4369),
        ("rabbitmq", "rabbitmq", 25672),
        ("mongodb", "mongodb", 27017),
        ("backup", "mongodb", 27017),
        *(("mongodb", "kubernetes", port) for port in KUBERNETES),
    }


EXPECTED = {"dev": of_dev, "prod": of_prod}
ASK_KUBERNETES = {"dev": ("prometheus",), "prod": ("mongodb",)}
"""Their rule for that names no address, so that their own end allows its ports everywhere."""


def to_dns(objects: list[Object]) -> set[Arrow]:
    return {(pod.name, "dns", DNS) for pod in pods_of(objects)}


def to_others_of_kubernetes(arrows: set[Arrow]) -> set[Arrow]:
    """A rule for Kubernetes' API names no address, so it reaches whatever answers at its ports outside."""
    outside = {party.name: party.serves for party in OUTSIDERS if party.namespace is not None}
    return {
        (source, name, port)
        for source, target, port in arrows
        if target == "kubernetes"
        for name, ports in outside.items()
        if port in ports
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_arrows_are_those_of_the_code(overlay: str) -> None:
    objects = objects_of(overlay)
    expected = EXPECTED[overlay](deployed_services()) | to_dns(objects)
    expected |= to_others_of_kubernetes(expected)
    allowed = allowed_arrows(objects, OUTSIDERS)
    assert (sorted(allowed - expected), sorted(expected - allowed)) == ([], [])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_end_of_an_arrow_is_wider_than_the_other(overlay: str) -> None:
    """Either end alone would refuse it; the wider one waits for somebody to widen the other, too."""
    objects = objects_of(overlay)
    towards_kubernetes = {
        (source, pod.name, port)
        for source in ASK_KUBERNETES[overlay]
        for pod in pods_of(objects)
        for port in LOCAL_KUBERNETES
    }
    assert half_arrows(objects) - towards_kubernetes == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_service_that_gains_a_store_has_no_arrow_yet(overlay: str) -> None:
    services = deployed_services()
    services["data_agent"] = replace(services["data_agent"], store=True)
    missing = EXPECTED[overlay](services) - allowed_arrows(objects_of(overlay), OUTSIDERS)
    assert missing == {("data-agent", "mongodb", 27017)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_that_no_policy_names_reaches_names_only_and_is_reached_by_nobody(overlay: str) -> None:
    stranger = Party("stranger", {"app.kubernetes.io/name": "stranger"})
    objects = objects_of(overlay)
    pod = {"kind": "Pod", "metadata": {"name": "stranger", "labels": dict(stranger.labels)}, "spec": {}}
    arrows = {one for one in allowed_arrows([*objects, pod], OUTSIDERS) if "stranger" in one[:2]}
    assert arrows == {("stranger", "dns", DNS)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_begins_with_nothing_allowed(overlay: str) -> None:
    policy = named(objects_of(overlay), "NetworkPolicy", "default-deny")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_policy_is_for_a_pod_that_there_is(overlay: str) -> None:
    objects = objects_of(overlay)
    pods, policies = pods_of(objects), of_kind(objects, "NetworkPolicy")
    idle = [
        one["metadata"]["name"]
        for one in policies
        if not any(matches(one["spec"]["podSelector"], pod.labels) for pod in pods)
    ]
    assert idle == []
    assert {one["metadata"]["namespace"] for one in policies} == {NAMESPACE}


def with_component(folder: Path, component: str) -> list[Object]:
    """The prod overlay with one more component."""
    places = {name: os.path.relpath(K8S / name, folder) for name in ("overlays/prod", f"components/{component}")}
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: conclave\n"
        f"resources: [{places['overlays/prod']}]\ncomponents: [{places[f'components/{component}']}]\n"
    )
    return built(folder)


def test_what_is_asked_for_in_addition_is_added_and_no_more(tmp_path: Path) -> None:
    internet = Party("internet", namespace=None, serves=(80, 443))
    outsiders = (*(party for party in OUTSIDERS if party.name != "kubernetes"), internet)
    before = allowed_arrows(objects_of("prod"), outsiders)
    added = {}
    for component in ("jwks_egress", "traces_egress"):
        folder = tmp_path / component
        folder.mkdir()
        added[component] = allowed_arrows(with_component(folder, component), outsiders) - before
    assert added["jwks_egress"] == {("edge", "internet", 443)}
    assert added["traces_egress"] == {(one.label, "collector", 4318) for one in deployed_services().values()}
