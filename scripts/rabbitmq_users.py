"""Give RabbitMQ one user for each service, with no more rights than it needs, and everything that lasts: exchanges,
queues, bindings and policies. To be run before the services, and again after each upgrade; it changes only what is
different.

    python scripts/rabbitmq_users.py --passwords FOLDER
    python scripts/rabbitmq_users.py --passwords FOLDER --rabbitmqctl "docker exec -i rabbitmq rabbitmqctl"
    python scripts/rabbitmq_users.py --passwords FOLDER --definitions FILE
    python scripts/rabbitmq_users.py --show

FOLDER gets a file USER.password for each user that has none there yet (only its owner can read it), and with --url
a USER.url beside it, for RABBITMQ_URL_FILE. Passwords are never shown, and go to RabbitMQ as salted hashes only.

--definitions writes a file that RabbitMQ imports when it boots (``load_definitions = FILE``) instead of calling
rabbitmqctl. RabbitMQ then has no user guest; otherwise delete it (``rabbitmqctl delete_user guest``).

Services that host plugins' agent types, or are your own, are named with their types:

    --agents plugin_agent=weather,billing --agents my_service=my_type --policy agents.toml
"""

import argparse
import base64
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from contracts.topology import Exchange, Queue
from scripts.rabbitmq_permissions import AGENT_SERVICES, CLIENTS, Broker, broker_of
from scripts.secret_files import UnsafeSecret, kept_secret, new_password, write_secret
from services.runtime.bus.rabbit_permissions import NOTHING
from services.runtime.bus.rabbit_topology import queue_arguments
from services.runtime.security.policy import open_policy
from services.runtime.settings import BadSettings

_LONGEST_CALL = 120.0  # seconds


class Failed(Exception):
    """It could not be done; the message says what and why."""


# ---- what RabbitMQ imports


def definitions_of(broker: Broker, passwords: Mapping[str, str], vhost: str) -> dict[str, Any]:
    """RabbitMQ's definitions: the same for the same input."""
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(name, passwords[name]) for name in broker.users],
        "permissions": [
            {"user": name, "vhost": vhost, "configure": one.configure, "write": one.write, "read": one.read}
            for name, one in broker.users.items()
        ],
        "topic_permissions": [
            {"user": name, "vhost": vhost, "exchange": exchange.value, "write": topic.write, "read": topic.read}
            for name, one in broker.users.items()
            for exchange, topic in one.topics.items()
        ],
        "exchanges": [
            {
                "name": exchange.value,
                "vhost": vhost,
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in Exchange
        ],
        "queues": [_queue(queue, vhost) for queue in broker.queues],
        "bindings": [
            {
                "source": binding.exchange.value,
                "vhost": vhost,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for queue in broker.queues
            for binding in queue.bindings
        ],
        "policies": [
            {
                "name": policy.name,
                "vhost": vhost,
                "pattern": policy.pattern,
                "apply-to": "queues",
                "priority": 0,
                "definition": dict(policy.definition),
            }
            for policy in broker.policies
        ],
    }


def password_hash(name: str, password: str) -> str:
    """As RabbitMQ keeps it. The salt follows from name and password, so that nothing changes when it is made again;
    a password of 256 random bits needs none."""
    salt = hashlib.sha256(f"{name}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(name: str, password: str) -> dict[str, Any]:
    hashed = password_hash(name, password)
    return {"name": name, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}


def _queue(queue: Queue, vhost: str) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": queue_arguments(queue),
    }


# ---- passwords


def passwords_in(folder: Path, names: Sequence[str], renewed: Sequence[str] = ()) -> dict[str, str]:
    """Each user's password, from its file; one that has none, or is to be renewed, gets a new one.

    Raises:
        Failed: a file cannot be read or written, is empty, or others can read it.
    """
    try:
        return {name: kept_secret(folder / f"{name}.password", new_password, renew=name in renewed) for name in names}
    except UnsafeSecret as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"passwords in {folder}: {error}") from error


def write_urls(folder: Path, url: str, passwords: Mapping[str, str]) -> None:
    """``USER.url`` for each: what its service's RABBITMQ_URL is."""
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or "@" in parts.netloc:
        raise Failed("--url: expected amqps://host[:port]/vhost, without user and password")
    for name, password in passwords.items():
        login = f"{quote(name, safe='')}:{quote(password, safe='')}"
        write_secret(folder / f"{name}.url", parts._replace(netloc=f"{login}@{parts.netloc}").geturl())


# ---- RabbitMQ


