"""The topology in RabbitMQ's terms: which arguments a queue is declared with."""

from typing import Any, cast

import aiormq
from aio_pika.abc import AbstractRobustChannel, AbstractRobustQueue
from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType, QuorumQueueArgs

from contracts.topology import Exchange, Queue, QueueKind

# RabbitMQ 4 gives a quorum queue without a limit one of 20, and 3.x refuses its "-1 = unlimited". A number that no
# message reaches is declared alike on both, so that a broker can be upgraded under its queues.
NO_LIMIT = 1_000_000_000


def queue_arguments(queue: Queue) -> dict[str, Any]:
    """What a queue is declared with; a broker refuses to declare it again with anything else."""
    if queue.kind is QueueKind.BROADCAST:
        return {"x-queue-type": "classic"}
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": NO_LIMIT if queue.delivery_limit is None else queue.delivery_limit,
    }
    if queue.delivery_limit is not None:
        # Not with "x-dead-letter-strategy: at-least-once": in RabbitMQ 3.10 such a queue may elect its leader, at boot,
        # before the part that does this runs, and then dies for good. Left out, a policy can set it on a later version.
        arguments["x-dead-letter-exchange"] = queue.dead_letter.exchange.value
        arguments["x-dead-letter-routing-key"] = queue.dead_letter.key
    if queue.kind is QueueKind.SINGLE:
        arguments["x-single-active-consumer"] = True
    return arguments


def exchange_of(exchange: Exchange, *, passive: bool = False) -> RabbitExchange:
    """Every exchange of ours is a durable topic exchange. ``passive``: it is there, and only looked up."""
    return RabbitExchange(exchange.value, type=ExchangeType.TOPIC, durable=True, declare=not passive)


async def declare_plain_exchange(
    channel: aiormq.abc.AbstractChannel, exchange: Exchange, *, passive: bool = False
) -> None:
    """Declare it on a channel that does not come back after a reconnect."""
    await channel.exchange_declare(
        exchange.value, exchange_type=ExchangeType.TOPIC.value, durable=True, passive=passive
    )


def documented_queue(queue: Queue) -> RabbitQueue:
    """The queue as FastStream describes it in the AsyncAPI document, with the first of its bindings."""
    routing_key = queue.bindings[0].key if queue.bindings else ""
    if queue.kind is QueueKind.BROADCAST:
        return RabbitQueue(queue.name, durable=False, exclusive=True, auto_delete=True, routing_key=routing_key)
    arguments = cast(QuorumQueueArgs, queue_arguments(queue))
    return RabbitQueue(queue.name, queue_type=QueueType.QUORUM, arguments=arguments, routing_key=routing_key)


async def declare_queue(channel: AbstractRobustChannel, queue: Queue, *, passive: bool = False) -> AbstractRobustQueue:
    """Declare a queue with all its bindings; the channel declares them again whenever it reconnects. ``passive``: it is
    there with its bindings, made by somebody who may, and only looked up."""
    broadcast = queue.kind is QueueKind.BROADCAST
    declared = await channel.declare_queue(
        queue.name,
        durable=not broadcast,
        exclusive=broadcast,
        auto_delete=broadcast,
        arguments=queue_arguments(queue),
        passive=passive,
    )
    for binding in () if passive else queue.bindings:
        await declared.bind(binding.exchange.value, routing_key=binding.key)
    return declared
