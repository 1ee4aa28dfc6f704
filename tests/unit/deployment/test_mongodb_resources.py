"""MongoDB as a custom resource: a replica set that may lose a member, which the services reach and may write to."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from scripts import deployment_secrets
from scripts.deployment.holders import DATABASE_USER
from tests.support.deployment_secrets_made import secrets_for
from tests.support.kustomize import Object, named, objects_of
from tests.support.network_arrows import matches, pods_of


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return objects_of("prod")


@pytest.fixture(scope="module")
def mongodb(objects: list[Object]) -> Object:
    return named(objects, "MongoDBCommunity", "mongodb")


def test_it_may_lose_a_member(objects: list[Object], mongodb: Object) -> None:
    budget = named(objects, "PodDisruptionBudget", "mongodb")["spec"]
    (pod,) = (one for one in pods_of(objects) if one.name == "mongodb")
    assert (mongodb["spec"]["members"], budget["maxUnavailable"]) == (3, 1)
    assert matches(budget["selector"], pod.labels)
    template = mongodb["spec"]["statefulSet"]["spec"]["template"]["spec"]
    terms = template["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in (*terms, *template["topologySpreadConstraints"]):
        assert matches(term["labelSelector"], pod.labels)


def test_the_services_url_is_its_own(mongodb: Object) -> None:
    name, namespace = mongodb["metadata"]["name"], mongodb["metadata"]["namespace"]
    url = urlsplit(deployment_secrets.database_url(namespace))
    options = {key: value for key, (value,) in parse_qs(url.query).items()}
    hosts = [f"{name}-{i}.{name}-svc.{namespace}.svc.cluster.local:27017" for i in range(mongodb["spec"]["members"])]
    assert url.netloc.split(",") == hosts
    assert (options["replicaSet"], options["tls"]) == (name, "true")
    user = next(one for one in mongodb["spec"]["users"] if one["name"] == DATABASE_USER)
    assert user["db"] == options["authSource"]
    assert user["roles"] == [{"name": "readWrite", "db": url.path.removeprefix("/")}]


def test_its_certificate_is_for_the_hosts_of_that_url(mongodb: Object) -> None:
    names = deployment_secrets.tls_hosts(mongodb["metadata"]["namespace"])["mongodb"]
    hosts = [
        host.rpartition(":")[0] for host in urlsplit(deployment_secrets.database_url("conclave")).netloc.split(",")
    ]
    assert [host for host in hosts if f"*.{host.partition('.')[2]}" not in names] == []


def test_what_it_reads_is_in_the_secrets(mongodb: Object, tmp_path: Path) -> None:
    secrets = secrets_for("prod", tmp_path)
    tls = mongodb["spec"]["security"]["tls"]
    assert tls["enabled"] is True
    assert {"tls.crt", "tls.key"} <= set(secrets[tls["certificateKeySecretRef"]["name"]])
    assert "ca.crt" in secrets[tls["caCertificateSecretRef"]["name"]]
    for user in mongodb["spec"]["users"]:
        assert secrets[user["passwordSecretRef"]["name"]][user["passwordSecretRef"]["key"]], user["name"]
    passwords = [secrets[one["passwordSecretRef"]["name"]]["password"] for one in mongodb["spec"]["users"]]
    assert len(set(passwords)) == len(passwords) == 2


def test_nobody_may_do_everything(mongodb: Object) -> None:
    roles = {(user["name"], role["name"]) for user in mongodb["spec"]["users"] for role in user["roles"]}
    assert roles == {
        ("conclave", "readWrite"),
        ("backup", "backup"),
        ("backup", "restore"),
        ("backup", "clusterMonitor"),
    }
    credentials = [user["scramCredentialsSecretName"] for user in mongodb["spec"]["users"]]
    assert len(set(credentials)) == len(credentials)


def test_every_container_is_limited_and_bound_as_the_namespace_wants(mongodb: Object) -> None:
    pod = mongodb["spec"]["statefulSet"]["spec"]["template"]["spec"]
    containers = [*pod["initContainers"], *pod["containers"]]
    assert [one["name"] for one in containers] == [
        "mongod-posthook",
        "mongodb-agent-readinessprobe",
        "mongod",
        "mongodb-agent",
    ]
    for one in containers:
        assert set(one["resources"]) == {"limits", "requests"}, one["name"]
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    volumes = mongodb["spec"]["statefulSet"]["spec"]["volumeClaimTemplates"]
    assert [one["metadata"]["name"] for one in volumes] == ["data-volume", "logs-volume"]
