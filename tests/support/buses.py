"""What tests of buses share: worlds in which several connections meet, and inboxes that collect what arrives."""

import asyncio
import fcntl
import hashlib
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aio_pika
from aio_pika.exceptions import ChannelClosed
from redis.asyncio import Redis

from contracts import topology
from contracts.envelope import new_id
from contracts.topology import Address, Queue, QueueKind
from services.runtime.bus.base import Bus, Delivery, Frame
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.redis import RedisBus
from services.runtime.bus.redis_lua import PREFIX
from services.runtime.security.signatures import CLAIMS, ENDORSEMENT, SIGNATURE

PATIENCE = 60.0  # seconds until a test gives up on something that has to happen
# A world's buses are patient with a broker that shares its machine with other tests, and with a test that stands still
# for a while itself: not how fast a broker answers is tried there.
ANSWERS_WITHIN = 30.0


class World:
    """One broker, any number of connections to it, and names that no other test has."""

    def __init__(self, make_bus: Callable[[float], Bus]) -> None:
        self.make_bus = make_bus
        self._buses: list[Bus] = []
        self.queues: list[Queue] = []
        self.prefix = f"t{new_id()[:12]}"

    def bus(self, *, drain_timeout: float = PATIENCE) -> Bus:
        bus = self.make_bus(drain_timeout)
        self._buses.append(bus)
        return bus

    async def started(self) -> Bus:
        bus = self.bus()
        await bus.start()
        return bus

    def name(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    def key(self, key: str = "work") -> Address:
        """An address that must arrive."""
        return topology.command(self.name(key))

    def event(self, key: str) -> Address:
        return topology.event(self.name(key))

    def dead(self, reason: str) -> Address:
        return topology.dead(self.name(reason))

    def queue(
        self,
        name: str = "work",
        *bindings: Address,
        kind: QueueKind = QueueKind.WORK,
        delivery_limit: int | None = 20,
        dead_letter: Address | None = None,
    ) -> Queue:
        """A queue of this world, by default bound to the key of its own name. What is dead is taken as it came."""
        queue = Queue(
            self.name(name),
            bindings or (self.key(name),),
            kind,
            delivery_limit,
            dead_letter or topology.dead("delivery-limit"),
            sealed=any(binding.exchange is topology.Exchange.DEAD for binding in bindings),
        )
        self.queues.append(queue)
        return queue

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()


def direct_world() -> World:
    broker = DirectBroker()
    return World(lambda drain_timeout: DirectBus(broker, drain_timeout=drain_timeout))


def rabbit_world(url: str) -> World:
    return World(lambda drain_timeout: RabbitBus(url, drain_timeout=drain_timeout, confirm_timeout=ANSWERS_WITHIN))


def redis_world(url: str, *, time_to_live: float = 10.0) -> World:
    return World(
        lambda drain_timeout: RedisBus(
            url, drain_timeout=drain_timeout, confirm_timeout=ANSWERS_WITHIN, time_to_live=time_to_live
        )
    )


@contextmanager
def alone_on(url: str) -> Iterator[None]:
    """Until the end of the block no other test that says so runs on that broker, in whichever process: for tests of
    queues that a broker has once. Two keepers of dead letters would share them, and who tidies up takes the registry's
    queue away from under another's registry."""
    name = hashlib.sha256(url.encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"conclave-tests-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def delete_redis_queues(url: str, names: list[str]) -> None:
    """Without a word to anybody: for queues that no connection uses any more."""
    async with Redis.from_url(url) as client:
        for name in names:
            for binding in await client.smembers(f"{PREFIX}bound:{name}"):
                exchange, pattern = binding.decode().split("\0")
                await client.srem(f"{PREFIX}bindings:{exchange}", f"{pattern}\0{name}")
                await client.delete(f"{PREFIX}routes:{exchange}")
            await client.delete(*(f"{PREFIX}{kind}:{name}" for kind in ("bound", "queue", "consumers", "waiting")))
            await client.hdel(f"{PREFIX}queues", name)
            await client.srem(f"{PREFIX}unburied", name)


async def delete_queues(url: str, names: list[str]) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        for name in names:
            channel = await connection.channel()
            try:
                await channel.queue_delete(name)
            except ChannelClosed:
                continue
            await channel.close()


class Inbox:
    """A receiver that keeps every delivery in the order of arrival, and settles it as it is told."""

    def __init__(self, settle: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self._settle = settle or (lambda delivery: delivery.ack())
        self._arrived = asyncio.Condition()

    async def __call__(self, delivery: Delivery) -> None:
        async with self._arrived:
            self.deliveries.append(delivery)
            self._arrived.notify_all()
        await self._settle(delivery)

    @property
    def bodies(self) -> list[str]:
        return [delivery.body.decode() for delivery in self.deliveries]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.bodies)

    async def wait_for(self, count: int) -> list[Delivery]:
        """All deliveries, once there are at least ``count``."""
        return await self.wait_until(lambda: len(self.deliveries) >= count)

    async def wait_until(self, reached: Callable[[], bool]) -> list[Delivery]:
        async with asyncio.timeout(PATIENCE), self._arrived:
            await self._arrived.wait_for(reached)
            return list(self.deliveries)


async def hold(_: Delivery) -> None:
    """Settle nothing: the test does."""


def headers_set(delivery: Delivery) -> dict[str, str]:
    """The headers that the test set, and not those of a bus that signs."""
    return {name: value for name, value in delivery.headers.items() if name not in (SIGNATURE, CLAIMS, ENDORSEMENT)}


def frame(address: Address, body: str = "hello", **fields: object) -> Frame:
    return Frame(
        address=address,
        body=body.encode(),
        type=str(fields.get("type", "test.message.v1")),
        message_id=str(fields.get("message_id", new_id())),
        correlation_id=str(fields.get("correlation_id", "")),
        reply_to=str(fields.get("reply_to", "")),
        headers=fields.get("headers", {}),  # type: ignore[arg-type]
    )


def frames(address: Address, count: int, prefix: str = "") -> list[Frame]:
    return [frame(address, f"{prefix}{number}") for number in range(count)]
