"""A delivery around another: it says and does what that one does, but for what a subclass changes."""

from collections.abc import Mapping
from datetime import datetime

from services.runtime.bus.base import Delivery
from services.runtime.security.principal import Principal


class DeliveryAround(Delivery):
    """``came`` is the delivery as it came."""

    __slots__ = ("came",)

    def __init__(self, came: Delivery) -> None:
        self.came = came

    @property
    def body(self) -> bytes:
        return self.came.body

    @property
    def type(self) -> str:
        return self.came.type

    @property
    def message_id(self) -> str:
        return self.came.message_id

    @property
    def correlation_id(self) -> str:
        return self.came.correlation_id

    @property
    def reply_to(self) -> str:
        return self.came.reply_to

    @property
    def headers(self) -> Mapping[str, str]:
        return self.came.headers

    @property
    def queue(self) -> str:
        return self.came.queue

    @property
    def exchange(self) -> str:
        return self.came.exchange

    @property
    def routing_key(self) -> str:
        return self.came.routing_key

    @property
    def redeliveries(self) -> int:
        return self.came.redeliveries

    @property
    def signer(self) -> Principal | None:
        return self.came.signer

    @property
    def died_in(self) -> str:
        return self.came.died_in

    def was_sent(self, at: datetime) -> None:
        self.came.was_sent(at)

    async def ack(self) -> None:
        await self.came.ack()

    async def retry(self) -> None:
        await self.came.retry()

    async def dead_letter(self, reason: str, detail: str) -> None:
        await self.came.dead_letter(reason, detail)
