"""What a store is: the log, and what is derived from it or stands beside it.

The log is the truth. ``append`` is the only operation whose outcome decides anything; everything else is written
so that doing it twice, or late, does no harm.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.access import ApiKey
from contracts.agents import AgentRecord
from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStatus, Header, LogEntry
from contracts.hosts import HostAnnounced
from contracts.registry import AgentFilter
from contracts.workflow import Workflow


class StoreError(Exception):
    """Something the store could not do."""


class Unstorable(StoreError):
    """This value can never be written: it is too large, or no JSON."""


class Unreadable(StoreError):
    """What is stored cannot be decrypted, or was altered or moved."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or did not answer in time. A write may or may not have landed."""


@dataclass(frozen=True, slots=True)
class Page:
    """How much of a list: at most ``limit`` rows (1 or more); ``after`` is the cursor of an earlier answer (opaque),
    None for the beginning."""

    limit: int = 50
    after: str | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"a page has 1 row or more, not {self.limit}")


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    """What every header of a list must have; ``started_after <= started_at < started_before``, in epoch seconds."""

    status: ExecutionStatus | None = None
    workflow_id: str | None = None
    workflow_name: str | None = None
    started_after: float | None = None
    started_before: float | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """What a host said of itself, when it was last heard of (epoch seconds), and whether it still counts as there.
    ``stopped``: it said that it ends, so that it is missed by nobody when it is not there."""

    announced: HostAnnounced
    seen_at: float
    available: bool = True
    stopped: bool = False

    @property
    def silent(self) -> bool:
        """Whether it is not there and never said that it ends."""
        return not self.available and not self.stopped


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """What every dead letter of a list must have."""

    reason: str | None = None
    type: str | None = None
    queue: str | None = None


class BadCursor(ValueError):
    """A page cursor that no earlier answer of ours contained."""


class Store(Protocol):
    async def start(self) -> None:
        """Make the client; create indexes as soon as the store answers. Does not wait for a store that is away."""
        ...

    async def stop(self) -> None: ...

    async def ping(self) -> None:
        """Return if the store answers, raise StoreUnavailable if not."""
        ...

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        """Insert entries of different executions, in one round trip; durable when it returns.

        Returns the ids (``LogEntry.id``) that this call inserted. An entry that is not in it lost the race for its
        number, or landed with its answer lost: the caller reads the log and sees.
        """
        ...

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        """For each execution id, its entries with n greater than the given number, in order; latest state, never a
        stale replica's. Unknown executions map to an empty list."""
        ...

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        """Write-once values too large for an entry, by id; an id that exists is left as it is."""
        ...

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        """The values of those ids that exist."""
        ...

    # ---- headers

    async def write_headers(self, headers: Sequence[Header]) -> None:
        """Write each over a lower or equal ``n`` only; one that is behind is dropped, which is right."""
        ...

    async def read_headers(self, ids: Collection[str]) -> dict[str, Header]: ...

    async def due_headers(self, now: float, limit: int) -> list[Header]:
        """Running executions whose ``wake_at`` is at or before ``now``, earliest first."""
        ...

    async def open_headers(self, page: Page) -> tuple[list[Header], str | None]:
        """Every execution that has not ended, and the cursor of the next page if there is one."""
        ...

    async def count_open(self, limit: int) -> int:
        """How many executions have not ended, by their headers; counting stops at ``limit`` (1 or more)."""
        ...

    async def list_headers(self, filter: HeaderFilter, page: Page) -> tuple[list[Header], str | None]:
        """Latest started first, and the cursor of the next page if there is one.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        """Write-once, by content hash."""
        ...

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None: ...

    async def put_workflow(self, workflow: Workflow) -> bool:
        """Insert; False if the id is taken."""
        ...

    async def get_workflow(self, workflow_id: str) -> Workflow | None: ...

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        """Latest first, optionally of one name.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    async def delete_workflow(self, workflow_id: str) -> bool: ...

    # ---- hosts and agents: written by the registry alone

    async def put_host(self, host: Host) -> None:
        """Write over whatever is there."""
        ...

    async def mark_host(self, host_id: str, seen_at: float, *, available: bool) -> bool:
        """Write when a host was last heard of, and nothing else of it; False if there is no such host."""
        ...

    async def list_hosts(self) -> list[Host]:
        """Every host, by host id."""
        ...

    async def delete_host(self, host_id: str) -> bool: ...

    async def add_agent(self, agent: AgentRecord) -> bool:
        """Insert; False if the id is taken."""
        ...

    async def write_agent(self, agent: AgentRecord) -> bool:
        """Write over the agent of that id; False if there is none."""
        ...

    async def get_agent(self, agent_id: str) -> AgentRecord | None: ...

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        """Those that match everything the filter says, by agent id, and the cursor of the next page if there is one.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    async def count_agents(self) -> int:
        """How many there are, default agents not counted."""
        ...

    async def delete_agent(self, agent_id: str) -> bool: ...

    # ---- dead letters: written by the service of that name alone

    async def put_dead_letter(self, letter: DeadLetter) -> None:
        """Write over one of the same id."""
        ...

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None: ...

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        """Latest first, with their bodies, and the cursor of the next page if there is one. A page of large letters
        has fewer rows than were asked for.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    async def count_dead_letters(self, limit: int, died_after: float = 0.0) -> int:
        """How many there are that died at ``died_after`` (epoch seconds) or later; counting stops at ``limit`` (1 or
        more)."""
        ...

    async def delete_dead_letter(self, letter_id: str) -> bool: ...

    # ---- API keys: written by the access service and by `python -m services keys`

    async def claim(self, name: str) -> bool:
        """Take something that can be taken once in the life of an installation; True for the one who did."""
        ...

    async def add_api_key(self, key: ApiKey) -> bool:
        """Insert; False if the id is taken."""
        ...

    async def write_api_key(self, key: ApiKey) -> bool:
        """Write over the key of that id; False if there is none."""
        ...

    async def get_api_key(self, key_id: str) -> ApiKey | None: ...

    async def list_api_keys(self, page: Page) -> tuple[list[ApiKey], str | None]:
        """By id, and the cursor of the next page if there is one.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    # ---- the audit log: appended to by the auditor, and by `python -m services keys`

    async def append_audit(self, entries: Sequence[AuditEntry]) -> int:
        """Insert entries of dense numbers in their order, up to the first whose number is taken; durable when it
        returns. How many were inserted."""
        ...

    async def last_audit(self) -> AuditEntry | None: ...

    async def read_audit(self, after: int, limit: int) -> list[AuditEntry]:
        """Entries with n greater than ``after``, in order."""
        ...

    async def has_audit(self, record_ids: Collection[str]) -> set[str]:
        """Those of the ids whose records are in the log."""
        ...

    async def list_audit(self, filter: AuditFilter, page: Page) -> tuple[list[AuditEntry], str | None]:
        """Latest first, and the cursor of the next page if there is one.

        Raises:
            BadCursor: ``page.after`` is not a cursor.
        """
        ...

    async def add_audit_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        """Insert; one of that n is left as it is."""
        ...

    async def read_audit_checkpoints(self, after: int, limit: int) -> list[AuditCheckpoint]:
        """Checkpoints with n greater than ``after``, in order."""
        ...
