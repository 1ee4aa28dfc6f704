"""Who gets which rights: held together with the services' own tables, the topology and the table of senders."""

import base64
import hashlib
import importlib
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from contracts import topology
from contracts.catalog import MESSAGES
from contracts.topology import Address, Exchange, Queue, QueueKind
from scripts import rabbitmq_users
from scripts.rabbitmq_permissions import AGENT_SERVICES, SERVICES, addresses_of, broker_of, host_needs, service_needs
from services.__main__ import service_names
from services.runtime.bus.base import Bus
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit_permissions import HEX, NOTHING, REST, WORD
from services.runtime.process import Application
from services.runtime.security.policy import AgentPolicy, Grants
from services.runtime.security.senders import SENDERS
from services.runtime.settings import Settings
from tests.support.memory_store import MemoryStore

ROOT = Path(__file__).resolve().parents[3]


class WatchedBus(DirectBus):
    """Notes which queues a service takes from and declares."""

    def __init__(self) -> None:
        super().__init__(DirectBroker())
        self.taken: list[Queue] = []

    def subscribe(self, queue: Queue, *arguments: Any, **options: Any) -> Any:
        self.taken.append(queue)
        return super().subscribe(queue, *arguments, **options)


def queues_of(name: str) -> list[Queue]:
    """What a service subscribes to when it is built."""
    bus = WatchedBus()
    application = cast(Application, importlib.import_module(f"services.{name}.app"))
    build: Callable[..., Any] = application.build
    settings = Settings(database_url="mongodb://localhost/x", rabbitmq_url="amqp://localhost/")
    build(settings, cast(Bus, bus), *(() if name in AGENT_SERVICES else (MemoryStore(),)))
    return bus.taken


def may(expression: str, text: str) -> bool:
    return re.search(expression, text) is not None


def test_every_service_has_a_user_and_nobody_else_but_a_client_and_the_scaler() -> None:
    assert set(broker_of().users) == {*service_names(), "client", "scaler"}


def test_the_scaler_may_nothing() -> None:
    """RabbitMQ asks for no permission where a queue is only looked up, which is all that it does."""
    scaler = broker_of().users["scaler"]
    said = [scaler.configure, scaler.write, scaler.read]
    said += [expression for topic in scaler.topics.values() for expression in (topic.write, topic.read)]
    assert (set(said), set(scaler.topics)) == ({NOTHING}, set(Exchange))


def test_no_queue_has_two_policies_and_those_that_may_grow_without_end_have_one() -> None:
    """RabbitMQ applies one policy to a queue, and would choose between two by itself."""
    broadcasts = [queue for name in SERVICES for queue in service_needs(name).owns if queue.kind is QueueKind.BROADCAST]
    names = [queue.name for queue in broker_of().queues]
    names += [queue.name.replace(HEX, "0af9") for queue in broadcasts] + ["client.shop", "client.shop.events"]
    found = {name: [one.name for one in broker_of().policies if may(one.pattern, name)] for name in names}
    bounded = {name: policies for name, policies in found.items() if policies}
    assert bounded == {
        "edge.0af9.events": ["feeds"],
        "monitor.0af9.events": ["feeds"],
        "client.shop": ["clients"],
        "client.shop.events": ["clients"],
        "orchestrator.starts": ["starts"],
    }


@pytest.mark.parametrize("name", service_names())
def test_a_service_may_take_from_its_queues_and_makes_only_those_that_go_with_it(name: str) -> None:
    """What its table says, not what the script believes."""
    user, lasting = broker_of().users[name], {queue.name: queue for queue in broker_of().queues}
    taken = queues_of(name)
    for queue in taken:
        assert may(user.read, queue.name), queue.name
        if queue.kind is QueueKind.BROADCAST:
            assert may(user.configure, queue.name), queue.name
            assert may(user.write, queue.name), queue.name
            for binding in queue.bindings:
                assert may(user.read, binding.exchange.value)
                assert may(user.topics[binding.exchange].read, binding.key), binding
        else:
            assert lasting[queue.name] == queue  # made beforehand, exactly as the service would
            assert not may(user.configure, queue.name)
    of_others = lasting.keys() - {queue.name for queue in taken}
    assert [other for other in of_others if may(user.read, other)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_publish_what_it_sends_and_nothing_that_only_others_do(name: str) -> None:
    user = broker_of().users[name]
    own = {(one.exchange, one.key) for one in service_needs(name).publishes}
    for message_class, senders in SENDERS.items():
        for address in addresses_of(message_class):
            allowed = may(user.write, address.exchange.value) and _may_publish(user.topics[address.exchange], address)
            if name in senders:
                assert allowed, message_class
            elif name != "dead_letters":  # which publishes again what anyone sent
                assert not allowed or (address.exchange, address.key) in own, message_class


def _may_publish(topic: Any, address: Address) -> bool:
    return may(topic.write, address.key.replace(WORD, "x").replace(HEX, "0").replace(REST, "x.y"))


def test_every_message_has_somewhere_to_go() -> None:
    assert {message_class for message_class in MESSAGES.values() if not addresses_of(message_class)} == set()


def test_an_agent_starts_and_messages_only_as_the_policy_grants() -> None:
    policy = AgentPolicy(agents={"one": Grants(start_workflows=True), "two": Grants(message=("*",))})
    keys = {
        name: {address.key for address in host_needs("mine", [name], policy).publishes}
        for name in ("one", "two", "three")
    }
    granted = {"execution.start", "execution.start_now", "execution.cancel", "agent.find", "agent.broadcast"}
    assert keys["one"] & granted == {"execution.start", "execution.start_now", "execution.cancel"}
    assert keys["two"] & granted == {"agent.find", "agent.broadcast"}
    assert keys["three"] & granted == set()
    assert all("host.announced" in found for found in keys.values())


def test_a_changed_topology_changes_the_permissions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "agent_mail", lambda agent_id: Address(Exchange.AGENTS, f"letters.{agent_id}"))
    write = broker_of().users["edge"].topics[Exchange.AGENTS].write
    assert (may(write, "letters.clerk"), may(write, "mail.clerk")) == (True, False)


