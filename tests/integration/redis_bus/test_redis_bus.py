"""RedisBus: consumers that die or hang, what stays in Redis, and how it routes."""

import asyncio
import itertools
import os
import random
import signal
import time

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from contracts.topology import Address, QueueKind
from scripts.redis_server import RedisServer
from services.runtime.bus.base import Delivery, UnroutableMessage
from services.runtime.bus.redis import BEATS, RedisBus
from services.runtime.bus.redis_lua import NAMES, ROUTING
from services.runtime.bus.topic_routing import topic_matches
from tests.support.buses import ANSWERS_WITHIN, Inbox, World, frame, frames
from tests.support.redis_helpers import (
    TIME_TO_LIVE,
    line_of,
    other_process,
    until,
)

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("kind", [QueueKind.WORK, QueueKind.SINGLE])
async def test_what_a_killed_process_held_goes_to_others(own_redis: RedisServer, world: World, kind: QueueKind) -> None:
    queue = world.queue(kind=kind)
    async with other_process(own_redis.url, queue) as process:
        assert await line_of(process, "ready")
        bus, inbox = world.bus(), Inbox()
        await bus.start()
        await bus.publish(frames(world.key(), 3))
        assert await line_of(process, "2") == "2 0"
        await bus.subscribe(queue, inbox, prefetch=10).start()
        process.kill()
        await process.wait()
        await inbox.wait_for(3)
    assert inbox.bodies == ["0", "1", "2"]
    assert [delivery.redeliveries for delivery in inbox.deliveries] == [1, 1, 1]
    await bus.publish([frame(world.key(), "next")])
    await inbox.wait_for(4)


async def test_a_killed_process_takes_its_broadcast_queue_along(
    own_redis: RedisServer, world: World, client: Redis
) -> None:
    bus = await world.started()
    name = world.name("work")
    async with other_process(own_redis.url, world.queue()) as process:
        assert await line_of(process, "ready")
        await bus.publish([frame(world.event("work"), "heard")])
        assert await line_of(process, "heard") == "heard 0"
        process.kill()
        await process.wait()

    async def gone() -> bool:
        return not await client.exists(f"conclave:queue:{name}.feed", f"conclave:bound:{name}.feed")

    await until(gone)
    await bus.publish([frame(world.event("work"), "nobody hears it")])
    assert await client.hgetall("conclave:owners") == {}
    assert not await client.exists(f"conclave:queue:{name}.feed")


async def test_a_process_that_was_paused_goes_on_and_nothing_is_lost(own_redis: RedisServer, world: World) -> None:
    """Others take what it held when it says nothing for too long; it finds that out, and takes part again."""
    queue = world.queue()
    async with other_process(own_redis.url, queue, settle="settle", time_to_live=TIME_TO_LIVE) as process:
        assert await line_of(process, "ready")
        bus, inbox = world.bus(), Inbox()
        await bus.start()
        os.kill(process.pid, signal.SIGSTOP)
        await bus.publish(frames(world.key(), 2))  # the first wakes nobody but the one that sleeps
        await bus.subscribe(queue, inbox, prefetch=10).start()
        await inbox.wait_for(2)
        await asyncio.sleep(2 * TIME_TO_LIVE)
        os.kill(process.pid, signal.SIGCONT)
        told = asyncio.create_task(line_of(process, "later"))
        for number in itertools.count():  # dealt out in turn to those who take, so some come there once it is back
            if told.done():
                break
            await bus.publish([frame(world.key(), f"later{number}")])
            await asyncio.sleep(0.02)
        assert (await told).startswith("later")
        assert {"0", "1"} <= set(inbox.bodies)


async def test_long_work_is_not_taken_from_one_that_lives(world: World) -> None:
    begun, most = 0, 0

    async def work_long(delivery: Delivery) -> None:
        nonlocal begun, most
        begun += 1
        most = max(most, delivery.redeliveries)
        await asyncio.sleep(2.5 * TIME_TO_LIVE)
        await delivery.ack()

    for _ in range(2):
        bus = world.bus()
        bus.subscribe(world.queue(), work_long, prefetch=1)
        await bus.start()
    await bus.publish([frame(world.key())])
    await asyncio.sleep(3 * TIME_TO_LIVE)
    assert (begun, most) == (1, 0)


