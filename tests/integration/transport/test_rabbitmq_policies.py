"""The policies that ``scripts/rabbitmq_users.py`` makes, in force in a RabbitMQ."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace

import aiormq
import pytest

from contracts import topology
from contracts.topology import Address, Queue
from scripts.rabbitmq_permissions import broker_of
from scripts.rabbitmq_policies import FEED_BYTES, MIB, STARTS_BYTES
from scripts.rabbitmq_users import definitions_of, import_with
from services.runtime.bus.base import BusUnavailable
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.rabbit_topology import queue_arguments
from tests.integration.transport.conftest import Users
from tests.support.bus_faults import until_published
from tests.support.buses import ANSWERS_WITHIN, PATIENCE, frame
from tests.support.rabbitmq_users import rabbitmqctl

pytestmark = pytest.mark.rabbitmq

FEED = topology.events_feed("edge.0a1b.events", "execution.advanced")
PROGRESS = topology.event("execution.advanced")
MOST_STARTS = 200


@pytest.fixture
async def channel(users: Users) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """Of a user that may do everything."""
    connection = await aiormq.connect(users.root)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def declare(channel: aiormq.abc.AbstractChannel, queue: Queue) -> None:
    await channel.queue_declare(queue.name, exclusive=True, arguments=queue_arguments(queue))
    for binding in queue.bindings:
        await channel.queue_bind(queue.name, binding.exchange.value, binding.key)


async def waiting_in(channel: aiormq.abc.AbstractChannel, name: str) -> int:
    return (await channel.queue_declare(name, passive=True)).message_count or 0


async def until_waiting(channel: aiormq.abc.AbstractChannel, name: str, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await waiting_in(channel, name) != count:
            await asyncio.sleep(0.05)


def policies_in_force(users: Users) -> dict[str, str]:
    """The policy of each queue that has one, by what the broker says."""
    command, environment = rabbitmqctl(users.server)
    listed = subprocess.run(
        [command, "--silent", "--formatter", "json", "list_queues", "name", "policy"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {one["name"]: one["policy"] for one in json.loads(listed.stdout) if one["policy"]}


async def publish_until_refused(bus: RabbitBus, address: Address) -> int:
    """How many messages of 4 KiB were taken before one was not."""
    for taken in range(MOST_STARTS):
        try:
            await bus.publish([frame(address, "x" * 4096)])
        except BusUnavailable:
            return taken
    return MOST_STARTS


def bound_starts_to(users: Users, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the policy of starts again, with another number of bytes, and no other."""
    broker = broker_of()
    starts = next(policy for policy in broker.policies if policy.name == "starts")
    changed = replace(starts, definition={**starts.definition, "max-length-bytes": most})
    passwords = {name: (users.passwords / f"{name}.password").read_text() for name in broker.users}
    definitions = definitions_of(replace(broker, policies=(changed,)), passwords, "/")
    command, environment = rabbitmqctl(users.server)
    with monkeypatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        import_with([command], definitions)


async def test_the_broker_applies_each_to_its_queues(users: Users, channel: aiormq.abc.AbstractChannel) -> None:
    for queue in (FEED, topology.monitor_feed("0a1b"), topology.events_feed("client.shop", "execution.completed")):
        await declare(channel, queue)
    assert policies_in_force(users) == {
        "edge.0a1b.events": "feeds",
        "monitor.0a1b.events": "feeds",
        "client.shop": "clients",
        "orchestrator.starts": "starts",
    }


async def test_a_feed_that_nobody_reads_loses_its_oldest(channel: aiormq.abc.AbstractChannel) -> None:
    await declare(channel, FEED)
    most, body = FEED_BYTES // MIB, b"x" * (MIB - 4)
    for number in range(most + 6):
        await channel.basic_publish(
            number.to_bytes(4, "big") + body, exchange=PROGRESS.exchange.value, routing_key=PROGRESS.key
        )
    assert await waiting_in(channel, FEED.name) == most
    oldest = await channel.basic_get(FEED.name, no_ack=True)
    assert int.from_bytes(oldest.body[:4], "big") == 6


async def test_a_start_beyond_the_limit_is_refused_to_its_publisher_and_nothing_is_lost(
    users: Users, channel: aiormq.abc.AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = topology.orchestrator_starts()
    (address,) = starts.bindings
    bus = RabbitBus(users.of("client"), confirm_timeout=ANSWERS_WITHIN)
    await bus.start()
    try:
        bound_starts_to(users, 64 * 1024, monkeypatch)
        await channel.queue_purge(topology.auditor_queue().name)
        taken = await publish_until_refused(bus, address)
        assert 16 <= taken < MOST_STARTS
        assert await waiting_in(channel, starts.name) == taken
        await until_waiting(channel, topology.auditor_queue().name, taken + 1)
        await channel.queue_purge(starts.name)
        await until_published(bus, frame(address, "there is room again"))  # its channel hears of it a moment later
        assert await waiting_in(channel, starts.name) == 1
    finally:
        await bus.close()
        await channel.queue_purge(starts.name)
        bound_starts_to(users, STARTS_BYTES, monkeypatch)
