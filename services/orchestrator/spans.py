"""Spans of executions and of the attempts of their steps, recorded from the entries of their logs.

What is recorded is what the log says, by whoever appended it, once the append has landed: of two replicas that come to
the same conclusion one appends it, and that one records it. A process that dies takes with it what it had recorded and
not delivered.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from contracts.history import ExecutionEnded, ExecutionStatus, LogEntry, StepError, StepStatus
from services.orchestrator.engine import ExecutionState
from services.runtime.telemetry.span_sorts import SORTS, AttributeValue, Kind, Sort
from services.runtime.telemetry.trace_context import (
    TraceContext,
    attempt_context,
    execution_root,
    execution_traceparent,
    is_sampled,
    read,
)
from services.runtime.telemetry.tracing import Tracing


class OpenAttempt(NamedTuple):
    """An attempt that was sent at ``sent_at`` (epoch seconds) and has not ended."""

    attempt: int
    sent_at: float


OpenAttempts = dict[str, OpenAttempt]  # by step


@dataclass(slots=True)
class Trace:
    """What is remembered of an execution for its spans: its open attempts, and, once it was asked for, its own span."""

    attempts: OpenAttempts = field(default_factory=dict)
    execution: TraceContext | None = None


class EndedAttempt(NamedTuple):
    """``attempt`` is 0 where a step failed before any was sent. ``outcome`` is said of those that neither succeeded nor
    failed: ``cancelled``, or ``superseded`` where an earlier attempt, given up for lost, succeeded after all."""

    step: str
    attempt: int
    sent_at: float
    outcome: str
    agent_id: str = ""
    error: StepError | None = None


def follow(attempts: OpenAttempts, entry: LogEntry) -> list[EndedAttempt]:
    """Bring the open attempts of an execution up to an entry of its log; returns those that ended with it."""
    ended: list[EndedAttempt] = []
    for event in entry.events:
        # By its kind, since of a Pydantic model that it is not isinstance takes many times as long.
        if event.kind == "step_dispatched":
            attempts[event.step] = OpenAttempt(event.attempt, entry.at)
        elif event.kind == "step_succeeded":
            if (sent := attempts.pop(event.step, None)) is not None:
                outcome = "" if sent.attempt == event.attempt else "superseded"
                ended.append(EndedAttempt(event.step, *sent, outcome, event.agent_id))
        elif event.kind == "attempt_failed" or event.kind == "step_failed":
            sent = attempts.pop(event.step, None) or OpenAttempt(event.attempt, entry.at)
            ended.append(EndedAttempt(event.step, *sent, "", event.agent_id, event.error))
        elif event.kind == "step_cancelled" and (sent := attempts.pop(event.step, None)) is not None:
            ended.append(EndedAttempt(event.step, *sent, "cancelled"))
    return ended


def started_under(tracing: Tracing | None, execution_id: str, came: str) -> str:
    """The traceparent that an execution's start is stored with: what ``came`` with its message, or, where nothing did
    and this replica traces, the execution's own. Whether its trace is recorded is decided here, once."""
    if came or tracing is None:
        return came
    return execution_root(execution_id, tracing.ratio).traceparent


def traceparent_of(state: ExecutionState) -> str:
    """What is sent with messages about an execution as a whole."""
    return execution_traceparent(state.traceparent, state.execution_id) if state.traced else state.traceparent


class ExecutionSpans:
    """Records what a replica has appended."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._sort = lru_cache(SORTS)(_sort)

    def record(self, state: ExecutionState, trace: Trace, entry: LogEntry) -> None:
        """Take an entry that is in the log now, and that the state agrees with."""
        if not is_sampled(state.traceparent):
            return
        if trace.execution is None:
            trace.execution = read(traceparent_of(state))
            assert trace.execution is not None  # it is sampled
        for attempt in follow(trace.attempts, entry):
            self._attempt(state, trace.execution, attempt, entry.at)
        last = entry.events[-1]
        if last.kind == "execution_ended":
            self._execution(state, trace.execution, last, entry.at)

    def _attempt(self, state: ExecutionState, execution: TraceContext, attempt: EndedAttempt, end: float) -> None:
        step = state.plan.steps[attempt.step].definition
        sort = self._sort(
            state.plan.definition.name,
            attempt.step,
            attempt.attempt,
            step.agent_type,
            step.action,
            attempt.agent_id or step.agent_id or "",
        )
        own: dict[str, AttributeValue] = {"conclave.execution.id": state.execution_id}
        if attempt.outcome:
            own["conclave.outcome"] = attempt.outcome
        error = ""
        if attempt.error is not None:
            own["error.type"] = attempt.error.type
            error = f"{attempt.error.type}: {attempt.error.message}"
        context = attempt_context(execution, state.execution_id, attempt.step, attempt.attempt)
        self._tracing.record_one(sort, context, execution, attempt.sent_at, end, own, error)

    def _execution(self, state: ExecutionState, execution: TraceContext, last: ExecutionEnded, end: float) -> None:
        started = read(state.traceparent)
        attributes: dict[str, AttributeValue] = {
            "conclave.execution.id": state.execution_id,
            "conclave.workflow.name": state.plan.definition.name,
            "conclave.outcome": last.status.value,
            "messaging.system": self._tracing.system,
            "messaging.operation.type": "process",
            "messaging.message.conversation_id": state.correlation_id,
        }
        if state.workflow_id is not None:
            attributes["conclave.workflow.id"] = state.workflow_id
        error = ""
        if last.status is ExecutionStatus.FAILED:
            failed = list(_failed(state))
            attributes["error.type"] = failed[0][1].type if failed else "unknown"
            error = "; ".join(f"{step}: {one.type}: {one.message}" for step, one in failed) or "it failed"
        self._tracing.record(
            "execution",
            kind=Kind.CONSUMER,
            context=execution,
            parent=None if started == execution else started,
            start=state.started_at,
            end=end,
            attributes=attributes,
            error=error,
        )


def _sort(workflow: str, step: str, attempt: int, agent_type: str, action: str, agent_id: str) -> Sort:
    attributes: dict[str, AttributeValue] = {
        "conclave.workflow.name": workflow,
        "conclave.step": step,
        "conclave.attempt": attempt,
        "conclave.agent.type": agent_type,
        "conclave.action": action,
    }
    if agent_id:
        attributes["conclave.agent.id"] = agent_id
    return Sort(f"step {agent_type}.{action}", Kind.PRODUCER, attributes)


def _failed(state: ExecutionState) -> Iterable[tuple[str, StepError]]:
    for step_id in state.plan.steps:
        step = state.step(step_id)
        if step.status is StepStatus.FAILED and step.error is not None:
            yield step_id, step.error
