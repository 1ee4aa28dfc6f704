"""``fold``: record an event in a state. It never decides."""

from collections.abc import Callable
from typing import Any

from contracts.history import (
    AttemptFailed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepCancelled,
    StepDispatched,
    StepFailed,
    StepProgressed,
    StepResent,
    StepSkipped,
    StepStatus,
    StepSucceeded,
)
from services.orchestrator.engine.state import ExecutionState


def fold_entry(state: ExecutionState, entry: LogEntry) -> None:
    """Record a whole log entry.

    Raises:
        ValueError: the entry is not the next one, so the log was read wrongly.
    """
    if entry.n != state.n + 1:
        raise ValueError(f"{entry.execution_id}: entry {entry.n} cannot follow entry {state.n}")
    for event in entry.events:
        fold(state, event, cause=entry.applied[event.cause], n=entry.n, at=entry.at)
    state.n = entry.n


def fold(state: ExecutionState, event: Event, *, cause: str, n: int, at: float) -> None:
    """Record one event. ``cause`` is the message it follows from, ``n`` and ``at`` its entry's number and time."""
    _FOLDS[type(event)](state, event, cause, n, at)


def _started(state: ExecutionState, event: ExecutionStarted, cause: str, n: int, at: float) -> None:
    state.status = ExecutionStatus.RUNNING
    state.inputs = event.inputs
    state.request_hash = event.request_hash
    state.client = event.client
    state.workflow_id = event.workflow_id
    state.correlation_id = event.correlation_id
    state.traceparent = event.traceparent
    state.started_at = at
    state.ready.update((step_id, None) for step_id, step in state.plan.steps.items() if not step.needs)


def _dispatched(state: ExecutionState, event: StepDispatched, cause: str, n: int, at: float) -> None:
    step = state.step(event.step)
    step.status = StepStatus.RUNNING
    step.attempt = event.attempt
    step.sent_at = (*step.sent_at, at)
    step.lease_resent = False
    step.reported = None
    state.ready.pop(event.step, None)
    _opened(state, event, cause, n)


def _resent(state: ExecutionState, event: StepResent, cause: str, n: int, at: float) -> None:
    step = state.step(event.step)
    if event.reason == "lease":
        step.lease_resent = True
    else:
        step.restarts += 1
        state.restarted_by.add(cause)
    _opened(state, event, cause, n)


def _opened(state: ExecutionState, event: StepDispatched | StepResent, cause: str, n: int) -> None:
    step = state.step(event.step)
    step.deadline = event.deadline
    step.cause = cause
    step.cause_n = n
    state.active[event.step] = None
    state.schedule(event.step, event.deadline)


def _progressed(state: ExecutionState, event: StepProgressed, cause: str, n: int, at: float) -> None:
    # Not opened anew: a replay of what sent the attempt must still find it under that cause.
    step = state.step(event.step)
    step.lease_resent = False
    if step.reported is None:
        step.reported = {}
    step.reported[event.run_id] = event.number
    step.deadline = event.deadline
    state.schedule(event.step, event.deadline)


def _attempt_failed(state: ExecutionState, event: AttemptFailed, cause: str, n: int, at: float) -> None:
    step = state.step(event.step)
    step.status = StepStatus.WAITING
    step.error = event.error
    step.deadline = event.retry_at
    state.schedule(event.step, event.retry_at)


def _succeeded(state: ExecutionState, event: StepSucceeded, cause: str, n: int, at: float) -> None:
    step = state.step(event.step)
    step.output = event.output
    step.output_ref = event.output_ref
    step.error = None
    _close(state, event.step, StepStatus.SUCCEEDED)


def _failed(state: ExecutionState, event: StepFailed, cause: str, n: int, at: float) -> None:
    step = state.step(event.step)
    step.attempt = event.attempt
    step.error = event.error
    state.failed += 1
    _close(state, event.step, StepStatus.FAILED)


def _skipped(state: ExecutionState, event: StepSkipped, cause: str, n: int, at: float) -> None:
    _close(state, event.step, StepStatus.SKIPPED)


def _cancelled(state: ExecutionState, event: StepCancelled, cause: str, n: int, at: float) -> None:
    _close(state, event.step, StepStatus.CANCELLED)


def _ended(state: ExecutionState, event: ExecutionEnded, cause: str, n: int, at: float) -> None:
    state.status = event.status
    state.ended_at = at
    state.end_cause = cause
    state.end_n = n
    state.ready.clear()


def _close(state: ExecutionState, step_id: str, status: StepStatus) -> None:
    step = state.step(step_id)
    step.status = status
    step.deadline = None
    step.reported = None
    state.unfinished -= 1
    state.ready.pop(step_id, None)
    state.active.pop(step_id, None)
    for waiting in state.plan.dependents[step_id]:
        dependent = state.step(waiting)
        dependent.waiting_on -= 1
        if dependent.waiting_on == 0 and dependent.status is StepStatus.PENDING:
            state.ready[waiting] = None


_FOLDS: dict[type, Callable[[ExecutionState, Any, str, int, float], None]] = {
    ExecutionStarted: _started,
    StepDispatched: _dispatched,
    StepResent: _resent,
    StepProgressed: _progressed,
    AttemptFailed: _attempt_failed,
    StepSucceeded: _succeeded,
    StepFailed: _failed,
    StepSkipped: _skipped,
    StepCancelled: _cancelled,
    ExecutionEnded: _ended,
}