async def test_consumers_that_are_killed_use_up_the_delivery_limit(own_redis: RedisServer, world: World) -> None:
    queue = world.queue(delivery_limit=1, dead_letter=world.dead("crashed"))
    bus, graves = world.bus(), Inbox()
    bus.subscribe(world.queue("graves", world.dead("crashed")), graves, prefetch=10)
    await bus.start()
    await bus.declare(queue)
    await bus.publish([frame(world.key(), "killer", message_id="k")])
    for death in range(2):
        async with other_process(own_redis.url, queue) as process:
            assert await line_of(process, "killer") == f"killer {death}"
            process.kill()
            await process.wait()
    (dead,) = await graves.wait_for(1)
    assert (dead.body, dead.message_id, dead.died_in) == (b"killer", "k", queue.name)


async def test_nothing_is_left_of_settled_messages_and_closed_buses(world: World, client: Redis) -> None:
    """What is there afterwards are the durable queues and how to reach them."""
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    bus.subscribe(world.queue("shard", kind=QueueKind.SINGLE), inbox, prefetch=10)
    bus.subscribe(world.queue("feed", world.event("#"), kind=QueueKind.BROADCAST), inbox, prefetch=10)
    await bus.start()
    await bus.publish([*frames(world.key(), 50), *frames(world.key("shard"), 50), *frames(world.event("x"), 50)])
    await inbox.wait_for(150)

    async def settled() -> bool:
        return [await client.xlen(f"conclave:queue:{world.name(name)}") for name in ("work", "shard", "feed")] == [
            0
        ] * 3

    await until(settled)
    await bus.close()
    keys = {key.decode() for key in await client.keys() if not key.startswith(b"conclave:routes:")}
    durable = {
        f"conclave:{kind}:{queue}"
        for kind in ("queue", "bound")
        for queue in ("dead-letters", world.name("work"), world.name("shard"))
    }
    assert keys == {
        *durable,
        "conclave:queues",
        "conclave:bindings:conclave.commands",
        "conclave:bindings:conclave.dead",
        "conclave:epoch",
        "conclave:looked",
    }
    for name in ("work", "shard"):
        assert await client.xinfo_consumers(f"conclave:queue:{world.name(name)}", "conclave") == []


async def test_a_removed_queue_leaves_nothing_behind(world: World, client: Redis) -> None:
    bus, inbox = await world.started(), Inbox()
    await bus.publish([])
    before = {key for key in await client.keys() if not key.startswith(b"conclave:routes:")}
    queue = world.queue("work", world.key("a.*"), world.key("b"))
    subscription = bus.subscribe(queue, inbox, prefetch=5)
    await subscription.start()
    await bus.publish([frame(world.key("a.x")), frame(world.key("b"))])
    await inbox.wait_for(2)
    await subscription.stop()
    await bus.remove(queue, inbox)
    assert {key for key in await client.keys() if not key.startswith(b"conclave:routes:")} == before
    sessions = await client.keys("conclave:session:*")
    assert [await client.hkeys(session) for session in sessions] == [[b"ttl"]]


async def test_a_service_has_two_connections_and_is_quiet_when_idle(world: World, client: Redis) -> None:
    before = (await client.info("clients"))["connected_clients"]
    bus, inbox = world.bus(), Inbox()
    for number in range(10):
        bus.subscribe(world.queue(f"work{number}"), inbox, prefetch=10)
    await bus.start()
    for number in range(10):
        await bus.publish(frames(world.key(f"work{number}"), 20))
    await inbox.wait_for(200)
    assert (await client.info("clients"))["connected_clients"] == before + 2

    async def calls() -> int:
        return int((await client.info("commandstats"))["cmdstat_evalsha"]["calls"])

    async def nothing_waits() -> bool:
        return not any([await client.xlen(f"conclave:queue:{queue.name}") for queue in world.queues])

    await until(nothing_waits)  # what came last has been taken here, and is settled in Redis a moment later
    began, first = time.monotonic(), await calls()
    await asyncio.sleep(TIME_TO_LIVE)
    more, quarters = await calls() - first, (time.monotonic() - began) / (TIME_TO_LIVE / BEATS)
    assert more <= quarters + 1  # it says that it lives


