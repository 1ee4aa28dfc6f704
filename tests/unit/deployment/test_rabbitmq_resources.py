"""RabbitMQ as custom resources: what they hold is what the code gives, and the cluster is one that may lose a node."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from contracts import topology
from contracts.topology import Address, Exchange
from contracts.workflow import StepDefinition
from scripts import deployment_secrets, rabbitmq_resources
from scripts.rabbitmq_permissions import AGENT_SERVICES, broker_of
from scripts.rabbitmq_users import definitions_of
from tests.support.deployment_secrets_made import Secrets, secrets_for
from tests.support.kustomize import ROOT, Object, named, objects_of, of_kind, pod_template
from tests.support.network_arrows import matches, pods_of

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return objects_of("prod")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    return secrets_for("prod", tmp_path_factory.mktemp("secrets"))


def topology_of(objects: list[Object], *kinds: str) -> list[Object]:
    return [one for one in of_kind(objects, *kinds) if one["apiVersion"] == "rabbitmq.com/v1beta1"]


def ordered(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(json.dumps(entry, sort_keys=True) for entry in entries)


def read_back(objects: list[Object], secrets: Secrets) -> dict[str, list[dict[str, Any]]]:
    """RabbitMQ's definitions, from the resources that an overlay builds. A user's name is what its Secret says."""

    def specs(kind: str) -> list[dict[str, Any]]:
        return [one["spec"] for one in topology_of(objects, kind)]

    users = {
        one["metadata"]["name"]: secrets[one["spec"]["importCredentialsSecret"]["name"]]["username"]
        for one in topology_of(objects, "User")
    }
    permissions, topics = (
        [
            {"user": users[spec["userReference"]["name"]], "vhost": spec["vhost"], **spec["permissions"]}
            for spec in specs(kind)
        ]
        for kind in ("Permission", "TopicPermission")
    )
    lasting = ("name", "vhost", "durable")
    return {
        "users": [{"name": name} for name in users.values()],
        "permissions": permissions,
        "topic_permissions": topics,
        "exchanges": [
            {**{key: spec[key] for key in (*lasting, "type")}, "auto_delete": spec["autoDelete"]}
            for spec in specs("Exchange")
        ],
        "queues": [
            {
                **{key: spec[key] for key in lasting},
                "auto_delete": spec["autoDelete"],
                "arguments": {"x-queue-type": spec["type"], **spec["arguments"]},
            }
            for spec in specs("Queue")
        ],
        "bindings": [
            {
                "source": spec["source"],
                "vhost": spec["vhost"],
                "destination": spec["destination"],
                "destination_type": spec["destinationType"],
                "routing_key": spec["routingKey"],
            }
            for spec in specs("Binding")
        ],
        "policies": [
            {
                **{key: spec[key] for key in ("name", "vhost", "pattern", "priority", "definition")},
                "apply-to": spec["applyTo"],
            }
            for spec in specs("Policy")
        ],
    }


def test_the_files_are_what_the_code_gives() -> None:
    wanted = rabbitmq_resources.files_of(broker_of())
    assert rabbitmq_resources.differing(rabbitmq_resources.FOLDER, wanted) == []


def test_the_cluster_is_to_hold_what_the_definitions_hold(objects: list[Object], secrets: Secrets) -> None:
    """Two ways from the same code, compared where they end."""
    broker, found = broker_of(), read_back(objects, secrets)
    definitions = definitions_of(broker, dict.fromkeys(broker.users, "secret"), "/")
    assert set(found) == set(definitions) - {"vhosts"}
    for kind, entries in found.items():
        wanted = [{key: one[key] for key in entries[0]} for one in definitions[kind]]
        assert ordered(entries) == ordered(wanted), kind


def test_a_name_that_changes_in_the_code_makes_the_files_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "agent_mail", lambda agent_id: Address(Exchange.AGENTS, f"letters.{agent_id}"))
    stale = rabbitmq_resources.differing(rabbitmq_resources.FOLDER, rabbitmq_resources.files_of(broker_of()))
    assert [path.name for path in stale] == ["bindings.yaml", "topic_permissions.yaml"]


def test_a_users_login_is_in_a_secret_of_its_own(objects: list[Object], secrets: Secrets) -> None:
    named_ones = [one["spec"]["importCredentialsSecret"]["name"] for one in topology_of(objects, "User")]
    assert len(set(named_ones)) == len(named_ones) == len(broker_of().users)
    assert {frozenset(secrets[name]) for name in named_ones} == {frozenset({"username", "password"})}


def test_names_are_what_kubernetes_takes_and_all_speak_of_the_one_cluster(objects: list[Object]) -> None:
    (cluster,) = of_kind(objects, "RabbitmqCluster")
    kinds = ("User", "Permission", "TopicPermission", "Exchange", "Queue", "Binding", "Policy")
    resources = topology_of(objects, *kinds)
    assert {one["kind"] for one in resources} == set(kinds)
    assert [name for one in resources if not DNS_LABEL.fullmatch(name := one["metadata"]["name"])] == []
    assert {json.dumps(one["spec"]["rabbitmqClusterReference"]) for one in resources} == {
        json.dumps({"name": cluster["metadata"]["name"]})
    }


def test_a_queue_outlives_its_resource(objects: list[Object]) -> None:
    """The operator deletes what a resource stood for, unless it is told otherwise."""
    assert {one["spec"]["deletionPolicy"] for one in topology_of(objects, "Queue")} == {"retain"}


def test_two_that_kubernetes_would_call_the_same_are_refused() -> None:
    broker = broker_of({**AGENT_SERVICES, "plugin_agent": ("two_words", "two-words")})
    with pytest.raises(ValueError, match="Queue two-words: two would have that name"):
        rabbitmq_resources.files_of(broker)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "rabbitmq_resources.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def test_an_installation_keeps_a_folder_of_its_own(tmp_path: Path) -> None:
    given = ("--agents", "plugin_agent=weather", "--client", "shop", "--folder", str(tmp_path))
    (tmp_path / "left.yaml").write_text("{}\n")
    before = run(*given, "--check")
    assert before.returncode == 1
    assert "left.yaml is not what the code gives" in before.stderr
    assert run(*given).returncode == 0
    assert run(*given, "--check").returncode == 0
    made = (tmp_path / "queues.yaml").read_text(encoding="utf-8") + (tmp_path / "users.yaml").read_text(
        encoding="utf-8"
    )
    assert ("name: weather.quarantine" in made, "rabbitmq-user-shop" in made) == (True, True)
    assert not (tmp_path / "left.yaml").exists()
    refused = run("--agents", "plugin agent=x", "--folder", str(tmp_path))
    assert (refused.returncode, "expected SERVICE=TYPE" in refused.stderr) == (1, True)


# ---- the cluster


def configuration(cluster: Object) -> dict[str, str]:
    lines = [line.strip() for line in cluster["spec"]["rabbitmq"]["additionalConfig"].splitlines()]
    entries = [line.partition("=") for line in lines if line and not line.startswith("#")]
    settings = {key.strip(): value.strip() for key, _, value in entries}
    assert len(settings) == len(entries)
    return settings


def test_it_may_lose_a_node(objects: list[Object]) -> None:
    cluster = named(objects, "RabbitmqCluster", "rabbitmq")["spec"]
    budget = named(objects, "PodDisruptionBudget", "rabbitmq")["spec"]
    (pod,) = (one for one in pods_of(objects) if one.name == "rabbitmq")
    settings = configuration({"spec": cluster})
    assert (cluster["replicas"], budget["maxUnavailable"]) == (3, 1)
    assert matches(budget["selector"], pod.labels)
    assert settings["cluster_partition_handling"] == "pause_minority"
    assert settings["quorum_queue.continuous_membership_reconciliation.target_group_size"] == "3"
    spread = cluster["override"]["statefulSet"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    terms = cluster["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in (*spread, *terms):
        assert matches(term["labelSelector"], pod.labels)
    assert [term["topologyKey"] for term in terms] == ["kubernetes.io/hostname"]


def test_a_step_may_take_as_long_as_a_definition_may_say(objects: list[Object]) -> None:
    """Its message is not acked until it has ended, and RabbitMQ takes back what is not acked in time."""
    (longest,) = (one.le for one in StepDefinition.model_fields["timeout"].metadata if hasattr(one, "le"))
    settings = configuration(named(objects, "RabbitmqCluster", "rabbitmq"))
    assert int(settings["consumer_timeout"]) > longest * 1_000


def test_it_speaks_tls_only_under_the_names_that_its_certificate_has(objects: list[Object], secrets: Secrets) -> None:
    cluster = named(objects, "RabbitmqCluster", "rabbitmq")
    tls = cluster["spec"]["tls"]
    assert tls["disableNonTLSListeners"] is True
    assert {"tls.crt", "tls.key"} <= set(secrets[tls["secretName"]])
    names = deployment_secrets.tls_hosts("conclave")["rabbitmq"]
    service = cluster["metadata"]["name"]
    assert {service, f"{service}.conclave.svc", f"*.{service}-nodes.conclave.svc.cluster.local"} <= set(names)
    assert urlsplit(deployment_secrets.RABBITMQ_TLS_URL).hostname == service


def test_it_is_the_version_that_the_dev_overlay_runs(objects: list[Object]) -> None:
    image = named(objects, "RabbitmqCluster", "rabbitmq")["spec"]["image"]
    pods = [template for one in objects_of("dev") if (template := pod_template(one)) is not None]
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert image in images
    assert re.fullmatch(r"rabbitmq:\d+\.\d+\.\d+-management", image)
