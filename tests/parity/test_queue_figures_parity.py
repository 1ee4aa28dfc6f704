"""What a queue holds: how many wait, how many are in hand, and who takes from it, on every bus."""

import asyncio
import time

import pytest

from contracts.topology import Queue, QueueKind
from services.runtime.bus.base import Bus, BusUnavailable, QueueFigures
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.secured import SecuredBus
from tests.support.buses import PATIENCE, Inbox, World, frames, hold

ALSO_SIGNED = True
KINDS = pytest.mark.parametrize("kind", [QueueKind.WORK, QueueKind.SINGLE])


def says_what_is_in_hand(bus: Bus) -> bool:
    """RabbitMQ does not tell its clients."""
    return not isinstance(bus.inner if isinstance(bus, SecuredBus) else bus, RabbitBus)


def figures(bus: Bus, ready: int, unacked: int, consumers: int) -> QueueFigures:
    return QueueFigures(ready=ready, unacked=unacked if says_what_is_in_hand(bus) else None, consumers=consumers)


async def measured(bus: Bus, queue: Queue) -> QueueFigures:
    return (await bus.measure([queue]))[queue.name]


async def comes_to(bus: Bus, queue: Queue, expected: QueueFigures) -> None:
    """A broker counts in its own time: of a consumer that is gone it may know a moment later."""
    deadline = time.monotonic() + PATIENCE
    while (seen := await measured(bus, queue)) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert seen == expected


@KINDS
async def test_what_waits_what_is_in_hand_and_who_takes_it(world: World, kind: QueueKind) -> None:
    watcher, taker, inbox = await world.started(), world.bus(), Inbox(hold)
    queue = world.queue(kind=kind)
    await watcher.declare(queue)
    await comes_to(watcher, queue, figures(watcher, 0, 0, 0))
    await watcher.publish(frames(world.key(), 7))
    await comes_to(watcher, queue, figures(watcher, 7, 0, 0))
    taker.subscribe(queue, inbox, prefetch=3)
    await taker.start()
    await inbox.wait_for(3)
    await comes_to(watcher, queue, figures(watcher, 4, 3, 1))
    await inbox.deliveries[0].ack()
    await inbox.wait_for(4)
    await comes_to(watcher, queue, figures(watcher, 3, 3, 1))
    await taker.close()
    await comes_to(watcher, queue, figures(watcher, 6, 0, 0))


async def test_only_the_active_one_of_those_who_stand_by_is_counted(world: World) -> None:
    queue = world.queue(kind=QueueKind.SINGLE)
    for _ in range(3):
        bus = world.bus()
        bus.subscribe(queue, Inbox(), prefetch=5)
        await bus.start()
    await comes_to(bus, queue, figures(bus, 0, 0, 1))


async def test_what_is_given_back_waits_again(world: World) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    queue = world.queue()
    subscription = bus.subscribe(queue, inbox, prefetch=5)
    await bus.start()
    await bus.publish(frames(world.key(), 2))
    await inbox.wait_for(2)
    await subscription.stop()
    await inbox.deliveries[0].retry()
    await inbox.deliveries[1].ack()
    await bus.close()
    await bus.start()
    await inbox.wait_for(3)
    await comes_to(bus, queue, figures(bus, 0, 1, 1))


async def test_several_at_once_and_those_that_do_not_exist_are_left_out(world: World) -> None:
    bus = await world.started()
    queues = [world.queue(name, kind=kind) for name, kind in (("a", QueueKind.WORK), ("b", QueueKind.SINGLE))]
    for queue in queues:
        await bus.declare(queue)
    await bus.publish([*frames(world.key("a"), 2), *frames(world.key("b"), 5)])
    missing = [world.queue("missing1"), world.queue("missing2")]
    asked = [missing[0], queues[0], missing[1], queues[1]]
    wanted = {queues[0].name: figures(bus, 2, 0, 0), queues[1].name: figures(bus, 5, 0, 0)}
    assert await bus.measure(asked) == wanted
    assert await bus.measure(asked) == wanted
    assert await bus.measure([]) == {}
    await bus.publish(frames(world.key("a"), 1))  # and the bus is none the worse for it


async def test_a_queue_that_is_made_and_removed_comes_and_goes(world: World) -> None:
    bus, queue, left = await world.started(), world.queue(), Inbox()
    assert await bus.measure([queue]) == {}
    await bus.declare(queue)
    await comes_to(bus, queue, figures(bus, 0, 0, 0))
    await bus.remove(queue, left)
    assert await bus.measure([queue]) == {}


async def test_a_broadcast_queue_is_told_to_its_owner_alone(world: World) -> None:
    owner, other = world.bus(), await world.started()
    queue = world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST, delivery_limit=None)
    owner.subscribe(queue, Inbox(), prefetch=5)
    await owner.start()
    await comes_to(owner, queue, figures(owner, 0, 0, 1))
    assert await other.measure([queue]) == {}


async def test_measuring_needs_a_connection(world: World) -> None:
    bus = world.bus()
    with pytest.raises(BusUnavailable):
        await bus.measure([world.queue()])
    await bus.start()
    await bus.close()
    with pytest.raises(BusUnavailable):
        await bus.measure([world.queue()])
