"""What RabbitMQ refuses this user: to publish somewhere, to make an exchange or a queue.

A refusal closes its channel, and with it goes whatever else was under way there.
"""

import asyncio
import re
from collections.abc import Callable

import aiormq
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from contracts import topology
from contracts.topology import Address, Exchange, Queue, QueueKind
from services.runtime.bus.base import BusError, Frame, UnroutableMessage
from services.runtime.bus.rabbit_permissions import WORD, pattern
from services.runtime.bus.rabbit_topology import declare_plain_exchange

_HOW_TO = "scripts/rabbitmq_users.py makes it"
_OF_ONE_AGENT = re.compile(pattern([topology.agent_queue(WORD, WORD).name]))


class PublishRefused(UnroutableMessage):
    """RabbitMQ does not let this user publish to an address. It never will, as an address that no queue takes from."""

    def __init__(self, frame: Frame, refusal: ChannelAccessRefused) -> None:
        BusError.__init__(
            self,
            f"RabbitMQ does not let this user publish {frame.type} to exchange"
            f" {frame.address.exchange.value!r} with key {frame.address.key!r}: {refusal}",
        )
        self.address = frame.address
        self.message_type = frame.type


def is_about(refusal: ChannelAccessRefused, address: Address) -> bool:
    """Whether it is this address that may not be published to; others on the channel fail with the same error."""
    told = str(refusal)
    if f"exchange '{address.exchange.value}'" not in told:
        return False
    return "topic '" not in told or f"topic '{address.key}'" in told


async def until(is_open: Callable[[], bool]) -> None:
    """Wait for a channel that a refusal has closed to be open again."""
    while True:
        if is_open():
            return
        await asyncio.sleep(0.01)


async def may_make_exchanges(connection: aiormq.abc.AbstractConnection) -> bool:
    """Whether this user may; if not, they are all there.

    Raises:
        BusError: it may not, and one is missing.
    """
    channel = await connection.channel()
    try:
        for exchange in Exchange:
            await declare_plain_exchange(channel, exchange)
    except ChannelAccessRefused as refusal:
        await _all_exist(await connection.channel(), refusal)
        return False
    await channel.close()
    return True


def is_made_beforehand(queue: Queue) -> bool:
    """Whether users that make no exchanges find this queue there. Broadcast queues are their own, and an agent's queue
    comes and goes with the agent: the registry makes it, hosts are refused."""
    return queue.kind is not QueueKind.BROADCAST and _OF_ONE_AGENT.fullmatch(queue.name) is None


async def queue_exists(channel: aiormq.abc.AbstractChannel, queue: Queue) -> None:
    """
    Raises:
        BusError: it does not, and this user does not make it.
    """
    try:
        await channel.queue_declare(queue.name, passive=True)
    except ChannelNotFoundEntity:
        raise missing(queue) from None
    await channel.close()


def missing(queue: Queue) -> BusError:
    return BusError(f"there is no queue {queue.name!r}, and this user may not make it: {_HOW_TO}")


async def _all_exist(channel: aiormq.abc.AbstractChannel, refusal: ChannelAccessRefused) -> None:
    for exchange in Exchange:
        try:
            await declare_plain_exchange(channel, exchange, passive=True)
        except ChannelNotFoundEntity:
            raise BusError(
                f"there is no exchange {exchange.value!r}, and this user may not make it ({refusal}): {_HOW_TO}"
            ) from None
    await channel.close()
