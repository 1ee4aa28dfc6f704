"""What the edge answers with. Times are ISO 8601 in UTC, durations seconds."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contracts.history import ExecutionStatus, StepError, StepStatus

LATEST = 253_402_300_799.0  # epoch seconds: the last second of year 9999


def utc(epoch_seconds: float) -> datetime:
    """Cut to microseconds, never rounded up: given back as ``started_after``, it finds what it was shown of. Hosts say
    some of these times: what is no date is shown as the nearest one, and keeps nothing else from being shown."""
    epoch_seconds = min(max(0.0, epoch_seconds), LATEST)
    whole = math.floor(epoch_seconds)
    return datetime.fromtimestamp(whole, UTC) + timedelta(microseconds=math.floor((epoch_seconds - whole) * 1e6))


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


# ---- requests


class Body(BaseModel):
    """A request's body. Unknown fields are faults: a misspelt one must not pass in silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ExecuteWorkflow(Body):
    inputs: dict[str, Any] = Field(default_factory=dict, description="What the definition's `inputs.NAME` refers to.")


class ExecuteDefinition(ExecuteWorkflow):
    definition: dict[str, Any] = Field(description="A workflow definition, as `POST /api/v1/workflows` takes it.")


class Cancel(Body):
    reason: str = Field(default="", max_length=2_000, description="Kept in the execution's history.")


# ---- workflows


class WorkflowView(View):
    workflow_id: str
    name: str
    description: str
    definition_hash: str = Field(description="SHA-256 of the definition's canonical JSON.")
    created_at: datetime
    steps: int = Field(description="How many steps it has.")


class WorkflowWithDefinition(WorkflowView):
    definition: dict[str, Any]


class WorkflowPage(View):
    items: list[WorkflowView]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


# ---- executions


class Started(View):
    workflow_id: str | None = Field(default=None, description="Null where the definition was sent along.")
    execution_id: str
    status: Literal["started"] = "started"
    timestamp: datetime


class Cancelled(View):
    execution_id: str
    status: ExecutionStatus = Field(description="How it ended: a cancel may find it already completed or failed.")


class ExecutionSummary(View):
    execution_id: str
    workflow_id: str | None = None
    workflow_name: str
    status: ExecutionStatus
    started_at: datetime
    ended_at: datetime | None = None


class ExecutionPage(View):
    items: list[ExecutionSummary]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


class LargeValue(View):
    """Stands for a value over 64 KB, which is fetched on its own."""

    payload_id: str
    size: int = Field(description="Bytes of its JSON.")
    href: str | None = Field(description="Where it is.")


class StepProgressView(View):
    """What the agent at work last said of how far it is."""

    fraction: float = Field(description="From 0 to 1.")
    note: str
    at: datetime
    agent_id: str


class StepView(View):
    status: StepStatus
    agent_type: str | None
    action: str | None
    agent_id: str | None = Field(description="The agent that gave the latest result.")
    attempts: int = Field(description="How many attempts were sent.")
    output: Any = None
    large_output: LargeValue | None = Field(default=None, description="The output's place, where it is large.")
    error: StepError | None = Field(default=None, description="Why the latest attempt failed.")
    skipped_because: str | None = None
    cached: bool = Field(default=False, description="The output was reused from an earlier run.")
    dispatched_at: datetime | None = Field(default=None, description="When the first attempt was sent.")
    started_at: datetime | None = Field(default=None, description="When an agent began the latest attempt.")
    ended_at: datetime | None = None
    duration_seconds: float | None = Field(default=None, description="From the latest attempt's begin to its end.")
    next_attempt_at: datetime | None = Field(default=None, description="Of a step that waits for its next attempt.")
    progress: StepProgressView | None = Field(
        default=None, description="Of a running step whose agent has said how far it is."
    )


class ExecutionView(ExecutionSummary):
    """An execution, as folded from its log up to entry ``n``."""

    n: int = Field(description="The latest log entry in this view; `events?after=n` goes on from here.")
    definition_hash: str
    client: str
    correlation_id: str
    duration_seconds: float | None = Field(description="From start to end.")
    reason: str = Field(description="Why it ended, where there is something to say.")
    inputs: Any
    large_inputs: LargeValue | None = None
    counts: dict[StepStatus, int] = Field(description="How many steps have each status.")
    steps: dict[str, StepView] = Field(description="By id, in the definition's order.")
    outputs: dict[str, Any] = Field(description="Of the last steps, those that no other step waits for.")
    large_outputs: dict[str, LargeValue] = Field(description="Of the last steps, outputs too large to stand here.")
    errors: dict[str, StepError] = Field(description="Of the failed steps.")


class HistoryEvent(View):
    """An event of the log; which other fields it has depends on its ``kind``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str
    cause: str = Field(description="The id of the message that it follows from.")


class HistoryEntry(View):
    """One commit: what was decided together, and the messages it was decided on."""

    n: int
    at: datetime
    applied: tuple[str, ...]
    events: list[HistoryEvent]


class History(View):
    execution_id: str
    entries: list[HistoryEntry]
    next: int | None = Field(default=None, description="`after` of the next page; null on the last one.")


# ---- the edge itself


class Part(View):
    ok: bool
    detail: str = ""


OkOrNot = Literal["ok", "not ready"]


class Health(View):
    status: Literal["ok", "degraded"]
    store: Part
    bus: Part
    services: dict[str, OkOrNot] = Field(description="Those of this process: often the edge alone.")


class Alive(View):
    status: Literal["ok"] = "ok"


class Ready(View):
    """What is wrong is in the log, and on the process's own port: here anybody may ask."""

    status: OkOrNot
    services: dict[str, dict[str, OkOrNot]] = Field(
        description="The services of this process with what each needs: `started`, `bus`, `consuming`, `store` ..."
    )
