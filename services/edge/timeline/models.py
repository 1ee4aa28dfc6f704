"""What the timeline of an execution answers with. Times are ISO 8601 in UTC, durations seconds."""

from datetime import datetime

from pydantic import Field

from contracts.history import ExecutionStatus, StepStatus
from services.edge.models import View
from services.edge.timeline.course import AttemptStatus


class TimelineProgress(View):
    """What the agent said of how far it was, by its own clock."""

    fraction: float
    note: str
    at: datetime


class TimelineError(View):
    type: str
    message: str


class TimelineAttempt(View):
    attempt: int
    status: AttemptStatus = Field(
        description="`superseded`: an earlier attempt, given up as lost, succeeded while this one ran."
    )
    agent_id: str | None = None
    cached: bool = Field(description="The output was reused from an earlier run.")
    sent_at: datetime
    began_at: datetime | None = None
    began_estimated: bool = Field(
        description="Its result is not there yet: the first report of progress says by when it had begun."
    )
    finished_at: datetime | None = None
    recorded_at: datetime | None = Field(default=None, description="When the orchestrator put its end on the log.")
    dispatch_seconds: float = Field(description="From when it could be sent (all it waits for done, backoff over) on.")
    wait_seconds: float = Field(
        description="From its sending until an agent began: storing, broker and queue. All of it where none said so."
    )
    run_seconds: float
    record_seconds: float = Field(description="From its end at the agent until that was on the log.")
    error: TimelineError | None = None
    retry_at: datetime | None = Field(default=None, description="Until when the step backs off after it failed.")
    resent: int = Field(description="How often the same attempt was sent again: lease over, or bus restarted.")
    clock_skew_seconds: float = Field(
        description="By how much the agent's clock was beside the orchestrator's, where that is certain."
    )
    progress_reports: int
    progress: list[TimelineProgress] = Field(description="The latest reports.")


class Spent(View):
    """Where time went. `overhead_seconds`: could be sent and was not yet, or finished and not yet on the log."""

    total_seconds: float = Field(description="The sum of the other four.")
    wait_seconds: float = Field(description="Sent, and no agent had begun.")
    run_seconds: float
    backoff_seconds: float = Field(description="Between a failed attempt and the next.")
    overhead_seconds: float


class OfStep(View):
    step_id: str


class TimelineStep(Spent, OfStep):
    status: StepStatus
    agent_type: str | None = None
    action: str | None = None
    critical: bool
    slack_seconds: float | None = Field(
        default=None,
        description="How much later it could have ended without the execution's ending later. Null: not opened yet.",
    )
    released_by: str | None = Field(
        default=None, description="Of the steps that it waited for, the one that ended last."
    )
    ready_at: datetime | None = Field(
        default=None, description="When it could be sent: all that it waits for had ended."
    )
    sent_at: datetime | None = None
    ended_at: datetime | None = Field(default=None, description="When its end was put on the log.")
    skipped_because: str | None = None
    attempts: list[TimelineAttempt]


class CriticalStep(Spent, OfStep):
    pass


class CriticalPath(Spent):
    """The chain of steps that determined when the execution ended: from the step that ended last back along, of all
    that a step waited for, the one that ended last. What its steps took adds up to the execution's time. Of an
    execution that goes on, it leads to the step that has been open for longest."""

    steps: list[CriticalStep]


class Timeline(View):
    execution_id: str
    workflow_id: str | None = None
    workflow_name: str
    status: ExecutionStatus
    n: int = Field(description="The latest log entry in this view.")
    started_at: datetime
    ended_at: datetime | None = None
    as_of: datetime = Field(description="Its end, or now.")
    total_seconds: float = Field(description="From `started_at` to `as_of`.")
    clock_skew_seconds: float = Field(
        description="The most by which a clock was beside another. Times that cannot be are moved to the nearest that"
        " can: an attempt begins after it was sent, ends before that is recorded, and the log does not run backwards."
    )
    critical_path: CriticalPath | None = Field(
        default=None, description="Null where the definition is not stored any more."
    )
    step_count: int
    steps: list[TimelineStep] = Field(description="In the order in which they were opened, then those that were not.")
    next: int | None = Field(default=None, description="`after` of the next page; null on the last one.")
