"""RedisBus: consumers that die or hang, and a Redis that goes away, comes back, hangs, forgets or refuses."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from contracts.topology import Address, Queue, QueueKind
from scripts.redis_server import RedisServer
from scripts.servers import free_port
from services.runtime.bus.base import Bus, BusError, BusUnavailable, Delivery, Frame, UnroutableMessage
from services.runtime.bus.redis import RedisBus
from services.runtime.bus.redis_lua import NAMES, ROUTING
from services.runtime.bus.topic_routing import topic_matches
from tests.support.buses import Inbox, World, frame, frames, hold, redis_world

pytestmark = pytest.mark.redis

ROOT = Path(__file__).resolve().parents[2]
CONFIRM_TIMEOUT = 2.0
PATIENCE = 60.0
TIME_TO_LIVE = 2.0

HOLDER = """
import asyncio, sys
from contracts.topology import Address, Exchange, Queue, QueueKind
from services.runtime.bus.redis import RedisBus

async def main():
    url, name, kind, settle, limit, grave = sys.argv[1:]
    async def receive(delivery):
        print(delivery.body.decode(), delivery.redeliveries, flush=True)
        if settle == "settle":
            await delivery.ack()
    bus = RedisBus(url, time_to_live=2.0)
    work = (Address(Exchange.COMMANDS, name),), QueueKind(kind), int(limit), Address(Exchange.DEAD, grave)
    bus.subscribe(Queue(name, *work), receive, prefetch=3)
    feed = Queue(name + ".feed", (Address(Exchange.EVENTS, name),), QueueKind.BROADCAST, delivery_limit=None)
    bus.subscribe(feed, receive, prefetch=3)
    await bus.start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def world(own_redis: RedisServer) -> AsyncIterator[World]:
    world = redis_world(own_redis.url, time_to_live=TIME_TO_LIVE)
    yield world
    await start(own_redis)
    await world.close()


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url) as client:
        yield client


@asynccontextmanager
async def other_process(url: str, queue: Queue, settle: str = "hold") -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that takes up to three messages of the queue, says which, and does nothing else. It listens to events
    of the queue's name too."""
    words = (url, queue.name, queue.kind.value, settle, str(queue.delivery_limit), queue.dead_letter.key)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process, beginning: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            line = (await process.stdout.readline()).decode().strip()
            if line.startswith(beginning) or not line:
                return line


async def stop(server: RedisServer) -> None:
    await asyncio.to_thread(server.stop)


async def start(server: RedisServer) -> None:
    await asyncio.to_thread(server.start)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await reached():
            await asyncio.sleep(0.05)


async def until_published(bus: Bus, message: Frame) -> None:
    """Publish as a client does that must get its message through: again under the same id until it is confirmed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await bus.publish([message])
            except BusUnavailable:
                await asyncio.sleep(0.05)


# ---- consumers


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
    async with other_process(own_redis.url, queue, settle="settle") as process:
        assert await line_of(process, "ready")
        bus, inbox = world.bus(), Inbox()
        await bus.start()
        os.kill(process.pid, signal.SIGSTOP)
        await bus.publish(frames(world.key(), 2))  # the first wakes nobody but the one that sleeps
        await bus.subscribe(queue, inbox, prefetch=10).start()
        await inbox.wait_for(2)
        await asyncio.sleep(2 * TIME_TO_LIVE)
        os.kill(process.pid, signal.SIGCONT)
        for number in range(200):  # dealt out in turn to those who take, so some come there
            await bus.publish([frame(world.key(), f"later{number}")])
            await asyncio.sleep(0.02)
        assert (await line_of(process, "later")).startswith("later")
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


# ---- what stays in Redis


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
    calls = (await client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.sleep(TIME_TO_LIVE)
    assert (await client.info("commandstats"))["cmdstat_evalsha"]["calls"] - calls <= 5  # it says that it lives


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


# ---- a Redis that goes away


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


async def until_away(bus: Bus) -> None:
    async def away() -> bool:
        return not bus.connected

    await until(away)


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
    killed = asyncio.Event()

    async def publish(number: int) -> None:
        await until_published(bus, frame(world.key(), str(number)))
        if number == 200:
            killed.set()

    async def kill() -> None:
        await killed.wait()
        await asyncio.to_thread(own_redis.kill)
        await start(own_redis)

    async def publish_all() -> None:
        for begin in range(0, 1000, 20):
            await asyncio.gather(*(publish(number) for number in range(begin, begin + 20)))

    await asyncio.gather(publish_all(), kill())
    wanted = {str(number) for number in range(1000)}
    await inbox.wait_until(lambda: wanted <= set(inbox.bodies))
    assert set(inbox.bodies) == wanted


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
    for _ in range(3):
        async with asyncio.timeout(CONFIRM_TIMEOUT):
            with pytest.raises(BusUnavailable):
                await bus.publish(frames(world.key(), 10))
    with pytest.raises(BusUnavailable):
        await bus.declare(world.queue("other"))
    with pytest.raises(BusUnavailable):
        await bus.remove(world.queue("other"), hold)
    assert not bus.connected


async def test_a_redis_that_hangs_is_unavailable_in_time(own_redis: RedisServer, world: World) -> None:
    bus, inbox = world.bus(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    assert own_redis.pid is not None
    os.killpg(own_redis.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT + 1):
            with pytest.raises(BusUnavailable):
                await bus.publish([frame(world.key(), "during")])
    finally:
        os.killpg(own_redis.pid, signal.SIGCONT)
    await until_published(bus, frame(world.key(), "after"))
    await inbox.wait_until(lambda: "after" in inbox.bodies)


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
    bus = RedisBus(own_redis.url)
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
    own_redis: RedisServer, world: World, leave: Callable[[Bus], Awaitable[None]]
) -> None:
    bus, inbox, other_inbox = world.bus(), Inbox(), Inbox()
    bus.subscribe(world.queue(), inbox, prefetch=10)
    await bus.start()
    await stop(own_redis)
    async with asyncio.timeout(3):
        await leave(bus)
    await start(own_redis)
    other = world.bus()
    other.subscribe(world.queue(), other_inbox, prefetch=10)
    await other.start()
    await asyncio.sleep(2 * TIME_TO_LIVE)
    await other.publish(frames(world.key(), 5))
    await other_inbox.wait_for(5)
    assert inbox.bodies == []


# ---- a Redis that refuses


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


async def test_databases_do_not_hear_each_other(own_redis: RedisServer, world: World) -> None:
    here, inbox = world.bus(), Inbox()
    here.subscribe(world.queue(), inbox, prefetch=1)
    await here.start()
    there = RedisBus(own_redis.url.replace("/0", "/1"))
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