def import_with(rabbitmqctl: Sequence[str], definitions: Mapping[str, Any]) -> None:
    """Hand them to ``rabbitmqctl import_definitions`` on its standard input, so that it may run in a container.

    Raises:
        Failed: it cannot be run, or refuses.
    """
    command = [*rabbitmqctl, "import_definitions"]
    try:
        done = subprocess.run(
            command, input=json.dumps(definitions), capture_output=True, text=True, timeout=_LONGEST_CALL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{shlex.join(command)}: {error}") from error
    if done.returncode != 0:
        raise Failed(f"{shlex.join(command)} failed with code {done.returncode}:\n{done.stdout}{done.stderr}")


# ---- the table


def table_of(broker: Broker) -> str:
    """Who may do what, and what bounds which queues, in Markdown."""
    lines = ["| user | configure | write | read |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {_cell(one.configure)} | {_cell(one.write)} | {_cell(one.read)} |"
        for name, one in broker.users.items()
    ]
    lines += ["", "| user | exchange | publishes with | binds with |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {exchange.value} | {_cell(topic.write)} | {_cell(topic.read)} |"
        for name, one in broker.users.items()
        for exchange, topic in one.topics.items()
        if (topic.write, topic.read) != (NOTHING, NOTHING)
    ]
    lines += ["", "| policy | queues | definition | why |", "|---|---|---|---|"]
    lines += [
        f"| {policy.name} | {_cell(policy.pattern)} | {_settings(policy.definition)} | {policy.why} |"
        for policy in broker.policies
    ]
    return "\n".join(lines)


def _cell(pattern: str) -> str:
    if pattern == NOTHING:
        return "nothing"
    return " ".join(f"`{part}`" for part in pattern.removeprefix("^(").removesuffix(")$").split("|"))


def _settings(definition: Mapping[str, int | str]) -> str:
    return ", ".join(f"`{name}: {value}`" for name, value in definition.items())


def main(arguments: Sequence[str]) -> int:
    given = _parsed(arguments)
    try:
        broker = broker_of(agent_services_of(given.agents), given.client or CLIENTS, open_policy(given.policy))
        if given.show:
            print(table_of(broker))
            return 0
        _make(broker, given)
    except (Failed, BadSettings, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _make(broker: Broker, given: argparse.Namespace) -> None:
    renewed = renewed_of(broker, given.renew)
    passwords = passwords_in(given.passwords, list(broker.users), renewed)
    if given.url:
        write_urls(given.passwords, given.url, passwords)
    definitions = definitions_of(broker, passwords, given.vhost)
    if given.definitions:
        write_secret(given.definitions, json.dumps(definitions, indent=1) + "\n")
        where = f"written to {given.definitions}"
    else:
        import_with(shlex.split(given.rabbitmqctl), definitions)
        where = "made in RabbitMQ"
    made = f"{len(broker.users)} users, {len(Exchange)} exchanges, {len(broker.queues)} queues"
    print(f"{made} and {len(broker.policies)} policies {where}")


def agent_services_of(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    services = dict(AGENT_SERVICES)
    for one in given:
        name, equals, types = one.partition("=")
        words = (name, *types.split(","))
        if not equals or not all(word.replace("-", "_").isidentifier() for word in words):
            raise Failed(f"--agents {one}: expected SERVICE=TYPE[,TYPE], of letters, digits, _ and -")
        services[name] = (*services.get(name, ()), *types.split(","))
    return services


def add_options_of_broker(parser: argparse.ArgumentParser) -> None:
    """Those that say for whom ``broker_of`` makes users: ``agents``, ``client`` and ``policy``."""
    add = parser.add_argument
    add("--agents", action="append", default=[], metavar="SERVICE=TYPE,...", help="a service and its agent types")
    add("--client", action="append", metavar="NAME", help="a program that publishes itself (client)")
    add("--policy", type=Path, metavar="FILE", help="the agent policy, as AGENT_POLICY")


def renewed_of(broker: Broker, asked: Sequence[str]) -> list[str]:
    """The users that get a new password.

    Raises:
        Failed: one is asked for that there is not.
    """
    renewed = list(broker.users) if "all" in asked else list(asked)
    if unknown := sorted(set(renewed) - broker.users.keys()):
        raise Failed(f"--renew {unknown[0]}: no such user; there are {', '.join(broker.users)}")
    return renewed


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rabbitmq_users.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--passwords", type=Path, metavar="FOLDER", help="folder of the users' passwords")
    add("--rabbitmqctl", default="rabbitmqctl", metavar="COMMAND", help="how rabbitmqctl is called")
    add("--definitions", type=Path, metavar="FILE", help="write definitions to this file instead of calling it")
    add("--vhost", default="/", help="the virtual host (/)")
    add("--url", metavar="URL", help="amqps://host:port/vhost: write each user's URL beside its password")
    add_options_of_broker(parser)
    add("--renew", action="append", default=[], metavar="USER", help="give a user, or all, a new password")
    add("--show", action="store_true", help="only print who may do what, and the policies")
    given = parser.parse_args(arguments)
    if not given.show and given.passwords is None:
        parser.error("--passwords FOLDER is needed")
    return given


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
