"""Write what RabbitMQ is to hold as resources of its Messaging Topology Operator, from the code that
``scripts/rabbitmq_users.py`` makes it from.

    python scripts/rabbitmq_resources.py            write k8s/components/rabbitmq_cluster/topology
    python scripts/rabbitmq_resources.py --check    say which files are not what the code gives, and fail

An installation with agent types of its own keeps its own folder, and has its overlay take that one:

    python scripts/rabbitmq_resources.py --agents plugin_agent=weather --folder deploy/topology

Passwords are none of it: each user's come from the Secret ``rabbitmq-user-LABEL``.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from contracts.topology import Exchange
from scripts.rabbitmq_permissions import CLIENTS, Broker, broker_of
from scripts.rabbitmq_users import Failed, add_options_of_broker, agent_services_of
from services.runtime.bus.rabbit_topology import queue_arguments
from services.runtime.security.policy import open_policy
from services.runtime.settings import BadSettings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "k8s" / "components" / "rabbitmq_cluster" / "topology"
CLUSTER, VHOST = "rabbitmq", "/"
_HEADER = "# Made by scripts/rabbitmq_resources.py from the code; a test compares them.\n"
_LONGEST_NAME = 253

Resource = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    try:
        broker = broker_of(agent_services_of(given.agents), given.client or CLIENTS, open_policy(given.policy))
        wanted = files_of(broker)
        stale = differing(given.folder, wanted)
        if not given.check:
            _write(given.folder, wanted)
    except (Failed, BadSettings, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in stale if given.check else ():
        print(f"{path} is not what the code gives: run python scripts/rabbitmq_resources.py", file=sys.stderr)
    return 1 if given.check and stale else 0


def files_of(broker: Broker) -> dict[str, str]:
    """File name -> content: a file for each kind of resource, and the kustomization that names them.

    Raises:
        ValueError: two resources of a kind would have the same name.
    """
    kinds = {
        "users.yaml": users(broker),
        "permissions.yaml": permissions(broker),
        "topic_permissions.yaml": topic_permissions(broker),
        "exchanges.yaml": exchanges(),
        "queues.yaml": queues(broker),
        "bindings.yaml": bindings(broker),
        "policies.yaml": policies(broker),
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(kinds),
    }
    files = {name: _file(_unique(resources)) for name, resources in kinds.items()}
    return {**files, "kustomization.yaml": _file([kustomization])}


def differing(folder: Path, wanted: Mapping[str, str]) -> list[Path]:
    """The files that are missing, have another content, or should not be there."""
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    return [folder / name for name in sorted({*wanted, *there}) if wanted.get(name) != there.get(name)]


def resource_name(text: str) -> str:
    """What Kubernetes can call it: of lower case letters, digits and ``-``."""
    words = text.lower().replace("#", "all").replace("*", "any")
    name = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
    if not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"{text!r} gives no name of 1 to {_LONGEST_NAME} letters, digits and '-'")
    return name


# ---- the resources of each kind


def users(broker: Broker) -> Iterator[Resource]:
    for user in broker.users:
        name = resource_name(user)
        yield _resource("User", name, {"importCredentialsSecret": {"name": f"rabbitmq-user-{name}"}})


def permissions(broker: Broker) -> Iterator[Resource]:
    for user, one in broker.users.items():
        name = resource_name(user)
        spec = {
            "vhost": VHOST,
            "userReference": {"name": name},
            "permissions": {"configure": one.configure, "write": one.write, "read": one.read},
        }
        yield _resource("Permission", name, spec)


def topic_permissions(broker: Broker) -> Iterator[Resource]:
    for user, one in broker.users.items():
        for exchange, topic in one.topics.items():
            spec = {
                "vhost": VHOST,
                "userReference": {"name": resource_name(user)},
                "permissions": {"exchange": exchange.value, "write": topic.write, "read": topic.read},
            }
            yield _resource("TopicPermission", resource_name(f"{user}.{exchange.value}"), spec)


def exchanges() -> Iterator[Resource]:
    for exchange in Exchange:
        spec = {"name": exchange.value, "vhost": VHOST, "type": "topic", "durable": True, "autoDelete": False}
        yield _resource("Exchange", resource_name(exchange.value), spec)


def queues(broker: Broker) -> Iterator[Resource]:
    for queue in broker.queues:
        arguments = queue_arguments(queue)
        spec = {
            "name": queue.name,
            "vhost": VHOST,
            "type": arguments.pop("x-queue-type"),
            "durable": True,
            "autoDelete": False,
            "arguments": arguments,
            # With the resource, the operator would delete the queue and every message in it.
            "deletionPolicy": "retain",
        }
        yield _resource("Queue", resource_name(queue.name), spec)


def bindings(broker: Broker) -> Iterator[Resource]:
    for queue in broker.queues:
        for binding in queue.bindings:
            spec = {
                "source": binding.exchange.value,
                "vhost": VHOST,
                "destination": queue.name,
                "destinationType": "queue",
                "routingKey": binding.key,
            }
            yield _resource("Binding", resource_name(f"{queue.name}.{binding.exchange.name}.{binding.key}"), spec)


def policies(broker: Broker) -> Iterator[Resource]:
    for policy in broker.policies:
        spec = {
            "name": policy.name,
            "vhost": VHOST,
            "pattern": policy.pattern,
            "applyTo": "queues",
            "priority": 0,
            "definition": dict(policy.definition),
        }
        yield _resource("Policy", resource_name(policy.name), spec)


# ---- within


def _resource(kind: str, name: str, spec: Mapping[str, Any]) -> Resource:
    return {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {**spec, "rabbitmqClusterReference": {"name": CLUSTER}},
    }


def _unique(resources: Iterable[Resource]) -> list[Resource]:
    found: dict[str, Resource] = {}
    for resource in resources:
        name = resource["metadata"]["name"]
        if name in found:
            raise ValueError(f"{resource['kind']} {name}: two would have that name")
        found[name] = resource
    return list(found.values())


def _file(documents: Sequence[Resource]) -> str:
    return _HEADER + yaml.safe_dump_all(documents, sort_keys=False, width=1_000, allow_unicode=True)


def _write(folder: Path, wanted: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in differing(folder, wanted):
        if path.name in wanted:
            path.write_text(wanted[path.name], encoding="utf-8")
        else:
            path.unlink()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rabbitmq_resources.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    add("--folder", type=Path, default=FOLDER, help="where they are written; other YAML files there are removed")
    add_options_of_broker(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