async def test_a_dead_letter_that_nobody_takes_is_kept_until_somebody_does(world: World) -> None:
    async def fail(_: Delivery) -> None:
        raise ValueError("poison")

    bus, inbox, graves = world.bus(), Inbox(fail), Inbox()
    bus.subscribe(world.queue(delivery_limit=1, dead_letter=world.dead("nowhere.yet")), inbox, prefetch=10)
    await bus.start()
    with capture_logs() as logs:
        await bus.publish([frame(world.key(), "poison")])
        await inbox.wait_for(2)

        async def told() -> bool:
            return any("nobody takes dead letters" in entry["event"] for entry in logs)

        await until(told)
    await bus.subscribe(world.queue("graves", world.dead("nowhere.*")), graves, prefetch=10).start()
    (dead,) = await graves.wait_for(1)
    assert (dead.body, dead.died_in) == (b"poison", world.name("work"))
    assert len(inbox.deliveries) == 2


async def test_what_another_client_writes_is_taken(world: World, client: Redis) -> None:
    """No fields of ours, or nonsense in them."""
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    stream = f"conclave:queue:{world.name('work')}"
    await client.xadd(stream, {"b": b"\xff bare"})
    await client.xadd(stream, {"m": "{{{", "b": "odd"})
    await client.xadd(stream, {"else": "empty"})
    await bus.publish([frame(world.key(), "ours")])  # wakes whoever takes from it
    bare, odd, empty, ours = await inbox.wait_for(4)
    assert (bare.body, bare.type, bare.reply_to, dict(bare.headers)) == (b"\xff bare", "", "", {})
    assert (odd.body, odd.message_id, empty.body, ours.body) == (b"odd", "", b"", b"ours")


async def test_databases_do_not_hear_each_other(own_redis: RedisServer, world: World) -> None:
    here, inbox = world.bus(), Inbox()
    here.subscribe(world.queue(), inbox, prefetch=1)
    await here.start()
    there = RedisBus(own_redis.url.replace("/0", "/1"), confirm_timeout=ANSWERS_WITHIN)
    await there.start()
    with pytest.raises(UnroutableMessage):
        await there.publish([frame(world.key(), "there")])
    await there.close()
    await here.publish([frame(world.key(), "here")])
    await inbox.wait_for(1)
    assert inbox.bodies == ["here"]


async def test_redis_matches_as_topic_routing_does(client: Redis) -> None:
    """The Lua function against the Python one, on keys and patterns that a seed makes."""
    chance = random.Random(20)
    pairs = []
    for _ in range(5_000):
        pattern = ".".join(chance.choice(["a", "b", "", "*", "#", "#"]) for _ in range(chance.randrange(5)))
        key = ".".join(chance.choice(["a", "b", "", "c"]) for _ in range(chance.randrange(5)))
        pairs.append((pattern, key))
    script = f"""{NAMES}{ROUTING}
    local found = {{}}
    for i = 1, #ARGV, 2 do
      found[#found + 1] = matches(ARGV[i], ARGV[i + 1], words(ARGV[i + 1])) and 1 or 0
    end
    return found
    """
    found = await client.eval(script, 0, *(word for pair in pairs for word in pair))
    expected = [topic_matches(pattern, key) for pattern, key in pairs]
    assert [bool(one) for one in found] == expected
    assert 500 < sum(expected) < 4_500


async def test_many_bindings_are_routed_and_forgotten_one_by_one(world: World) -> None:
    """A remembered route is right however bindings come and go."""
    bus = await world.started()
    keys: list[Address] = [world.key(f"agent{number}.act") for number in range(50)]
    for number in range(50):
        with pytest.raises(UnroutableMessage):
            await bus.publish([frame(keys[number])])
        await bus.declare(world.queue(f"queue{number}", world.key(f"agent{number}.*")))
        await bus.publish([frame(key) for key in keys[: number + 1]])
    everything = world.queue("everything", world.key("#"))
    await bus.declare(everything)
    inbox = Inbox()
    for number in range(0, 50, 2):
        await bus.remove(world.queue(f"queue{number}", world.key(f"agent{number}.*")), inbox)
    await bus.publish([frame(key) for key in keys])  # all still reach ``everything``
    counts = Inbox()
    await bus.remove(everything, counts)
    assert len(counts.deliveries) == 50
    assert len(inbox.deliveries) == sum(50 - number for number in range(0, 50, 2))
    with pytest.raises(UnroutableMessage, match=r"agent0\.act"):
        await bus.publish([frame(key) for key in keys])
