"""What every bus does with a delivery: hand it to its handler, and move it to the dead letters."""

from collections.abc import Mapping

import structlog

from contracts import topology
from services.runtime.bus.base import Delivery, Frame, Receive

log = structlog.get_logger(__name__)

REASON = "x-conclave-reason"
DETAIL = "x-conclave-detail"
QUEUE = "x-conclave-queue"
EXCHANGE = "x-conclave-exchange"
ROUTING_KEY = "x-conclave-routing-key"
DETAIL_LIMIT = 4_000  # characters; AMQP headers must fit into one frame of 128 KiB with everything else


async def hand_over(receive: Receive, delivery: Delivery) -> None:
    """Call ``receive``; if it raises, give the delivery back. Only a cancellation leaves it unsettled."""
    try:
        await receive(delivery)
    except Exception:
        log.exception("receiving failed, message given back", queue=delivery.queue, type=delivery.type)
        await delivery.retry()


def dead_letter(delivery: Delivery, exchange: str, reason: str, detail: str) -> Frame:
    """The message of a delivery, on its way to the dead letters, with its story in the headers.

    ``exchange`` is where it was first published to. Body, type and ids are unchanged, so it can be published again.
    """
    story: Mapping[str, str] = {
        REASON: reason,
        # A lone surrogate, which JSON can spell, has no UTF-8 form.
        DETAIL: detail[:DETAIL_LIMIT].encode("utf-8", "replace").decode(),
        QUEUE: delivery.queue,
        EXCHANGE: exchange,
        ROUTING_KEY: delivery.routing_key,
    }
    return Frame(
        address=topology.dead(reason),
        body=delivery.body,
        type=delivery.type,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        headers={**delivery.headers, **story},
    )