def test_nobody_may_touch_the_default_exchange() -> None:
    for name, user in broker_of().users.items():
        for expression in (user.configure, user.write, user.read):
            assert not may(expression, "amq.default"), name  # what RabbitMQ calls it where it checks permissions


def test_names_are_used_once() -> None:
    with pytest.raises(ValueError, match="'edge' is the name of two users"):
        broker_of(clients=("edge",))
    with pytest.raises(ValueError, match="'data_agent' is the name of two users"):
        broker_of(clients=("data_agent",))


# ---- what is handed to RabbitMQ


def test_definitions_are_complete_and_the_same_each_time() -> None:
    broker = broker_of({**AGENT_SERVICES, "plugin_agent": ("weather",)}, ("client", "shop"))
    passwords = dict.fromkeys(broker.users, "secret")
    made = rabbitmq_users.definitions_of(broker, passwords, "/prod")
    assert made == rabbitmq_users.definitions_of(broker, passwords, "/prod")
    assert {user["name"] for user in made["users"]} == set(broker.users)
    assert len(made["permissions"]) == len(broker.users) == 14
    assert len(made["topic_permissions"]) == len(broker.users) * len(Exchange)
    assert {one["name"] for one in made["exchanges"]} == {exchange.value for exchange in Exchange}
    names = {one["name"] for one in made["queues"]}
    assert {"weather", "weather.quarantine", "data_agent", "registry", "auditor", "access", "monitor"} <= names
    assert {one["destination"] for one in made["bindings"]} == names
    assert [one["name"] for one in made["policies"]] == ["feeds", "clients", "starts"]
    parts = ("permissions", "queues", "bindings", "policies")
    assert {one["vhost"] for part in parts for one in made[part]} == {"/prod"}
    assert "secret" not in json.dumps(made)


def test_a_password_is_hashed_as_rabbitmq_does() -> None:
    """By the recipe of RabbitMQ's manual (Access Control, Credentials and Passwords)."""
    hashed = base64.b64decode(rabbitmq_users.password_hash("edge", "secret"))
    salt, digest = hashed[:4], hashed[4:]
    assert digest == hashlib.sha256(salt + b"secret").digest()
    assert rabbitmq_users.password_hash("edge", "other") != rabbitmq_users.password_hash("edge", "secret")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "rabbitmq_users.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_passwords_are_made_once_kept_from_others_and_never_shown(tmp_path: Path) -> None:
    folder, file = tmp_path / "passwords", tmp_path / "definitions.json"
    given = ("--passwords", str(folder), "--definitions", str(file), "--url", "amqps://broker:5671/prod")
    first = run(*given)
    assert first.returncode == 0, first.stderr
    passwords = {path.stem: path.read_text() for path in folder.glob("*.password")}
    assert set(passwords) == set(broker_of().users)
    assert all(len(password) >= 43 for password in passwords.values())
    assert len(set(passwords.values())) == len(passwords)
    for path in (*folder.iterdir(), file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert (folder / "edge.url").read_text() == f"amqps://edge:{passwords['edge']}@broker:5671/prod"
    before = file.read_text()
    again = run(*given)
    assert file.read_text() == before
    said = first.stdout + first.stderr + again.stdout + again.stderr + before
    assert [name for name, password in passwords.items() if password in said] == []

    assert run(*given, "--renew", "edge").returncode == 0
    renewed = {path.stem: path.read_text() for path in folder.glob("*.password")}
    assert {name for name in passwords if passwords[name] != renewed[name]} == {"edge"}


def test_what_is_wrong_is_said_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "passwords"
    folder.mkdir()
    given = ("--passwords", str(folder), "--definitions", str(tmp_path / "d.json"))
    open_to_all = folder / "edge.password"
    open_to_all.write_text("secret")
    open_to_all.chmod(0o644)
    told = {
        run(*given).stderr: "edge.password can be read by others",
        run(*given, "--agents", "plugin agent=x").stderr: "expected SERVICE=TYPE",
        run(*given, "--client", "edge").stderr: "'edge' is the name of two users",
        run(*given, "--renew", "nobody").stderr: "--renew nobody: no such user",
        run(*given, "--policy", str(tmp_path / "none.toml")).stderr: "none.toml",
    }
    assert [said for said, words in told.items() if words not in said] == []
    open_to_all.chmod(0o600)
    assert "--url: expected amqps://" in run(*given, "--url", "amqps://u:p@broker/").stderr
    missing = run("--passwords", str(folder), "--rabbitmqctl", "no-such-command")
    assert (missing.returncode, "no-such-command import_definitions" in missing.stderr) == (1, True)
    assert "secret" not in missing.stderr


def test_the_document_shows_who_may_do_what() -> None:
    """docs/transport.md has the table as ``--show`` prints it."""
    text = (ROOT / "docs" / "transport.md").read_text(encoding="utf-8")
    assert rabbitmq_users.table_of(broker_of()) in text
