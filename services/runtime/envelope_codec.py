"""Messages to bytes and back. Bus-neutral: signing and encryption have their place here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.catalog import MESSAGES
from contracts.envelope import Envelope, Message, envelope_of, new_id, wrap
from contracts.topology import Address
from services.runtime.bus.base import Delivery, Frame

M = TypeVar("M", bound=Message)


class UnreadableMessage(Exception):
    """A delivery that is no message of ours; ``reason`` is the dead-letter key it goes under."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[M]):
    """A message to be sent, and what its envelope should say.

    ``to`` is only for replies; every other message knows its own address. A message that is published again keeps its
    ``message_id`` and ``sender`` (empty: a new id, and whoever sends it now); ``retry_count`` says how often it failed.
    """

    message: M
    to: Address | None = None
    correlation_id: str = ""
    causation_id: str = ""
    reply_to: str = ""
    message_id: str = ""
    sender: str = ""
    retry_count: int = 0


class _TypeOnly(BaseModel):
    type: str


def encode(outgoing: Outgoing[M], sender: str) -> Frame:
    message = outgoing.message
    address = outgoing.to or message.address()
    envelope = wrap(
        message,
        sender=outgoing.sender or sender,
        receiver=address.key,
        correlation_id=outgoing.correlation_id,
        causation_id=outgoing.causation_id,
        message_id=outgoing.message_id or new_id(),
        retry_count=outgoing.retry_count,
    )
    return Frame(
        address=address,
        body=envelope.model_dump_json().encode(),
        type=message.TYPE,
        message_id=envelope.id,
        correlation_id=outgoing.correlation_id,
        reply_to=outgoing.reply_to,
    )


def decode(delivery: Delivery, accepts: Mapping[str, type[Message]]) -> Envelope[Message]:
    """Read a delivery as one of the ``accepts`` messages (by type).

    The type is taken from the transport's property where there is one, so the body is parsed once; a client that
    sets no property pays a second look.

    Raises:
        UnreadableMessage: not JSON, no type, an unknown or unexpected type or version, or failing its contract.
    """
    kind = delivery.type or _type_in(delivery.body)
    message_class = accepts.get(kind)
    if message_class is None:
        taken = ", ".join(sorted(accepts))
        if kind in MESSAGES:
            raise UnreadableMessage("unknown-type", f"{kind!r} is not taken from {delivery.queue}, only: {taken}")
        raise UnreadableMessage("unknown-type", f"unknown message type {kind!r}; {delivery.queue} takes: {taken}")
    try:
        envelope = envelope_of(message_class).model_validate_json(delivery.body)
    except ValidationError as error:
        raise UnreadableMessage("contract", f"{kind}: {_in_words(error)}") from error
    if envelope.type != kind:
        raise UnreadableMessage("contract", f"the type property says {kind!r}, the envelope {envelope.type!r}")
    return envelope


def _type_in(body: bytes) -> str:
    try:
        return _TypeOnly.model_validate_json(body).type
    except ValidationError as error:
        raise UnreadableMessage("contract", f"no envelope: {_in_words(error)}") from error


def _in_words(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    text = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'message'}: {f['msg']}" for f in faults[:20])
    return text + (f"; and {len(faults) - 20} more" if len(faults) > 20 else "")
