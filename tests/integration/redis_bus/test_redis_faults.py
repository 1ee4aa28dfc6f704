"""RedisBus and a Redis that goes away, comes back, hangs, forgets, is full or refuses."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from contracts.topology import QueueKind
from scripts.redis_server import RedisServer
from scripts.servers import free_port
from services.runtime.bus import redis
from services.runtime.bus.base import Bus, BusError, BusUnavailable
from services.runtime.bus.redis import RedisBus
from tests.support.bus_faults import (
    AT_ONCE,
    CONFIRM_TIMEOUT,
    PATIENCE,
    fails_at_once,
    publish_through_a_kill,
    start,
    stop,
    until_published,
)
from tests.support.buses import ANSWERS_WITHIN, Inbox, World, frame, frames, hold, redis_world
from tests.support.redis_helpers import TIME_TO_LIVE, until, until_away

pytestmark = pytest.mark.redis


async def test_everything_goes_on_after_redis_was_restarted(own_redis: RedisServer, world: World) -> None:
    bus, work, feed, late, waited = world.bus(), Inbox(), Inbox(), Inbox(), Inbox()
    bus.subscribe(world.queue("work", world.key(), world.key("a.*")), work, prefetch=10)
    bus.subscribe(world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST), feed, prefetch=10)
    await bus.start()
    waiting = world.queue("waiting")
    await bus.declare(waiting)
    await bus.subscribe(world.queue("late"), late, prefetch=10).start()
    await bus.publish([*frames(world.key("waiting"), 50, "w"), frame(world.key(), "before")])
    await work.wait_for(1)

    await stop(own_redis)
    await until_away(bus)
    await start(own_redis)

    await until_published(bus, frame(world.key("a.x"), "after"))
    await bus.publish([frame(world.key("late"), "after"), frame(world.event("y"), "after")])
    await work.wait_for(2)
    await late.wait_for(1)
    await feed.wait_for(1)
    assert (work.bodies, late.bodies, feed.bodies) == (["before", "after"], ["after"], ["after"])
    await bus.subscribe(waiting, waited, prefetch=100).start()
    await waited.wait_for(50)
    assert waited.bodies == [f"w{number}" for number in range(50)]
    assert {delivery.redeliveries for delivery in waited.deliveries} == {0}


async def test_what_is_in_hand_stays_there_while_redis_is_away(own_redis: RedisServer, world: World) -> None:
    """The session outlives the connection: what is settled meanwhile is told later, and nothing is done twice."""
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=3)
    await bus.start()
    await bus.publish(frames(world.key(), 4))
    done, back, still = await inbox.wait_for(3)
    await stop(own_redis)
    await until_away(bus)
    await done.ack()
    await back.retry()
    await start(own_redis)
    await inbox.wait_for(5)
    assert sorted(inbox.bodies[3:]) == ["1", "3"]
    assert {d.body: d.redeliveries for d in inbox.deliveries[3:]} == {b"1": 1, b"3": 0}
    await still.ack()
    for delivery in inbox.deliveries[3:]:
        await delivery.ack()
    await bus.publish([frame(world.key(), "end")])
    await inbox.wait_for(6)
    assert inbox.bodies[5:] == ["end"]


async def test_nothing_is_lost_when_redis_is_killed_under_load(own_redis: RedisServer, world: World) -> None:
    """Every message whose publish returned arrives; what did not is published again."""
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=50)
    await bus.start()
    await publish_through_a_kill(own_redis, world, bus, inbox)


async def test_a_redis_without_its_memory_is_told_everything_again(
    own_redis: RedisServer, world: World, client: Redis
) -> None:
    bus, inbox, feed = world.bus(), Inbox(hold), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    bus.subscribe(world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST), feed, prefetch=10)
    await bus.start()
    await bus.declare(world.queue("waiting"))
    await bus.publish([frame(world.key(), "before")])
    (held,) = await inbox.wait_for(1)
    await client.flushall()

    async def told() -> bool:
        return await client.exists(f"conclave:queue:{world.name('waiting')}") == 1

    await until(told)
    await until_published(bus, frame(world.key(), "after"))
    await until_published(bus, frame(world.key("waiting"), "after"))
    await until_published(bus, frame(world.event("x"), "after"))
    await inbox.wait_for(2)
    await feed.wait_for(1)
    await held.ack()  # what Redis forgot cannot be settled, and does no harm
    assert inbox.bodies == ["before", "after"]


async def test_publishing_while_redis_is_away_fails_at_once(own_redis: RedisServer, world: World) -> None:
    bus = await world.started()
    await bus.declare(world.queue())
    await stop(own_redis)
    await fails_at_once(bus, world)
    with pytest.raises(BusUnavailable):
        await bus.remove(world.queue("other"), hold)


async def test_a_redis_that_hangs_is_unavailable_in_time(own_redis: RedisServer, world: World) -> None:
    bus, inbox = RedisBus(own_redis.url, confirm_timeout=CONFIRM_TIMEOUT, time_to_live=TIME_TO_LIVE), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    assert own_redis.pid is not None
    os.killpg(own_redis.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT + AT_ONCE):
            with pytest.raises(BusUnavailable):
                await bus.publish([frame(world.key(), "during")])
    finally:
        os.killpg(own_redis.pid, signal.SIGCONT)
    await until_published(bus, frame(world.key(), "after"))
    await inbox.wait_until(lambda: "after" in inbox.bodies)
    await bus.close()


async def test_a_redis_that_is_full_is_unavailable_and_lets_messages_be_settled(world: World, client: Redis) -> None:
    bus, inbox = world.bus(), Inbox(hold)
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await bus.publish([frame(world.key(), "before")])
    (held,) = await inbox.wait_for(1)
    await client.config_set("maxmemory", "1mb")
    with pytest.raises(BusUnavailable, match="maxmemory"):
        await bus.publish([frame(world.key(), "during")])
    assert bus.connected
    await held.ack()
    await client.config_set("maxmemory", "0")
    await bus.publish([frame(world.key(), "after")])
    await inbox.wait_for(2)
    assert inbox.bodies == ["before", "after"]


async def test_a_redis_that_is_full_is_emptied_by_a_consumer_that_comes_then(world: World, client: Redis) -> None:
    publisher = await world.started()
    await publisher.declare(world.queue())
    await publisher.publish(frames(world.key(), 20))
    await client.config_set("maxmemory", "1mb")
    with pytest.raises(BusUnavailable, match="maxmemory"):
        await publisher.publish([frame(world.key(), "no room")])
    consumer, inbox = world.bus(), Inbox()
    consumer.subscribe(world.queue(), inbox, prefetch=5)
    async with asyncio.timeout(PATIENCE):
        await consumer.start()
    await inbox.wait_for(20)
    await client.config_set("maxmemory", "0")


async def test_a_start_that_was_cut_off_leaves_no_consumer_in_the_way(world: World) -> None:
    """Of a queue with a single active one it would be the first, and take nothing."""
    bus, inbox = await world.started(), Inbox()
    queue = world.queue(kind=QueueKind.SINGLE)
    subscription = bus.subscribe(queue, inbox, prefetch=5)
    for moment in range(40):
        starting = asyncio.ensure_future(subscription.start())
        await asyncio.sleep(moment * 0.0001)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await subscription.stop()
    await subscription.start()
    await bus.publish(frames(world.key(), 3))
    await inbox.wait_for(3)


async def test_starting_waits_for_redis(own_redis: RedisServer, world: World) -> None:
    await stop(own_redis)
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(0.5)
    assert not starting.done()
    assert not bus.connected
    await start(own_redis)
    await asyncio.wait_for(starting, PATIENCE)
    await bus.publish([frame(world.key())])
    await inbox.wait_for(1)


@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10, 20, 40])
async def test_giving_up_at_any_moment_leaves_nothing_behind(own_redis: RedisServer, milliseconds: int) -> None:
    before = asyncio.all_tasks()
    # An answer that it does not wait for to the end would leave the session to others, as it should.
    bus = RedisBus(own_redis.url, confirm_timeout=ANSWERS_WITHIN)
    bus.subscribe(redis_world(own_redis.url).queue(), Inbox(), prefetch=1)
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(milliseconds / 1000)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await bus.close()
    assert not bus.connected

    async def only_these() -> bool:
        return asyncio.all_tasks() <= before

    await until(only_these)
    async with Redis.from_url(own_redis.url) as client:
        assert await client.keys("conclave:session*") == []


async def test_starting_can_be_given_up_while_there_is_no_redis() -> None:
    bus = RedisBus(f"redis://127.0.0.1:{free_port()}/0")
    starting = asyncio.create_task(bus.start())
    await asyncio.sleep(0.3)
    assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await bus.close()


@pytest.mark.parametrize("leave", [lambda bus: bus.stop_consuming(), lambda bus: bus.close()])
async def test_leaving_while_redis_is_away_is_quick(
    own_redis: RedisServer, world: World, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Bus], Awaitable[None]]
) -> None:
    monkeypatch.setattr(redis, "CLOSE_TIMEOUT", PATIENCE)  # what it would take if it waited for Redis
    bus, inbox, other_inbox = world.bus(), Inbox(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await stop(own_redis)
    async with asyncio.timeout(AT_ONCE):
        await leave(bus)
    await start(own_redis)
    other = world.bus()
    other.subscribe(world.queue(), other_inbox, prefetch=10)
    await other.start()
    await asyncio.sleep(2 * TIME_TO_LIVE)
    await other.publish(frames(world.key(), 5))
    await other_inbox.wait_for(5)
    assert inbox.bodies == []


async def test_a_refused_login_is_an_error_and_not_a_wait(own_redis: RedisServer, client: Redis) -> None:
    await client.config_set("requirepass", "right")
    place = own_redis.url.removeprefix("redis://")
    for login in ("", ":wrong@", "nobody:wrong@"):
        bus = RedisBus(f"redis://{login}{place}")
        with pytest.raises(BusError, match="refused") as caught:
            await asyncio.wait_for(bus.start(), PATIENCE)
        assert not isinstance(caught.value, BusUnavailable)
        assert "wrong" not in str(caught.value)
    bus = RedisBus(f"redis://:right@{place}")
    await bus.start()
    assert bus.connected
    await bus.close()


async def test_a_database_that_is_not_there_is_an_error(own_redis: RedisServer) -> None:
    with pytest.raises(BusError, match="DB index"):
        await asyncio.wait_for(RedisBus(own_redis.url.replace("/0", "/999")).start(), PATIENCE)


async def test_a_queue_that_exists_otherwise_is_an_error_and_not_a_wait(world: World) -> None:
    first = await world.started()
    await first.declare(world.queue(delivery_limit=7))
    bus = world.bus()
    bus.subscribe(world.queue(delivery_limit=8), Inbox(), prefetch=1)
    with pytest.raises(BusError, match=world.name("work")):
        await asyncio.wait_for(bus.start(), PATIENCE)
    assert not bus.connected


async def test_a_redis_that_keeps_nothing_is_warned_of(own_redis: RedisServer, client: Redis) -> None:
    for appendonly, warnings in (("yes", 0), ("no", 1)):
        await client.config_set("appendonly", appendonly)
        bus = RedisBus(own_redis.url)
        with capture_logs() as logs:
            await bus.start()
        await bus.close()
        assert len([entry for entry in logs if "append-only" in entry["event"]]) == warnings
