"""What every bus does with a delivery: hand it to its handler, and move it to the dead letters."""

import hashlib
import time
from collections.abc import Mapping

import structlog

from contracts import topology
from contracts.envelope import new_id
from services.runtime.bus.base import Delivery, Frame, Receive
from services.runtime.correlation import holding

log = structlog.get_logger(__name__)

PREFIX = "x-conclave-"
REASON = "x-conclave-reason"
DETAIL = "x-conclave-detail"
QUEUE = "x-conclave-queue"
EXCHANGE = "x-conclave-exchange"
ROUTING_KEY = "x-conclave-routing-key"
DIED_IN = "x-conclave-died-in"  # only where a delivery limit was exceeded: the queue it belonged to
DIED_AT = "x-conclave-died-at"  # epoch seconds
BURIAL = "x-conclave-burial"  # the same for the same message in the same queue for the same reason
REPLAY_OF = "x-conclave-replay-of"  # set by whoever publishes a dead letter again: its id
DETAIL_LIMIT = 4_000  # characters; AMQP headers must fit into one frame of 128 KiB with everything else
HEADERS_LIMIT = 96 * 1024  # bytes of what the sender set; with more, the broker would close the connection
_BYTES_EACH = 8  # of a header beside its name and value


async def hand_over(receive: Receive, delivery: Delivery) -> None:
    """Call ``receive``; if it raises, give the delivery back. Only a cancellation leaves it unsettled."""
    with holding(correlation_id=delivery.correlation_id):
        try:
            await receive(delivery)
        except Exception:
            log.exception("receiving failed, message given back", queue=delivery.queue, type=delivery.type)
            await delivery.retry()


def dead_letter(delivery: Delivery, exchange: str, reason: str, detail: str) -> Frame:
    """The message of a delivery, on its way to the dead letters, with its story in the headers.

    ``exchange`` is where it was first published to. Body, type and ids are unchanged, so it can be published again.
    """
    came = _without_story(delivery.headers)
    headers = fitting(came)
    if missing := len(came) - len(headers):
        note = f" ({missing} of its headers had no room here)"
        detail = detail[: DETAIL_LIMIT - len(note)] + note
    story: dict[str, str] = {
        REASON: reason,
        # A lone surrogate, which JSON can spell, has no UTF-8 form.
        DETAIL: detail[:DETAIL_LIMIT].encode("utf-8", "replace").decode(),
        QUEUE: delivery.queue,
        EXCHANGE: exchange,
        ROUTING_KEY: delivery.routing_key,
        DIED_AT: repr(time.time()),
        BURIAL: _burial(delivery, reason),
    }
    if delivery.died_in:
        story[DIED_IN] = delivery.died_in
    return Frame(
        address=topology.dead(reason),
        body=delivery.body,
        type=delivery.type,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        headers={**headers, **story},
    )


def fitting(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that there is room for, the smallest first. Anybody may send as many as one frame of AMQP holds, and
    whoever passes them on has more to say."""
    sizes = {
        name: len(name.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) + _BYTES_EACH
        for name, value in headers.items()
    }
    if sum(sizes.values()) <= HEADERS_LIMIT:
        return dict(headers)
    kept: dict[str, str] = {}
    room = HEADERS_LIMIT
    for name in sorted(headers, key=lambda name: sizes[name]):
        room -= sizes[name]
        if room < 0:
            break
        kept[name] = headers[name]
    return kept


def _without_story(headers: Mapping[str, str]) -> dict[str, str]:
    """What the sender set, and whether it is a replay; the story of an earlier death is over."""
    return {name: value for name, value in headers.items() if not name.startswith(PREFIX) or name == REPLAY_OF}


def _burial(delivery: Delivery, reason: str) -> str:
    """Publishing may have to be repeated, and the message is to be kept once: so a hash, where the message has an id.
    Messages without one cannot be told from each other."""
    if not delivery.message_id:
        return new_id()
    digest = hashlib.blake2b(digest_size=16)
    texts = (delivery.message_id, delivery.queue, reason, delivery.headers.get(REPLAY_OF, ""))
    for part in (*(text.encode("utf-8", "replace") for text in texts), delivery.body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
