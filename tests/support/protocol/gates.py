"""What a replica holds of the world outside: its store, its bus, its deliveries, with a gate at every await."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.history import Header, LogEntry
from services.runtime.bus.base import Frame

if TYPE_CHECKING:
    from tests.support.protocol.world import Replica, World


class Violation(AssertionError):
    """The protocol broke a promise."""


class Dead(BaseException):
    """A crashed process does nothing more."""


@dataclass(eq=False)
class Parcel:
    """A message in a queue; ``redeliveries`` counts how often it came back, ``forged`` ones must change nothing."""

    body: bytes
    type: str
    redeliveries: int = 0
    forged: bool = False


@dataclass(eq=False)
class TakenDelivery:
    """What a consumer holds. Settling it after its connection was cut does nothing."""

    world: "World"
    parcel: Parcel
    owner: "Replica"
    connection: int
    message_id: str = ""
    correlation_id: str = ""
    reply_to: str = ""
    queue: str = "shard"
    routing_key: str = "shard.0"
    died_in: str = ""
    signer: None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return self.parcel.body

    @property
    def type(self) -> str:
        return self.parcel.type

    @property
    def redeliveries(self) -> int:
        return self.parcel.redeliveries

    async def ack(self) -> None:
        await self.world.gate(self.owner, "ack")
        if self.connection == self.owner.connection:
            if self.parcel.forged:
                self.world.taken_forgeries.append(self.parcel)
            self.world.check_heard(self.parcel)
            self.world.unsettled.discard(self)

    async def retry(self) -> None:
        raise Violation("nothing gives a message back here")

    async def dead_letter(self, reason: str, detail: str) -> None:
        await self.world.gate(self.owner, "dead letter")
        if self.connection == self.owner.connection:
            self.world.unsettled.discard(self)
            if not self.parcel.forged or reason != "forbidden-sender":
                self.world.dead_letters.append((reason, detail))
            if reason == "handler-failed" and "Violation" not in detail:
                self.world.broken = f"the code under test failed otherwise than by the protocol: {detail}"


class GatedStore:
    """One replica's way to the store: every call waits at a gate before it happens, and again before it answers."""

    def __init__(self, world: "World", replica: "Replica") -> None:
        self._world = world
        self._replica = replica

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        stored: set[str] = set()
        for entry in entries:  # unordered: a crash may leave any part of it done
            await self._world.gate(self._replica, "append")
            stored |= await self._world.append(entry)
        await self._world.gate(self._replica, "append answers")
        return stored

    async def read_log(self, after: dict[str, int]) -> dict[str, list[LogEntry]]:
        await self._world.gate(self._replica, "read log")
        logs = await self._world.store.read_log(after)
        await self._world.gate(self._replica, "log read")
        return logs

    async def write_headers(self, headers: Sequence[Header]) -> None:
        for header in headers:
            await self._world.gate(self._replica, "header")
            await self._world.store.write_headers([header])

    async def put_payloads(self, payloads: dict[str, Any]) -> None:
        await self._world.store.put_payloads(payloads)

    async def get_payloads(self, ids: set[str]) -> dict[str, Any]:
        return await self._world.store.get_payloads(ids)


class GatedBus:
    """One replica's way to the broker."""

    def __init__(self, world: "World", replica: "Replica") -> None:
        self._world = world
        self._replica = replica

    async def publish(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self._world.gate(self._replica, f"publish {frame.type}")
            self._world.published(frame)
