"""The bus that counts says the same over every broker, and what it says is what happened."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from contracts import topology
from services.runtime.bus.base import BusUnavailable, Delivery, UnroutableMessage
from services.runtime.bus.metered import MeteredBus
from services.runtime.telemetry.bounds import LONGEST
from services.runtime.telemetry.message_metrics import MessageMetrics
from tests.support.buses import PATIENCE, Inbox, World, frame, frames, hold

ALSO_SIGNED = True

SERVICE = "tested"
FAMILY = "the.family"


class Metered:
    """A bus that counts into a registry of its own, and what it counted."""

    def __init__(self, world: World) -> None:
        self.registry = CollectorRegistry()
        self.bus = MeteredBus(world.bus(), MessageMetrics(self.registry), SERVICE)

    def __getitem__(self, name: str) -> float:
        """All samples of that name together."""
        return sum(self.by(name).values())

    def by(self, name: str, label: str = "service") -> dict[str, float]:
        """What is not zero, by one label."""
        found: dict[str, float] = {}
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == name and sample.value:
                    found[sample.labels[label]] = found.get(sample.labels[label], 0.0) + sample.value
        return found

    @property
    def outcomes(self) -> dict[str, float]:
        return self.by("conclave_messages_settled_total", "outcome")

    async def until(self, name: str, value: float) -> None:
        """Wait until a metric has a value: a test sees a message before it is settled."""
        async with asyncio.timeout(PATIENCE):
            while self[name] != value:
                await asyncio.sleep(0.01)


@pytest.fixture
def metered(world: World) -> Metered:
    return Metered(world)


async def test_what_is_published_and_taken_is_counted(world: World, metered: Metered) -> None:
    inbox = Inbox()
    metered.bus.subscribe(world.queue(), inbox, prefetch=10)
    await metered.bus.start()
    sent = [
        *(frame(world.key(), type="step.run.v1") for _ in range(3)),
        frame(world.key(), type="execution.start.v1"),
        frame(world.key(), type="whatever.a.client.makes.up.v1"),
        frame(world.event("nobody-listens"), type="execution.advanced.v1"),
    ]
    await metered.bus.publish(sent[:5])
    await metered.bus.publish(sent[5:])
    await metered.bus.publish([])
    await inbox.wait_for(5)
    await metered.until("conclave_messages_settled_total", 5)

    assert metered.by("conclave_messages_published_total", "type") == {
        "step.run.v1": 3,
        "execution.start.v1": 1,
        "unknown": 1,
        "execution.advanced.v1": 1,
    }
    assert metered.by("conclave_messages_published_total", "exchange") == {"conclave.commands": 5, "conclave.events": 1}
    assert metered["conclave_publish_seconds_count"] == 2
    assert metered.by("conclave_messages_received_total", "queue") == {world.name("work"): 5}
    assert metered.outcomes == {"acked": 5}
    assert metered["conclave_messages_in_hand"] == 0
    assert metered["conclave_messages_redelivered_total"] == 0
    assert metered.by("conclave_messages_received_total") == {SERVICE: 5}


async def test_a_queue_is_counted_under_its_family(world: World, metered: Metered) -> None:
    inbox = Inbox()
    for name in ("one", "two"):
        queue = world.queue(name)
        metered.bus.subscribe(topology.Queue(queue.name, queue.bindings, family=FAMILY), inbox, prefetch=10)
    await metered.bus.start()
    await metered.bus.publish([*frames(world.key("one"), 2), *frames(world.key("two"), 1)])
    await inbox.wait_for(3)
    assert metered.by("conclave_messages_received_total", "queue") == {FAMILY: 3}


async def test_redeliveries_and_outcomes(world: World, metered: Metered) -> None:
    """Given back by its handler, given back because its handler raised, moved to the dead letters, acked."""
    seen: list[str] = []

    async def settle(delivery: Delivery) -> None:
        body = delivery.body.decode()
        seen.append(body)
        first = seen.count(body) == 1
        if body == "returned" and first:
            await delivery.retry()
        elif body == "raises" and first:
            raise RuntimeError("on purpose")
        elif body == "refused":
            await delivery.dead_letter("contract", "on purpose")
            await delivery.dead_letter("contract", "settling twice does nothing")
        elif body == "made up":
            await delivery.dead_letter(world.name("reason"), "a reason that is not in the topology")
        await delivery.ack()

    graves = Inbox()
    metered.bus.subscribe(world.queue(), settle, prefetch=10)
    buried = world.bus()
    buried.subscribe(world.queue("graves", world.dead("reason")), graves, prefetch=10)
    await buried.start()
    await metered.bus.start()
    bodies = ["returned", "raises", "refused", "made up", "fine"]
    await metered.bus.publish([frame(world.key(), body) for body in bodies])
    await metered.until("conclave_messages_settled_total", 7)

    assert sorted(seen) == sorted([*bodies, "returned", "raises"])
    assert metered["conclave_messages_received_total"] == 7
    assert metered["conclave_messages_redelivered_total"] == 2
    assert metered.outcomes == {"acked": 3, "returned": 2, "dead_lettered": 2}
    assert metered.by("conclave_messages_refused_total", "reason") == {"contract": 1, "unknown": 1}
    assert metered["conclave_messages_in_hand"] == 0
    # What moves a message to the dead letters is no message of the service's own.
    assert metered["conclave_messages_published_total"] == 5


async def test_in_hand_until_settled_or_the_bus_is_closed(world: World, metered: Metered) -> None:
    inbox = Inbox(hold)
    metered.bus.subscribe(world.queue(), inbox, prefetch=10)
    await metered.bus.start()
    await metered.bus.publish(frames(world.key(), 3))
    first, *_ = await inbox.wait_for(3)
    assert metered["conclave_messages_in_hand"] == 3
    await first.ack()
    await first.ack()
    assert metered["conclave_messages_in_hand"] == 2
    assert metered["conclave_bus_connected"] == 1
    await metered.bus.close()
    assert metered["conclave_messages_in_hand"] == 0
    assert metered.outcomes == {"acked": 1, "returned": 2}
    assert metered["conclave_bus_connected"] == 0


async def test_what_cannot_be_published(world: World, metered: Metered) -> None:
    bus = metered.bus
    with pytest.raises(BusUnavailable):
        await bus.publish(frames(world.event("x"), 2))
    assert metered["conclave_messages_unconfirmed_total"] == 2
    await bus.start()
    await bus.declare(world.queue("there"))
    with pytest.raises(UnroutableMessage):
        await bus.publish([*frames(world.key("nowhere"), 2), frame(world.key("there"))])
    assert metered["conclave_messages_unroutable_total"] == 2
    assert metered["conclave_messages_published_total"] == 1
    assert metered["conclave_publish_seconds_count"] == 0


async def test_lag_is_what_the_sender_says_within_reason(world: World, metered: Metered) -> None:
    inbox = Inbox()
    metered.bus.subscribe(world.queue(), inbox, prefetch=10)
    await metered.bus.start()
    await metered.bus.publish([frame(world.key())])
    (got,) = await inbox.wait_for(1)
    now = datetime.now(UTC)
    got.was_sent(now - timedelta(seconds=100))
    got.was_sent(now + timedelta(seconds=100))
    got.was_sent(datetime(1, 1, 1, tzinfo=UTC))
    assert metered["conclave_message_lag_seconds_count"] == 3
    assert 100 <= metered["conclave_message_lag_seconds_sum"] - LONGEST < 160


async def test_what_is_left_in_a_removed_queue_is_counted_too(world: World, metered: Metered) -> None:
    queue, inbox = world.queue(), Inbox()
    await metered.bus.start()
    await metered.bus.declare(queue)
    await metered.bus.publish(frames(world.key(), 2))
    await metered.bus.remove(queue, inbox)
    assert inbox.bodies == ["0", "1"]
    assert metered["conclave_messages_received_total"] == 2
    assert metered.outcomes == {"acked": 2}
