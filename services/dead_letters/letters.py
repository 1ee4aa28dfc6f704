"""From a delivery to a dead letter, and back to the message it was. Pure."""

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress

from pydantic import BaseModel, ValidationError

from contracts.catalog import MESSAGES
from contracts.dead_letters import DeadLetter
from contracts.envelope import Message, envelope_of
from contracts.topology import Address, Exchange
from services.runtime.bus import delivering
from services.runtime.bus.base import Delivery, Frame
from services.runtime.security.signatures import CLAIMS, SIGNATURE, Malformed, read

_SHORT = 250  # characters: of what is listed and filtered by
_STORY = (delivering.QUEUE, delivering.EXCHANGE, delivering.ROUTING_KEY)
_LATEST = 253_402_300_799  # epoch seconds: the last second of year 9999


class NoWayBack(ValueError):
    """It is not known where this message was published to."""


def letter_of(delivery: Delivery, now: float) -> DeadLetter:
    """What is kept of a message that could not be handled. ``now``, in epoch seconds, is when it died if the message
    does not say so itself. Anyone may have sent it, so nothing in it is relied upon."""
    headers, body = delivery.headers, delivery.body
    text = _as_text(body)
    own = {_clean(name): _clean(value) for name, value in headers.items() if not _is_ours(name)}
    address = _first_address(delivery)
    return DeadLetter(
        id=_id(delivery),
        reason=_clean(headers.get(delivering.REASON) or delivery.routing_key)[:_SHORT],
        detail=_clean(headers.get(delivering.DETAIL) or _died(delivery))[: delivering.DETAIL_LIMIT],
        queue=_clean(headers.get(delivering.DIED_IN) or headers.get(delivering.QUEUE) or delivery.died_in)[:_SHORT],
        exchange=address.exchange.value if address else "",
        routing_key=_clean(address.key) if address else "",
        message_id=_clean(delivery.message_id),
        type=_clean(delivery.type)[:_SHORT],
        correlation_id=_clean(delivery.correlation_id),
        reply_to=_clean(delivery.reply_to),
        headers=delivering.fitting(own),  # published again, they are to fit into a frame with what is added then
        body=base64.b64encode(body).decode() if text is None else text,
        encoded=text is None,
        size=len(body),
        died_at=_time_in(headers.get(delivering.DIED_AT, ""), now),
    )


def message_of(letter: DeadLetter) -> Frame:
    """The message as it was first published, marked as a replay: should it die again, that is another letter.

    Nobody waits any more for the reply that it may have asked for. Without that wish a refusal of it becomes a dead
    letter again and is not told to no one.

    Raises:
        NoWayBack: nothing says where it was published to, or it was a reply.
    """
    if not letter.exchange or not letter.routing_key:
        raise NoWayBack("where it was first published to is not known, or it was a reply, whose asker is gone")
    return Frame(
        address=Address(Exchange(letter.exchange), letter.routing_key),
        body=base64.b64decode(letter.body) if letter.encoded else letter.body.encode(),
        type=letter.type,
        message_id=letter.message_id,
        correlation_id=letter.correlation_id,
        headers={**letter.headers, delivering.REPLAY_OF: letter.id},
    )


def correlation_of(letter: DeadLetter) -> str:
    """Which request it belongs to: as its transport says, or else it itself; if neither does, the message is what
    everything that follows from it is called by."""
    if letter.correlation_id or letter.encoded:
        return letter.correlation_id or letter.message_id
    with suppress(ValidationError):
        said = _Said.model_validate_json(letter.body)
        return said.correlation_id or said.id or letter.message_id
    return letter.message_id


class _Said(BaseModel):
    correlation_id: str = ""
    id: str = ""


def unstorable(delivery: Delivery, address: Address) -> Frame:
    """The message on its way to a queue where it is kept as it is."""
    return Frame(
        address=address,
        body=delivery.body,
        type=delivery.type,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        headers=delivery.headers,
    )


def _id(delivery: Delivery) -> str:
    """The same for the same burial, however often it is delivered; another for another burial. Anybody may write the
    burial of another letter beside a message of his own, which must not take that one's place."""
    headers = delivery.headers
    texts = [delivery.message_id, delivery.died_in, delivery.routing_key, headers.get(delivering.REPLAY_OF, "")]
    if burial := headers.get(delivering.BURIAL):
        texts += [burial, delivery.type, *(headers.get(name, "") for name in _STORY)]
        texts += [text for name in sorted(headers) if not _is_ours(name) for text in (name, headers[name])]
    parts = [*(text.encode("utf-8", "replace") for text in texts), delivery.body]
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _first_address(delivery: Delivery) -> Address | None:
    headers = delivery.headers
    exchange, key = headers.get(delivering.EXCHANGE, ""), headers.get(delivering.ROUTING_KEY, "")
    if exchange == Exchange.REPLIES:
        return None
    if exchange and exchange != Exchange.DEAD:
        with suppress(ValueError):
            return Address(Exchange(exchange), key)
        return None
    # The broker moved it here itself, or to a queue of crashed work: its signature says where it was published to.
    # Where it has none, a message of ours knows its own address.
    if (signed := _signed_address(headers)) is not None:
        return signed
    message_class = MESSAGES.get(delivery.type)
    if message_class is None:
        return None
    with suppress(ValidationError, NotImplementedError):
        message: Message = envelope_of(message_class).model_validate_json(delivery.body).payload
        return message.address()
    return None


def _signed_address(headers: Mapping[str, str]) -> Address | None:
    """Not verified: who takes the message there does that. An answer has no way back."""
    try:
        exchange, _, key = read(headers.get(SIGNATURE), headers.get(CLAIMS)).claims.to.partition("/")
    except Malformed:
        return None
    if exchange in (Exchange.REPLIES, Exchange.DEAD) or exchange not in set(Exchange):
        return None
    return Address(Exchange(exchange), key)


def _died(delivery: Delivery) -> str:
    return f"it exceeded the delivery limit of {delivery.died_in}" if delivery.died_in else ""


def _is_ours(name: str) -> bool:
    return name.startswith(delivering.PREFIX)


def _as_text(body: bytes) -> str | None:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text  # which not every database holds in a text


def _clean(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _time_in(text: str, now: float) -> float:
    """Anybody may have written it: what is no date, as ``nan`` and 1e300 are not, nobody could be shown."""
    try:
        time = float(text)
    except ValueError:
        return now
    return time if 0 <= time <= _LATEST else now
