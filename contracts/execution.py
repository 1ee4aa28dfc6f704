"""Commands and events of an execution: how it is started and cancelled, how its steps travel, what is told of it."""

from typing import Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.history import ExecutionStatus, LogEntry, PayloadRef, StepError
from contracts.topology import Address
from contracts.traceparent import Traceparent
from contracts.workflow import Fault

EXECUTION_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

# How the id and the client begin of an execution that an agent starts.
DELEGATED_ID = "delegate-"
DELEGATED_CLIENT = "delegate:"

# ---- commands of clients


class StartExecution(Message):
    """Start an execution of a stored workflow (``workflow_id``) or of a definition sent along.

    The client chooses ``execution_id``; the same id with the same body again is the same execution, with another
    body it is refused. Answered by ``ExecutionAccepted`` or ``Refused`` where a reply was asked for. A start that asks
    for none waits in its queue while the system has as much to do as it may; who waits for the reply sends it to
    ``topology.start_now()``, which does not queue behind those.
    """

    TYPE: ClassVar[str] = "execution.start.v1"

    execution_id: str = Field(pattern=EXECUTION_ID_PATTERN)
    workflow_id: str | None = None
    definition: dict[str, Any] | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    client: str = Field(default="", max_length=200)

    def address(self) -> Address:
        return topology.command("execution.start")


class CancelExecution(Message):
    """Cancel an execution that has not ended. Answered by ``CancelAccepted`` or ``Refused``."""

    TYPE: ClassVar[str] = "execution.cancel.v1"

    execution_id: str = Field(pattern=EXECUTION_ID_PATTERN)
    reason: str = Field(default="", max_length=2_000)

    def address(self) -> Address:
        return topology.command("execution.cancel")


class DescribeExecution(Message):
    """Ask how an execution stands. Answered by ``ExecutionDescribed`` or ``Refused``."""

    TYPE: ClassVar[str] = "execution.describe.v1"

    execution_id: str = Field(pattern=EXECUTION_ID_PATTERN)

    def address(self) -> Address:
        return topology.command("execution.describe")


class ExecutionDescribed(Message):
    """``outputs`` of its last steps and ``errors`` of its failed ones once it has ended, as the event of its end says
    them; ``done`` and ``steps`` count the steps that have ended and all of them."""

    TYPE: ClassVar[str] = "execution.described.v1"

    execution_id: str
    status: ExecutionStatus
    reason: str = ""
    done: int = 0
    steps: int = 0
    outputs: dict[str, Any] = Field(default_factory=dict)
    errors: dict[str, StepError] = Field(default_factory=dict)


class ExecutionAccepted(Message):
    """Entry 1 is stored: the execution will go on whatever crashes. ``repeated`` says it was started before."""

    TYPE: ClassVar[str] = "execution.accepted.v1"

    execution_id: str
    workflow_id: str | None = None
    repeated: bool = False


class CancelAccepted(Message):
    """The execution has ended; ``status`` is how (a cancel may find it already completed)."""

    TYPE: ClassVar[str] = "execution.cancel_accepted.v1"

    execution_id: str
    status: ExecutionStatus


class Refused(Message):
    """A command was refused and nothing was stored. As an event it is published for whoever sent the command
    straight onto the broker without asking for a reply.

    ``overloaded`` and ``unavailable`` are about now and not about the command: the same one may be sent again, best
    after ``retry_after`` seconds.
    """

    TYPE: ClassVar[str] = "command.refused.v1"

    code: Literal["invalid", "not_found", "conflict", "already_exists", "limit_reached", "unavailable", "overloaded"]
    message: str
    subject: str = ""
    faults: tuple[Fault, ...] = ()
    retry_after: float | None = None

    def address(self) -> Address:
        return topology.event("command.refused")


# ---- work for agents, and its results


class StepCommand(Contract):
    """One attempt of one step. The id is ``execution/step/attempt``; the idempotency key, which an agent hands to
    whatever it calls outside, is ``execution/step``: the same for every attempt. ``traceparent`` is the span of the
    attempt: a message has commands of many executions, so each brings its own."""

    execution_id: str
    step: str
    attempt: int
    inputs: Any = None
    timeout: float
    cache_ttl: float | None = None
    reply_key: str = Field(pattern=topology.SHARD_KEY_PATTERN)
    correlation_id: str = ""
    traceparent: Traceparent = ""

    @property
    def id(self) -> str:
        return f"{self.execution_id}/{self.step}/{self.attempt}"

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}/{self.step}"

    def failed(self, result_id: str, error: StepError, *, agent_id: str = "") -> "StepResult":
        """The result of this attempt where no agent has run it."""
        return StepResult(
            result_id=result_id,
            execution_id=self.execution_id,
            step=self.step,
            attempt=self.attempt,
            ok=False,
            error=error,
            agent_id=agent_id,
        )


