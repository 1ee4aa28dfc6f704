"""A bus around another: it does what that one does, but for what a subclass changes."""

from collections.abc import Sequence
from typing import Any

from contracts.envelope import Message
from contracts.topology import Queue
from services.runtime.bus.base import Bus, Frame, QueueFigures, Receive, Subscription


class BusAround(Bus):
    """``inner`` is the bus within, whose other attributes, such as FastStream's ``broker``, are reached through this
    one."""

    def __init__(self, inner: Bus) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def around(self, queue: Queue, receive: Receive) -> Receive:
        """What is to be called for a delivery from that queue instead of ``receive``."""
        return receive

    @property
    def connected(self) -> bool:
        return self.inner.connected

    def subscribe(
        self, queue: Queue, receive: Receive, *, prefetch: int, accepts: Sequence[type[Message]] = ()
    ) -> Subscription:
        return self.inner.subscribe(queue, self.around(queue, receive), prefetch=prefetch, accepts=accepts)

    def not_consuming(self) -> tuple[str, ...]:
        return self.inner.not_consuming()

    async def step_back(self, queue: Queue) -> None:
        await self.inner.step_back(queue)

    async def measure(self, queues: Sequence[Queue]) -> dict[str, QueueFigures]:
        return await self.inner.measure(queues)

    async def declare(self, queue: Queue) -> None:
        await self.inner.declare(queue)

    async def remove(self, queue: Queue, receive: Receive) -> None:
        await self.inner.remove(queue, self.around(queue, receive))

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        await self.inner.start(declares)

    async def publish(self, frames: Sequence[Frame]) -> None:
        await self.inner.publish(frames)

    async def stop_consuming(self) -> None:
        await self.inner.stop_consuming()

    async def close(self) -> None:
        await self.inner.close()
