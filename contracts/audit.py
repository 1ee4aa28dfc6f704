"""The audit log: who did what to which, from where and with what result.

Entries are a hash chain: each holds the hash of the one before it, and signed checkpoints say how far the chain went
and what it was. Nothing of a message's content is in it, only what it was about.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address


class AuditResult(StrEnum):
    SENT = "sent"  # a command was published; what came of it is an entry of its own, under the same correlation id
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


class AuditRecord(Contract):
    """What happened, as it is reported. ``id`` is the same for the same happening reported twice.

    ``actor``: ``key:NAME``, ``user:NAME``, ``service:NAME`` (its signature was verified), ``unverified:NAME`` (what an
    unsigned message says of itself), ``anonymous``. ``action``: a message type, or a method and route. ``subject``: the
    id of what it was done to. ``source``: an address, or a queue. ``result`` in one word and ``detail`` in several.
    ``at`` is epoch seconds.
    """

    id: str = Field(min_length=1, max_length=300)
    at: float
    actor: str = Field(max_length=300)
    action: str = Field(max_length=300)
    subject: str = Field(default="", max_length=300)
    source: str = Field(default="", max_length=300)
    result: AuditResult
    detail: str = Field(default="", max_length=1_000)
    correlation_id: str = Field(default="", max_length=200)


class AuditEntry(Contract):
    """Entry ``n`` (from 1, dense). ``hash`` is over ``n``, ``record`` and ``previous``, the hash of entry n-1 (64 zeros
    for the first)."""

    n: int = Field(ge=1)
    record: AuditRecord
    previous: str
    hash: str


class AuditCheckpoint(Contract):
    """The chain up to entry ``n`` ended in ``hash`` at ``at`` (epoch seconds); ``signature`` is a compact JWS that says
    the same, by the auditor's key."""

    n: int = Field(ge=1)
    hash: str
    at: float
    signature: str


class AuditFilter(Contract):
    """What every entry of a list must have; ``since <= at < until`` in epoch seconds."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    result: AuditResult | None = None
    correlation_id: str | None = None
    since: float | None = None
    until: float | None = None


class AccessRecorded(Message):
    """Requests that an edge answered, allowed or not, and other things that no message tells of."""

    TYPE: ClassVar[str] = "audit.access.v1"

    records: tuple[AuditRecord, ...]

    def address(self) -> Address:
        return topology.event("audit.access")