class RunSteps(Message):
    """Commands for one action of one agent type (or of one named agent) that were ready together."""

    TYPE: ClassVar[str] = "step.run.v1"

    agent_type: str
    action: str
    agent_id: str | None = None
    commands: tuple[StepCommand, ...]
    quarantine: bool = False

    def address(self) -> Address:
        if self.quarantine:
            return topology.agent_quarantine(self.agent_type, self.action)
        return topology.agent_work(self.agent_type, self.agent_id, self.action)


class StepResult(Contract):
    """What became of one attempt. ``result_id`` differs for every run of it; times are epoch seconds.

    ``output_ref`` is set by the orchestrator once a large output has a payload document of its own.
    """

    result_id: str
    execution_id: str
    step: str
    attempt: int
    ok: bool
    output: Any = None
    output_ref: PayloadRef | None = None
    error: StepError | None = None
    agent_id: str = ""
    cached: bool = False
    started_at: float | None = None
    finished_at: float | None = None


class StepResults(Message):
    """Results for one shard. ``agent_type`` is that of the steps: results of any other are refused."""

    TYPE: ClassVar[str] = "step.results.v1"

    reply_key: str
    agent_type: str = ""
    action: str = ""
    results: tuple[StepResult, ...]

    def address(self) -> Address:
        return topology.shard(self.reply_key)


class StepProgress(Contract):
    """How far an attempt is: a ``fraction`` from 0 to 1, and a ``note``. ``number`` counts the reports of one run;
    ``at`` is epoch seconds by the host's clock."""

    execution_id: str
    step: str
    attempt: int
    run_id: str
    number: int = Field(ge=1)
    fraction: float = Field(ge=0, le=1)
    note: str = Field(default="", max_length=1_000)
    agent_id: str = ""
    at: float

    @property
    def id(self) -> str:
        return f"progress:{self.run_id}/{self.number}"


class StepsProgressed(Message):
    """Progress reports for one shard, of steps of one agent type."""

    TYPE: ClassVar[str] = "step.progress.v1"

    reply_key: str
    agent_type: str = ""
    reports: tuple[StepProgress, ...]

    def address(self) -> Address:
        return topology.shard(self.reply_key)


class StepsCancelled(Message):
    """Attempts (``execution/step/attempt``) that nobody waits for any more: a host that works on one stops."""

    TYPE: ClassVar[str] = "step.cancelled.v1"

    agent_type: str
    command_ids: tuple[str, ...]

    def address(self) -> Address:
        return topology.steps_cancelled(self.agent_type)


# ---- the orchestrator to itself


class WakeUp(Contract):
    """``due`` is the header's ``wake_at`` that was found due."""

    execution_id: str
    due: float
    restart: bool = False


class WakeExecutions(Message):
    """Time has come for these executions of one shard: leases to look at, retries to send.

    ``restart`` asks for running steps to be sent again, because the bus has forgotten them.
    """

    TYPE: ClassVar[str] = "execution.wake.v1"

    reply_key: str
    wake_ups: tuple[WakeUp, ...]

    def address(self) -> Address:
        return topology.shard(self.reply_key)


# ---- events


class ExecutionsAdvanced(Message):
    """Log entries that one commit appended, whole: whoever misses one sees the gap in ``n`` and reads the log."""

    TYPE: ClassVar[str] = "execution.advanced.v1"

    entries: tuple[LogEntry, ...]

    def address(self) -> Address:
        return topology.event("execution.advanced")


class ExecutionEndedEvent(Message):
    """Common to the three ways an execution ends; ``outputs`` holds those of its last steps (a large one as a
    reference), ``errors`` those of its failed steps. Times are epoch seconds, by the log's first entry and its last."""

    execution_id: str
    workflow_id: str | None = None
    workflow_name: str
    outputs: dict[str, Any] = Field(default_factory=dict)
    errors: dict[str, StepError] = Field(default_factory=dict)
    started_at: FiniteFloat | None = None
    ended_at: FiniteFloat | None = None

    def address(self) -> Address:
        return topology.event(self.TYPE.rsplit(".", 1)[0])


class ExecutionCompleted(ExecutionEndedEvent):
    TYPE: ClassVar[str] = "execution.completed.v1"


class ExecutionFailed(ExecutionEndedEvent):
    TYPE: ClassVar[str] = "execution.failed.v1"


class ExecutionCancelled(ExecutionEndedEvent):
    TYPE: ClassVar[str] = "execution.cancelled.v1"
