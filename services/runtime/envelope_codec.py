"""Messages to bytes and back. Bus-neutral: whoever signed the bytes, or encrypted them, this is what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.catalog import MESSAGES
from contracts.envelope import Envelope, Message, envelope_of, new_id, wrap
from contracts.topology import Address
from contracts.traceparent import HEADER as TRACEPARENT
from services.runtime.bus.base import Delivery, Frame
from services.runtime.security.encryption import is_encrypted
from services.runtime.security.senders import ForbiddenSender, check_sender

M = TypeVar("M", bound=Message)


# Twice what the largest of our own has, a batch with one value of 8 MiB; larger ones would hold up everybody else.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
# Its id becomes the correlation id of the answer, and that is a short string of AMQP; other characters have up to 4.
MAX_ID_BYTES = 255


_ENCRYPTED = "it is encrypted, and MESSAGE_ENCRYPTION is off here"


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
    ``actor``: see the envelope. ``traceparent``: the span that it is sent under, which travels as a message header.
    """

    message: M
    to: Address | None = None
    correlation_id: str = ""
    causation_id: str = ""
    reply_to: str = ""
    message_id: str = ""
    sender: str = ""
    retry_count: int = 0
    actor: str = ""
    traceparent: str = ""


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
        actor=outgoing.actor,
    )
    return Frame(
        address=address,
        body=envelope.model_dump_json().encode(),
        type=message.TYPE,
        message_id=envelope.id,
        correlation_id=outgoing.correlation_id,
        reply_to=outgoing.reply_to,
        headers={TRACEPARENT: outgoing.traceparent} if outgoing.traceparent else {},
    )


def decode(delivery: Delivery, accepts: Mapping[str, type[Message]]) -> Envelope[Message]:
    """Read a delivery as one of the ``accepts`` messages (by type).

    The type is taken from the transport's property where there is one, so the body is parsed once; a client that
    sets no property pays a second look.

    Raises:
        UnreadableMessage: not JSON, no type, an unknown or unexpected type or version, failing its contract, or signed
            by one who may not send it.
    """
    if len(delivery.body) > MAX_MESSAGE_BYTES:
        raise UnreadableMessage("contract", f"{len(delivery.body):,} bytes; at most {MAX_MESSAGE_BYTES:,} are read")
    kind = delivery.type or _type_in(delivery.body)
    message_class = accepts.get(kind)
    if message_class is None:
        taken = ", ".join(sorted(accepts))
        if kind in MESSAGES:
            raise UnreadableMessage("unknown-type", f"{kind!r} is not taken from {delivery.queue}, only: {taken}")
        raise UnreadableMessage("unknown-type", f"unknown message type {kind[:200]!r}; {delivery.queue} takes: {taken}")
    try:
        envelope = envelope_of(message_class).model_validate_json(delivery.body)
    except ValidationError as error:
        why = _ENCRYPTED if is_encrypted(delivery.body) else _in_words(error)
        raise UnreadableMessage("contract", f"{kind}: {why}") from error
    if envelope.type != kind:
        detail = f"the type property says {kind!r}, the envelope {envelope.type[:200]!r}"
        raise UnreadableMessage("contract", detail)
    if delivery.message_id and delivery.message_id != envelope.id:
        # What is known of a message by its id, such as that it was signed and not seen before, is of one message only.
        detail = f"the message id property says {delivery.message_id!r}, the envelope {envelope.id!r}"
        raise UnreadableMessage("contract", detail)
    if not (_is_short(envelope.id) and _is_short(envelope.correlation_id)):
        raise UnreadableMessage("contract", f"its id and its correlation id may have {MAX_ID_BYTES} bytes each")
    signer = delivery.signer
    if signer is not None:
        try:
            check_sender(signer, envelope)
        except ForbiddenSender as error:
            raise UnreadableMessage("forbidden-sender", error.detail) from error
    return envelope


def _is_short(text: str) -> bool:
    return text.isascii() or len(text.encode()) <= MAX_ID_BYTES


def _type_in(body: bytes) -> str:
    try:
        return _TypeOnly.model_validate_json(body).type
    except ValidationError as error:
        raise UnreadableMessage("contract", f"no envelope: {_in_words(error)}") from error


def _in_words(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    text = "; ".join(f"{'.'.join(map(str, f['loc']))[:200] or 'message'}: {f['msg']}" for f in faults[:20])
    return text + (f"; and {len(faults) - 20} more" if len(faults) > 20 else "")
