"""From a delivery of the auditor's queue, which comes as it was published, to a copy that can be read."""

from collections.abc import Callable

from services.auditor.copies import Copy
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.secured import opener_of
from services.runtime.security.verifying import Refused

OpenCopy = Callable[[Delivery], Copy]


def opening_of(bus: Bus) -> OpenCopy:
    """What opens the copies that come over this bus: verifies their signatures and decrypts them, where the bus does.
    What it refuses is a copy with a fault."""
    opener = opener_of(bus)

    def open_copy(delivery: Delivery) -> Copy:
        try:
            return copy_of(opener.open(delivery))
        except Refused as refused:
            return copy_of(delivery, fault=f"{refused.reason}: {refused.detail}")

    return open_copy


def copy_of(delivery: Delivery, *, fault: str = "") -> Copy:
    return Copy(
        exchange=delivery.exchange,
        routing_key=delivery.routing_key,
        type=delivery.type,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        body=delivery.body,
        headers=delivery.headers,
        died_in=delivery.died_in,
        signer=delivery.signer,
        fault=fault,
    )
