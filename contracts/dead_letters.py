"""Dead letters: messages that could not be handled, kept with their story until somebody replays or discards them."""

from typing import ClassVar

from pydantic import Field

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address


class DeadLetter(Contract):
    """A message and why it is here. ``body`` is its text, base64 where ``encoded`` says so; ``exchange`` and
    ``routing_key`` are where it was first published to; ``died_at`` is epoch seconds."""

    id: str
    reason: str
    detail: str = ""
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""
    message_id: str = ""
    type: str = ""
    correlation_id: str = ""
    reply_to: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    body: str
    encoded: bool = False
    size: int
    died_at: float


class ReplayDeadLetter(Message):
    """Publish a dead letter again, where it was first published to, under its own id. Answered by
    ``DeadLetterSettled`` once the broker has it, or ``Refused``."""

    TYPE: ClassVar[str] = "dead_letter.replay.v1"

    id: str

    def address(self) -> Address:
        return topology.command("dead_letter.replay")


class DiscardDeadLetter(Message):
    """Throw a dead letter away for good. Answered by ``DeadLetterSettled`` or ``Refused``."""

    TYPE: ClassVar[str] = "dead_letter.discard.v1"

    id: str

    def address(self) -> Address:
        return topology.command("dead_letter.discard")


class DeadLetterSettled(Message):
    TYPE: ClassVar[str] = "dead_letter.settled.v1"

    id: str
    replayed: bool
