"""A row that a service's table has for a while: taken up and dropped while the service runs."""

import asyncio
from collections.abc import Callable

from services.runtime.bus.base import Bus, Delivery, Subscription
from services.runtime.bus.delivery_around import DeliveryAround
from services.runtime.service import Receiver, Route


class AddedRoute:
    """Takes messages by a route from ``start`` to ``drop``. Only for a bus that runs."""

    def __init__(self, bus: Bus, receiver: Receiver, route: Route) -> None:
        self._bus = bus
        self._route = route
        self._read = receiver.receive_by(route)
        self._subscription: Subscription | None = None
        self._unsettled = 0
        self._settled = asyncio.Event()
        self._settled.set()

    async def start(self) -> None:
        """
        Raises:
            BusUnavailable: not connected; to be called again.
            BusError: the queue exists with other settings.
        """
        if self._subscription is None:
            route = self._route
            self._subscription = self._bus.subscribe(route.queue, self._receive, prefetch=route.prefetch)
        await self._subscription.start()

    async def drop(self) -> None:
        """Take no more, and wait until everything that was taken is settled."""
        if self._subscription is not None:
            await self._subscription.stop()
        await self._settled.wait()

    async def _receive(self, delivery: Delivery) -> None:
        self._unsettled += 1
        self._settled.clear()
        watched = WatchedDelivery(delivery, self._one_settled)
        try:
            await self._read(watched)
        except BaseException:
            watched.over()  # the bus gives it back, or has been closed
            raise

    def _one_settled(self) -> None:
        self._unsettled -= 1
        if self._unsettled == 0:
            self._settled.set()


class WatchedDelivery(DeliveryAround):
    """A delivery that tells once when it is settled."""

    __slots__ = ("_tell",)

    def __init__(self, delivery: Delivery, tell: Callable[[], None]) -> None:
        super().__init__(delivery)
        self._tell: Callable[[], None] | None = tell

    async def ack(self) -> None:
        await super().ack()
        self.over()

    async def retry(self) -> None:
        await super().retry()
        self.over()

    async def dead_letter(self, reason: str, detail: str) -> None:
        await super().dead_letter(reason, detail)
        self.over()

    def over(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()
