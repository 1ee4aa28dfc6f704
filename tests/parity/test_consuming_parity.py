"""Which queues a bus should take from and does not: what readiness asks every bus."""

import asyncio

import pytest

from contracts.topology import QueueKind
from services.runtime.bus.base import Bus
from tests.support.buses import PATIENCE, Inbox, World, frame, hold

ALSO_SIGNED = True


async def until_consuming(bus: Bus) -> None:
    async with asyncio.timeout(PATIENCE):
        while bus.not_consuming():
            await asyncio.sleep(0.02)


async def test_before_the_start_nothing_is_taken_from(world: World) -> None:
    bus = world.bus()
    assert bus.not_consuming() == ()
    bus.subscribe(world.queue("b"), Inbox(), prefetch=5)
    bus.subscribe(world.queue("a"), Inbox(), prefetch=5)
    assert bus.not_consuming() == (world.name("a"), world.name("b"))


@pytest.mark.parametrize("kind", list(QueueKind))
async def test_once_started_every_queue_is_taken_from(world: World, kind: QueueKind) -> None:
    bus = world.bus()
    bus.subscribe(world.queue("one", kind=kind), Inbox(), prefetch=5)
    bus.subscribe(world.queue("two"), Inbox(), prefetch=5)
    await bus.start()
    assert bus.not_consuming() == ()


async def test_one_that_stands_by_counts_as_consuming(world: World) -> None:
    first, second = world.bus(), world.bus()
    for bus in (first, second):
        bus.subscribe(world.queue(kind=QueueKind.SINGLE), Inbox(), prefetch=5)
        await bus.start()
    assert (first.not_consuming(), second.not_consuming()) == ((), ())


async def test_a_full_consumer_counts_as_consuming(world: World) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=1)
    await bus.start()
    await bus.publish([frame(world.key()), frame(world.key())])
    await inbox.wait_for(1)
    assert bus.not_consuming() == ()


async def test_what_was_registered_is_missed_when_it_is_stopped(world: World) -> None:
    bus = world.bus()
    first = bus.subscribe(world.queue("first"), Inbox(), prefetch=5)
    bus.subscribe(world.queue("second"), Inbox(), prefetch=5)
    await bus.start()
    await first.stop()
    assert bus.not_consuming() == (world.name("first"),)
    await first.start()
    assert bus.not_consuming() == ()
    await bus.stop_consuming()
    assert bus.not_consuming() == (world.name("first"), world.name("second"))
    await bus.close()
    assert bus.not_consuming() == (world.name("first"), world.name("second"))


async def test_what_was_added_is_missed_only_while_it_runs(world: World) -> None:
    bus, inbox = await world.started(), Inbox(hold)
    subscription = bus.subscribe(world.queue(), inbox, prefetch=5)
    assert bus.not_consuming() == ()
    await subscription.start()
    assert bus.not_consuming() == ()
    await bus.publish([frame(world.key())])
    await inbox.wait_for(1)
    await subscription.stop()  # and holds a message still
    assert bus.not_consuming() == ()


async def test_a_bus_that_starts_again_consumes_again(world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=5)
    await bus.start()
    await bus.close()
    assert bus.not_consuming() == (world.name("work"),)
    await bus.start()
    assert bus.not_consuming() == ()
    await bus.publish([frame(world.key())])
    await inbox.wait_for(1)


@pytest.mark.parametrize("kind", [QueueKind.WORK, QueueKind.SINGLE])
async def test_a_queue_removed_behind_its_consumer_is_made_again_and_taken_from(world: World, kind: QueueKind) -> None:
    async def nothing_left(_: object) -> None:
        raise AssertionError("it was empty")

    bus, inbox, remover = world.bus(), Inbox(), await world.started()
    bus.subscribe(world.queue(kind=kind), inbox, prefetch=5)
    await bus.start()
    await remover.remove(world.queue(kind=kind), nothing_left)

    async def publish_until_taken() -> None:
        # The consumer hears of it a moment later: until then the address reaches no queue.
        while not inbox.deliveries:
            try:
                await remover.publish([frame(world.key(), "after", message_id="after")])
            except Exception:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.02)

    await asyncio.wait_for(publish_until_taken(), PATIENCE)
    await until_consuming(bus)
    assert set(inbox.bodies) == {"after"}
