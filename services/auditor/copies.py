"""A copy of a message as the auditor meets it, and what its envelope says of it. Pure.

Anyone may have published it, so nothing in it is relied upon: it may be no JSON, and each field may be anything.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from contracts.execution import ExecutionFailed
from contracts.topology import Exchange
from services.runtime.bus import delivering
from services.runtime.security.principal import Principal, SenderKind

# Of a larger body that one of our own services signed, only the beginning is read: the envelope and the first fields
# of the message stand there, as the contracts write them. What others send may stand in any order, or twice.
READ_WHOLE = 64 * 1024
BEGINNING = 4 * 1024


@dataclass(frozen=True, slots=True)
class Copy:
    """``exchange`` and ``routing_key``: where the copy was published to. ``body`` is readable, or as it came where
    ``fault`` says why it could not be opened (``bad-signature: ...``); ``signer`` is who signed it, if that was
    verified."""

    exchange: str
    routing_key: str
    type: str
    message_id: str
    correlation_id: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    died_in: str = ""
    signer: Principal | None = None
    fault: str = ""

    @property
    def dead(self) -> bool:
        return self.exchange == Exchange.DEAD

    @property
    def source(self) -> str:
        """Where the message was published to first, as far as that is known: an exchange and a key, or a queue."""
        if not self.dead:
            return f"{self.exchange}/{self.routing_key}"
        exchange, key = self.headers.get(delivering.EXCHANGE, ""), self.headers.get(delivering.ROUTING_KEY, "")
        return f"{exchange}/{key}" if exchange else self.died_in or self.headers.get(delivering.QUEUE, "")

    def digest(self) -> str:
        """The same for the same copy, however often it is delivered; another for another publication of the message
        with anything else in it, and for every other burial of it."""
        digest = hashlib.sha256()
        texts = (
            self.exchange,
            self.routing_key,
            self.type,
            self.message_id,
            self.correlation_id,
            self.headers.get(delivering.BURIAL, ""),
            self.headers.get(delivering.DIED_AT, ""),
        )
        for part in (*(text.encode("utf-8", "replace") for text in texts), self.body):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Said:
    """What the envelope says, as text; empty where it says nothing that is text. ``payload`` is the message, or its
    beginning. ``unread`` says why there is nothing."""

    id: str = ""
    type: str = ""
    sender: str = ""
    actor: str = ""
    correlation_id: str = ""
    timestamp: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    unread: str = ""


def said_in(copy: Copy) -> Said:
    try:
        envelope = _parsed(copy)
    except ValueError as error:
        return Said(unread=f"no JSON: {error}")
    if not isinstance(envelope, dict) or not isinstance(envelope.get("payload"), dict):
        return Said(unread="no envelope: an object with a payload is one")
    texts = {name: text_in(envelope, name) for name in ("id", "type", "sender", "actor", "correlation_id", "timestamp")}
    return Said(**texts, payload=envelope["payload"])


def text_in(value: Mapping[str, Any], *path: str) -> str:
    """The text at that path, an empty one where there is none."""
    found: Any = value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _parsed(copy: Copy) -> Any:
    ours = copy.signer is not None and copy.signer.kind is SenderKind.SERVICE
    if ours and len(copy.body) > READ_WHOLE and copy.type != ExecutionFailed.TYPE:  # whose errors stand at its end
        return from_json(copy.body[:BEGINNING], allow_partial=True)
    return from_json(copy.body)
