"""Each service's RabbitMQ user tries what it must not, with a plain client, and the broker refuses it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
from aiormq.exceptions import ChannelAccessRefused
from yarl import URL

from contracts import topology
from contracts.topology import Address, Exchange, Queue
from scripts.rabbitmq_permissions import broker_of
from services.runtime.bus.rabbit_topology import queue_arguments
from tests.integration.transport.conftest import Users
from tests.support.buses import PATIENCE

pytestmark = pytest.mark.rabbitmq

Attempt = Callable[[aiormq.abc.AbstractChannel], Awaitable[Any]]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[aiormq.abc.AbstractConnection]:
    connection = await aiormq.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def refused(url: str, attempt: Attempt) -> bool:
    """Whether the broker refuses it for want of permission. Anything else that goes wrong comes out."""
    async with connected(url) as connection:
        channel = await connection.channel()
        try:
            await attempt(channel)
        except ChannelAccessRefused:
            return True
        return False


def publish(address: Address) -> Attempt:
    return lambda channel: channel.basic_publish(b"{}", exchange=address.exchange.value, routing_key=address.key)


def publish_to_queue(name: str) -> Attempt:
    """Through the broker's default exchange, which leads to every queue."""
    return lambda channel: channel.basic_publish(b"{}", exchange="", routing_key=name)


def consume(name: str) -> Attempt:
    async def nothing(_: Any) -> None: ...

    return lambda channel: channel.basic_consume(name, nothing)


def get(name: str) -> Attempt:
    return lambda channel: channel.basic_get(name)


def purge(name: str) -> Attempt:
    return lambda channel: channel.queue_purge(name)


def delete(name: str) -> Attempt:
    return lambda channel: channel.queue_delete(name)


def declare(queue: Queue) -> Attempt:
    return lambda channel: channel.queue_declare(queue.name, durable=True, arguments=queue_arguments(queue))


def look_up(name: str) -> Attempt:
    """How many messages wait there."""
    return lambda channel: channel.queue_declare(name, passive=True)


def declare_exchange(name: str) -> Attempt:
    return lambda channel: channel.exchange_declare(name, exchange_type="topic", durable=True)


def delete_exchange(name: str) -> Attempt:
    return lambda channel: channel.exchange_delete(name)


def bind(name: str, address: Address) -> Attempt:
    """A queue that is there."""
    return lambda channel: channel.queue_bind(name, address.exchange.value, address.key)


def listen(name: str, address: Address) -> Attempt:
    """With a queue of its own, under a name that it may use."""

    async def attempt(channel: aiormq.abc.AbstractChannel) -> None:
        await channel.queue_declare(name, exclusive=True)
        await channel.queue_bind(name, address.exchange.value, address.key)

    return attempt


EVENT, COMMAND = topology.event, topology.command
DATA_HOST, DATA_REPLY = "host.data_agent-0a1b2c3d", "reply.data_agent-0a1b2c3d.ffff"
RUN = topology.agent_work("decision_agent", None, "make_decision")

