"""The log of an execution: the events of which its history, its state and everything shown of it are made.

An entry is one commit. ``fold`` in the orchestrator and the projection in the edge both read these events, and
neither decides anything: what was decided is in the event.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from contracts.envelope import Contract
from contracts.traceparent import Traceparent


class ExecutionStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self is not ExecutionStatus.RUNNING


class StepStatus(StrEnum):
    PENDING = "pending"  # waits for other steps
    RUNNING = "running"  # an attempt is with an agent
    WAITING = "waiting"  # backing off before the next attempt
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED})


class StepError(Contract):
    """Why an attempt or a step failed. ``type`` is what a retry policy's ``on`` lists."""

    type: str
    message: str
    retryable: bool = False
    details: Any = None


class PayloadRef(Contract):
    """Stands where a large value would: the value is in a write-once payload document."""

    payload_id: str
    size: int


class EventBase(Contract):
    """``cause`` is the position, in the entry's ``applied``, of the message that this event follows from."""

    cause: int = 0


class ExecutionStarted(EventBase):
    """``traceparent`` is the span that the start was sent under, or the execution's own where it came without one and
    is the first of its trace; empty where nothing is traced."""

    kind: Literal["execution_started"] = "execution_started"
    definition_hash: str
    request_hash: str
    workflow_id: str | None = None
    workflow_name: str
    inputs: Any = None
    inputs_ref: PayloadRef | None = None
    client: str = ""
    correlation_id: str = ""
    traceparent: Traceparent = ""


class StepDispatched(EventBase):
    """An attempt was sent; ``deadline`` (epoch seconds) ends its lease."""

    kind: Literal["step_dispatched"] = "step_dispatched"
    step: str
    attempt: int
    deadline: float


class StepResent(EventBase):
    """The same attempt was sent again: its lease ran out (``lease``) or the bus forgot it (``restart``)."""

    kind: Literal["step_resent"] = "step_resent"
    step: str
    attempt: int
    deadline: float
    reason: Literal["lease", "restart"] = "lease"


class StepProgressed(EventBase):
    """The agent said how far it is (``fraction``, 0 to 1) at ``at``, which extends the lease to ``deadline``."""

    kind: Literal["step_progressed"] = "step_progressed"
    step: str
    attempt: int
    fraction: float
    note: str = ""
    agent_id: str = ""
    run_id: str = ""
    number: int = 1
    at: float
    deadline: float


class StepSucceeded(EventBase):
    kind: Literal["step_succeeded"] = "step_succeeded"
    step: str
    attempt: int
    output: Any = None
    output_ref: PayloadRef | None = None
    agent_id: str = ""
    cached: bool = False
    started_at: float | None = None
    finished_at: float | None = None


class AttemptFailed(EventBase):
    """An attempt failed and another will be sent at ``retry_at`` (epoch seconds)."""

    kind: Literal["attempt_failed"] = "attempt_failed"
    step: str
    attempt: int
    error: StepError
    retry_at: float
    agent_id: str = ""
    started_at: float | None = None
    finished_at: float | None = None


class StepFailed(EventBase):
    kind: Literal["step_failed"] = "step_failed"
    step: str
    attempt: int
    error: StepError
    agent_id: str = ""
    started_at: float | None = None
    finished_at: float | None = None


class StepSkipped(EventBase):
    kind: Literal["step_skipped"] = "step_skipped"
    step: str
    reason: str


class StepCancelled(EventBase):
    kind: Literal["step_cancelled"] = "step_cancelled"
    step: str


class ExecutionEnded(EventBase):
    kind: Literal["execution_ended"] = "execution_ended"
    status: ExecutionStatus
    reason: str = ""


Event = Annotated[
    ExecutionStarted
    | StepDispatched
    | StepResent
    | StepProgressed
    | StepSucceeded
    | AttemptFailed
    | StepFailed
    | StepSkipped
    | StepCancelled
    | ExecutionEnded,
    Field(discriminator="kind"),
]


class LogEntry(Contract):
    """Entry ``n`` (from 1, dense) of an execution's log: one commit.

    ``applied`` holds the ids of the messages whose effects these events are; ``at`` is epoch seconds.
    """

    execution_id: str
    n: int = Field(ge=1)
    at: float
    applied: tuple[str, ...]
    events: tuple[Event, ...]

    @property
    def id(self) -> str:
        return entry_id(self.execution_id, self.n)


def entry_id(execution_id: str, n: int) -> str:
    """The unique id that makes a commit one insert: of two writers of entry n, one loses."""
    return f"{execution_id}/{n:09d}"


class Header(Contract):
    """What lists, filters and timers read of an execution. Derived from the log, never ahead of it.

    ``n`` is the log entry it was derived from; ``wake_at`` (epoch seconds) may be early, never late. It is negative in
    a header that was restored from a backup (``wake_of_restored``).
    """

    execution_id: str
    n: int
    status: ExecutionStatus
    workflow_id: str | None = None
    workflow_name: str
    started_at: float
    ended_at: float | None = None
    wake_at: float | None = None

    @property
    def restored(self) -> bool:
        """Whether it was restored from a backup and its execution was not woken since: what had been sent for that is
        lost with the broker."""
        return self.wake_at is not None and self.wake_at < 0

    @property
    def due_at(self) -> float | None:
        """Since when, or from when on, it is due (epoch seconds): ``wake_at``, or when it was restored."""
        return None if self.wake_at is None else abs(self.wake_at)


def wake_of_restored(restored_at: float) -> float:
    """The ``wake_at`` of a header that is restored at this time (epoch seconds): negative, so due at once, and another
    after each restore."""
    return -restored_at
