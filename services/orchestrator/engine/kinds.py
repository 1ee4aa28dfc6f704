"""Step kinds: what it means to open a step, to hear from it, and to find its deadline passed.

``advance`` knows the graph and nothing of kinds; a kind knows one step and nothing of the graph. A new kind (map,
wait, approval, ...) is a class here and an entry in ``KINDS``: commits, timers and messages stay as they are.
Each method returns the events that follow; commands are derived from the state afterwards (``command``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic_core import to_json

from contracts.execution import StepCommand, StepProgress, StepResult
from contracts.history import (
    AttemptFailed,
    Event,
    StepDispatched,
    StepError,
    StepFailed,
    StepProgressed,
    StepResent,
    StepStatus,
    StepSucceeded,
)
from services.orchestrator.engine.messages import Command
from services.orchestrator.engine.retry import backoff, may_retry
from services.orchestrator.engine.state import ExecutionState, StepsView
from services.runtime.definitions.budget import Budget
from services.runtime.definitions.expressions import ExpressionError
from services.runtime.definitions.references import UnresolvedReference
from services.runtime.telemetry.trace_context import attempt_traceparent

# A command that was sent again this often after restarts may be what kills the process: it runs alone from then on.
RESTARTS_BEFORE_QUARANTINE = 2
LARGEST_INPUTS = 8 * 1024 * 1024  # bytes of JSON: what one message can carry to an agent


@dataclass(slots=True)
class Inputs:
    """A step's inputs with their references resolved, and their size in bytes of JSON."""

    value: object
    size: int


class StepKind(Protocol):
    def open(
        self, state: ExecutionState, step_id: str, now: float, budget: Budget
    ) -> tuple[list[Event], Inputs | None]:
        """The step's dependencies have ended and its condition holds: the events, and what ``command`` would resolve
        again. ``budget``: what the step's expressions may still take of."""
        ...

    def hear(self, state: ExecutionState, result: StepResult, now: float) -> list[Event]:
        """A message for the step has come. No events: it changes nothing."""
        ...

    def progress(self, state: ExecutionState, report: StepProgress, now: float) -> list[Event]:
        """Whoever works on the step says how far it is. No events: it changes nothing."""
        ...

    def due(self, state: ExecutionState, step_id: str, now: float) -> list[Event]:
        """The step is open and its deadline has passed."""
        ...

    def restart(self, state: ExecutionState, step_id: str, now: float) -> list[Event]:
        """The bus has forgotten what was sent for this open step."""
        ...

    def command(self, state: ExecutionState, step_id: str, inputs: Inputs | None = None) -> Command | None:
        """What the open step needs an agent to do, the same however often it is asked. ``inputs``: as ``open`` gave
        them, where they are at hand."""
        ...