ATTACKS: dict[str, tuple[str, Attempt]] = {
    # an agent service that was taken over
    "an agent starts an execution": ("data_agent", publish(COMMAND("execution.start"))),
    "an agent starts one at once": ("data_agent", publish(topology.start_now())),
    "an agent cancels": ("data_agent", publish(COMMAND("execution.cancel"))),
    "an agent stores a workflow": ("data_agent", publish(COMMAND("workflow.create"))),
    "an agent deletes an agent": ("data_agent", publish(COMMAND("agent.delete"))),
    "an agent makes an API key": ("data_agent", publish(COMMAND("api_key.create"))),
    "an agent replays a dead letter": ("data_agent", publish(COMMAND("dead_letter.replay"))),
    "an agent runs a step of another type": ("data_agent", publish(RUN)),
    "an agent runs one of its own type": ("data_agent", publish(topology.agent_work("data_agent", None, "query"))),
    "an agent sends to quarantine": ("data_agent", publish(topology.agent_quarantine("decision_agent", "x"))),
    "an agent says that an execution is over": ("data_agent", publish(EVENT("execution.completed"))),
    "an agent tells a host what to run": ("data_agent", publish(topology.host_control("decision_agent-00"))),
    "an agent cancels others' steps": ("data_agent", publish(topology.steps_cancelled("decision_agent"))),
    "an agent forges the audit log": ("data_agent", publish(EVENT("audit.access"))),
    "an agent has work quarantined": ("data_agent", publish(topology.dead("crashed.decision_agent"))),
    "an agent writes straight into a queue": ("data_agent", publish_to_queue("orchestrator.commands")),
    "an agent writes into its own queue": ("data_agent", publish_to_queue("data_agent")),
    "an agent takes commands": ("data_agent", consume("orchestrator.commands")),
    "an agent takes results": ("data_agent", consume("orchestrator.shard.0")),
    "an agent takes others' work": ("data_agent", consume("decision_agent")),
    "an agent takes others' quarantine": ("data_agent", consume("decision_agent.quarantine")),
    "an agent reads dead letters": ("data_agent", get("dead-letters")),
    "an agent reads the audit log": ("data_agent", get("auditor")),
    "an agent purges the registry's queue": ("data_agent", purge("registry")),
    "an agent deletes the registry's queue": ("data_agent", delete("registry")),
    "an agent deletes its own queue": ("data_agent", delete("data_agent")),
    "an agent makes a queue": ("data_agent", declare(Queue("conclave.x", ()))),
    "an agent makes a queue like another's": ("data_agent", declare(topology.agent_type_queue("rival"))),
    "an agent makes an instance's queue": ("data_agent", declare(topology.agent_queue("data_agent", "one"))),
    "an agent makes an exchange": ("data_agent", declare_exchange("conclave.x")),
    "an agent deletes an exchange": ("data_agent", delete_exchange("conclave.events")),
    "an agent binds its queue to others' work": (
        "data_agent",
        bind("data_agent", Address(Exchange.AGENTS, "decision_agent.#")),
    ),
    "an agent binds its queue to all work": ("data_agent", bind("data_agent", Address(Exchange.AGENTS, "#"))),
    "an agent listens to others' work": ("data_agent", listen(DATA_HOST, Address(Exchange.AGENTS, "#"))),
    "an agent listens to commands": ("data_agent", listen(DATA_HOST, COMMAND("#"))),
    "an agent listens to results": ("data_agent", listen(DATA_HOST, topology.shard("#"))),
    "an agent listens to what other hosts are told": ("data_agent", listen(DATA_HOST, EVENT("control.#"))),
    "an agent listens to all events": ("data_agent", listen(DATA_HOST, EVENT("#"))),
    "an agent listens to others' answers": ("data_agent", listen(DATA_REPLY, topology.reply("reply.edge.#"))),
    "an agent listens to all answers": ("data_agent", listen(DATA_REPLY, topology.reply("#"))),
    "an agent has the edge's reply queue": ("data_agent", listen("reply.edge.ff", topology.reply("reply.edge.ff"))),
    "an agent listens to every host like it": ("data_agent", listen(DATA_HOST, EVENT("control.*"))),
    "an agent poses as another host": (
        "data_agent",
        listen("host.decision_agent-00", topology.host_control("decision_agent-00")),
    ),
    "a plugin starts an execution": ("plugin_agent", publish(topology.start_now())),
    "a plugin takes the data agent's work": ("plugin_agent", consume("data_agent")),
    # a program that may start and cancel
    "a client stores a workflow": ("client", publish(COMMAND("workflow.create"))),
    "a client makes an agent": ("client", publish(COMMAND("agent.create"))),
    "a client runs a step": ("client", publish(RUN)),
    "a client writes to an agent": ("client", publish(topology.agent_mail("data_agent"))),
    "a client sends results": ("client", publish(topology.shard("shard.0"))),
    "a client says that an execution is over": ("client", publish(EVENT("execution.completed"))),
    "a client answers for the orchestrator": ("client", publish(topology.reply("reply.edge.ff"))),
    "a client buries a message": ("client", publish(topology.dead("contract"))),
    "a client listens to commands": ("client", listen("client.me", COMMAND("#"))),
    "a client listens to all events": ("client", listen("client.me", EVENT("#"))),
    "a client listens to requests": ("client", listen("client.me", EVENT("audit.#"))),
    "a client listens to others' answers": ("client", listen("client.me", topology.reply("reply.#"))),
    "a client listens to other clients' answers": ("client", listen("client.me", topology.reply("client.#"))),
    "a client listens to everything between": ("client", listen("client.me", EVENT("*.*"))),
    "a client makes a queue of another name": ("client", listen("mine", EVENT("execution.*"))),
    "a client takes commands": ("client", consume("orchestrator.starts")),
    # the services
    "the edge runs a step": ("edge", publish(RUN)),
    "the edge sends results": ("edge", publish(topology.shard("shard.0"))),
    "the edge takes commands": ("edge", consume("orchestrator.commands")),
    "the edge answers": ("edge", publish(topology.reply("reply.edge.ff"))),
    "the orchestrator starts an execution": ("orchestrator", publish(COMMAND("execution.start"))),
    "the orchestrator makes a key": ("orchestrator", publish(COMMAND("api_key.create"))),
    "the orchestrator takes work": ("orchestrator", consume("data_agent")),
    "the orchestrator deletes its queue": ("orchestrator", delete("orchestrator.commands")),
    "the registry runs a step": ("registry", publish(RUN)),
    "the registry starts an execution": ("registry", publish(topology.start_now())),
    "the registry makes a key": ("registry", publish(COMMAND("api_key.create"))),
    "the registry takes a type's work": ("registry", consume("data_agent")),
    "the registry binds an agent's queue to a type's work": (
        "registry",
        listen("x.agent.y", Address(Exchange.AGENTS, "data_agent.any.*")),
    ),
    "the registry binds it to any type's": ("registry", listen("x.agent.y", Address(Exchange.AGENTS, "*.*.*"))),
    "the registry binds it to all mail": ("registry", listen("x.agent.y", topology.agent_mail("*"))),
    "the registry binds it to everything": ("registry", listen("x.agent.y", Address(Exchange.AGENTS, "#"))),
    "the registry deletes a type's queue": ("registry", delete("data_agent")),
    "the dead letters' keeper takes commands": ("dead_letters", consume("orchestrator.commands")),
    "the dead letters' keeper has work quarantined": ("dead_letters", publish(topology.dead("crashed.data_agent"))),
    "access starts an execution": ("access", publish(COMMAND("execution.start"))),
    "access takes others' commands": ("access", consume("registry")),
    "the auditor publishes a command": ("auditor", publish(COMMAND("execution.start"))),
    "the auditor publishes an event": ("auditor", publish(EVENT("audit.access"))),
    "the auditor takes commands": ("auditor", consume("orchestrator.commands")),
    "the auditor binds its queue to more": ("auditor", bind("auditor", EVENT("#"))),
    "the monitor publishes a command": ("monitor", publish(COMMAND("execution.start"))),
    "the monitor says that an execution ended": ("monitor", publish(EVENT("execution.completed"))),
    "the monitor takes commands": ("monitor", consume("orchestrator.commands")),
    "the scaler takes work": ("scaler", consume("data_agent")),
    "the scaler reads a message": ("scaler", get("orchestrator.commands")),
    "the scaler purges": ("scaler", purge("data_agent")),
    "the scaler publishes": ("scaler", publish(COMMAND("execution.start"))),
    "the scaler listens": ("scaler", listen("scaler", EVENT("execution.completed"))),
    "the monitor follows what executions do": ("monitor", listen("monitor.ff.events", EVENT("execution.advanced"))),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_the_broker_refuses(users: Users, attack: str) -> None:
    user, attempt = ATTACKS[attack]
    assert await refused(users.of(user), attempt)


@pytest.mark.parametrize("user", broker_of().users)
async def test_nobody_writes_to_the_default_exchange(users: Users, user: str) -> None:
    """It leads to every queue there is, so that who may write to it may write anything to anybody."""
    assert await refused(users.of(user), publish_to_queue("orchestrator.commands"))


@pytest.mark.parametrize("user", broker_of().users)
async def test_nobody_makes_or_deletes_what_all_stand_on(users: Users, user: str) -> None:
    for exchange in Exchange:
        assert await refused(users.of(user), declare_exchange(exchange.value))
        assert await refused(users.of(user), delete_exchange(exchange.value))
    for queue in broker_of().queues:
        assert await refused(users.of(user), delete(queue.name))


ALLOWED: dict[str, tuple[str, Attempt]] = {
    "an agent sends results": ("data_agent", publish(topology.shard("shard.0"))),
    "an agent answers mail": ("data_agent", publish(topology.reply("reply.edge.ff"))),
    "a coordinator starts an execution": ("coordinator_agent", publish(topology.start_now())),
    "a client starts an execution": ("client", publish(COMMAND("execution.start"))),
    "a client follows executions": ("client", listen("client.me", EVENT("execution.*"))),
    "a client waits for its answer": ("client", listen("client.me", topology.reply("client.me"))),
    "the registry makes an agent's queue": ("registry", declare(topology.agent_queue("data_agent", "one"))),
    "the auditor reads its queue": ("auditor", consume("auditor")),
    "the auditor says how it does": ("auditor", publish(EVENT("process.reported"))),
    "the scaler counts what waits for agents": ("scaler", look_up("data_agent")),
    "the scaler counts what waits for the orchestrator": ("scaler", look_up("orchestrator.starts")),
    "the monitor hears how all do": ("monitor", listen("monitor.ff.events", EVENT("process.reported"))),
}


@pytest.mark.parametrize("use", ALLOWED)
async def test_the_broker_allows(users: Users, use: str) -> None:
    """The attacks fail for the reason they should: the same ways in, used as they are meant to be, are open."""
    user, attempt = ALLOWED[use]
    assert not await refused(users.of(user), attempt)


async def test_a_wrong_password_and_a_strange_user_are_not_let_in(users: Users) -> None:
    for login in (("data_agent", "wrong"), ("nobody", "wrong")):
        url = URL(users.root).with_user(login[0]).with_password(login[1])
        with pytest.raises(aiormq.exceptions.AMQPConnectionError):
            async with asyncio.timeout(PATIENCE):
                await aiormq.connect(str(url))