class Action:
    """One action of one agent: attempts, retries, a lease."""

    def open(
        self, state: ExecutionState, step_id: str, now: float, budget: Budget
    ) -> tuple[list[Event], Inputs | None]:
        try:
            inputs = _inputs(state, step_id, budget)
        except (UnresolvedReference, ExpressionError) as error:
            return [_never_ran(step_id, type(error).__name__, str(error))], None
        if inputs.size > LARGEST_INPUTS:
            message = (
                f"the inputs are {inputs.size} bytes with their references resolved;"
                f" at most {LARGEST_INPUTS} are allowed"
            )
            return [_never_ran(step_id, "InputsTooLarge", message)], None
        return [self._dispatch(state, step_id, 1, now)], inputs

    def hear(self, state: ExecutionState, result: StepResult, now: float) -> list[Event]:
        step = state.step(result.step)
        if step.status not in (StepStatus.RUNNING, StepStatus.WAITING):
            return []
        if result.ok:  # of whichever attempt: the first success wins
            return [
                StepSucceeded(
                    step=result.step,
                    attempt=result.attempt,
                    output=result.output,
                    output_ref=result.output_ref,
                    agent_id=result.agent_id,
                    cached=result.cached,
                    started_at=result.started_at,
                    finished_at=result.finished_at,
                )
            ]
        if step.status is not StepStatus.RUNNING or result.attempt != step.attempt:
            return []
        error = result.error or StepError(type="UnknownError", message="the agent gave no reason")
        return self._fail(state, result.step, error, now, result)

    def progress(self, state: ExecutionState, report: StepProgress, now: float) -> list[Event]:
        step = state.step(report.step)
        if step.status is not StepStatus.RUNNING or report.attempt != step.attempt or step.deadline is None:
            return []
        if step.reported is not None and report.number <= step.reported.get(report.run_id, 0):
            return []
        lease = state.plan.steps[report.step].lease
        return [
            StepProgressed(
                **report.model_dump(exclude={"execution_id"}),
                # Never earlier than it was, though the clocks of two replicas may differ.
                deadline=max(step.deadline, now + lease),
            )
        ]

    def due(self, state: ExecutionState, step_id: str, now: float) -> list[Event]:
        step = state.step(step_id)
        if step.status is StepStatus.WAITING:
            return [self._dispatch(state, step_id, step.attempt + 1, now)]
        if not step.lease_resent:
            return [self._resend(state, step_id, now, lease=True)]
        lease = state.plan.steps[step_id].lease
        message = f"no result within {lease:g} s of the second sending: no host took it, or its host is silent"
        return self._fail(state, step_id, StepError(type="LeaseExpired", message=message, retryable=True), now)

    def restart(self, state: ExecutionState, step_id: str, now: float) -> list[Event]:
        if state.step(step_id).status is not StepStatus.RUNNING:
            return []
        return [self._resend(state, step_id, now, lease=False)]

    def command(self, state: ExecutionState, step_id: str, inputs: Inputs | None = None) -> Command | None:
        step, planned = state.step(step_id), state.plan.steps[step_id]
        if step.status is not StepStatus.RUNNING:
            return None
        definition = planned.definition
        inputs = inputs or _inputs(state, step_id)
        return Command(
            command=StepCommand(
                execution_id=state.execution_id,
                step=step_id,
                attempt=step.attempt,
                inputs=inputs.value,
                timeout=planned.timeout,
                cache_ttl=definition.cache.ttl if definition.cache else None,
                reply_key=state.reply_key,
                correlation_id=state.correlation_id,
                traceparent=_traceparent(state, step_id, step.attempt),
            ),
            agent_type=definition.agent_type,
            action=definition.action,
            agent_id=definition.agent_id,
            entry_n=step.cause_n,
            size=inputs.size,
            quarantine=step.restarts >= RESTARTS_BEFORE_QUARANTINE,
        )

    def _dispatch(self, state: ExecutionState, step_id: str, attempt: int, now: float) -> StepDispatched:
        return StepDispatched(step=step_id, attempt=attempt, deadline=now + state.plan.steps[step_id].lease)

    def _resend(self, state: ExecutionState, step_id: str, now: float, *, lease: bool) -> StepResent:
        return StepResent(
            step=step_id,
            attempt=state.step(step_id).attempt,
            deadline=now + state.plan.steps[step_id].lease,
            reason="lease" if lease else "restart",
        )

    def _fail(
        self, state: ExecutionState, step_id: str, error: StepError, now: float, result: StepResult | None = None
    ) -> list[Event]:
        step, policy = state.step(step_id), state.plan.steps[step_id].definition.retry
        run = {} if result is None else result.model_dump(include={"agent_id", "started_at", "finished_at"})
        if not may_retry(policy, step.attempt, error):
            return [StepFailed(step=step_id, attempt=step.attempt, error=error, **run)]
        wait = backoff(policy, state.execution_id, step_id, step.attempt)
        failed = AttemptFailed(step=step_id, attempt=step.attempt, error=error, retry_at=now + wait, **run)
        if wait > 0:
            return [failed]
        return [failed, self._dispatch(state, step_id, step.attempt + 1, now)]


def _traceparent(state: ExecutionState, step_id: str, attempt: int) -> str:
    if not state.traced:
        return state.traceparent
    return attempt_traceparent(state.traceparent, state.execution_id, step_id, attempt)


def _never_ran(step_id: str, kind: str, message: str) -> StepFailed:
    return StepFailed(step=step_id, attempt=0, error=StepError(type=kind, message=message))


def _inputs(state: ExecutionState, step_id: str, budget: Budget | None = None) -> Inputs:
    value = state.plan.steps[step_id].inputs.resolve(StepsView(state), state.inputs or {}, budget)
    return Inputs(value, len(to_json(value)))


KINDS: Mapping[str, StepKind] = {"action": Action()}


def kind_of(state: ExecutionState, step_id: str) -> StepKind:
    return KINDS[state.plan.steps[step_id].definition.kind]
