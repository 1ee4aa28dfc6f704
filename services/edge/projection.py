"""From an execution's log to what is shown of it. Pure; it records what the log says and decides nothing.

Errors and notes are shown without secrets. Inputs and outputs are users' data and shown as they are, but for private
keys and Conclave's own API keys, which nobody can mean to show.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.history import (
    AttemptFailed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    PayloadRef,
    StepCancelled,
    StepDispatched,
    StepError,
    StepFailed,
    StepProgressed,
    StepSkipped,
    StepStatus,
    StepSucceeded,
)
from services.edge.models import (
    ExecutionView,
    HistoryEntry,
    HistoryEvent,
    LargeValue,
    StepProgressView,
    StepView,
    utc,
)
from services.edge.outline import Outline
from services.runtime.masking import masked, masked_text, without_keys


@dataclass(slots=True)
class _Step:
    status: StepStatus = StepStatus.PENDING
    attempts: int = 0
    agent_id: str | None = None
    output: Any = None
    output_ref: PayloadRef | None = None
    error: StepError | None = None
    skipped_because: str | None = None
    cached: bool = False
    dispatched_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    retry_at: float | None = None
    progress: StepProgressed | None = None


class _Execution:
    def __init__(self, outline: Outline) -> None:
        self.started: ExecutionStarted | None = None
        self.started_at = 0.0
        self.ended: ExecutionEnded | None = None
        self.ended_at: float | None = None
        self.steps = {step_id: _Step() for step_id in outline.steps}

    def step(self, step_id: str) -> _Step:
        return self.steps.setdefault(step_id, _Step())


def started_event(entries: Sequence[LogEntry]) -> ExecutionStarted:
    """The first event of a log that is read from its beginning."""
    first = entries[0].events[0]
    if not isinstance(first, ExecutionStarted):
        raise ValueError(f"the log of {entries[0].execution_id} does not begin with execution_started")
    return first


def project(entries: Sequence[LogEntry], outline: Outline, href: str) -> ExecutionView:
    """The view of an execution from its whole log. ``href`` is the path at which the view is served."""
    started_event(entries)
    execution = _Execution(outline)
    for entry in entries:
        for event in entry.events:
            fold = _FOLDS.get(type(event))
            if fold is not None:
                fold(execution, event, entry.at)
    return _view(execution, entries[-1], outline, href)


def show_entry(entry: LogEntry) -> HistoryEntry:
    """A log entry as the history shows it."""
    return HistoryEntry(n=entry.n, at=utc(entry.at), applied=entry.applied, events=show_events(entry))


def show_events(entry: LogEntry) -> list[HistoryEvent]:
    """The entry's events, each with the id of the message that it follows from."""
    return [
        HistoryEvent.model_validate({**_fields(event), "cause": entry.applied[event.cause]}) for event in entry.events
    ]


def _fields(event: Event) -> dict[str, Any]:
    fields = event.model_dump()
    for name, without in _WITHOUT_SECRETS.items():
        if fields.get(name) is not None:
            fields[name] = without(fields[name])
    if isinstance(event, StepProgressed):
        # Beside the entry's own ``at`` it would be taken for it.
        fields["reported_at"] = fields.pop("at")
    return fields


_WITHOUT_SECRETS: Mapping[str, Callable[[Any], Any]] = {
    "inputs": without_keys,
    "output": without_keys,
    "error": masked,
    "note": masked_text,
    "reason": masked_text,
}


def _shown(error: StepError | None) -> StepError | None:
    """An agent may be anybody's: what it says of its failure is not relied upon to be without secrets."""
    return None if error is None else StepError.model_validate(masked(error.model_dump()))


def large_values(view: ExecutionView) -> set[str]:
    """The ids of the payloads that the view leaves out."""
    refs = [step.large_output for step in view.steps.values()]
    return {ref.payload_id for ref in (*refs, view.large_inputs) if ref is not None}


def with_large_values(view: ExecutionView, payloads: Mapping[str, Any]) -> ExecutionView:
    """The view with its large values in their places, as far as ``payloads`` has them."""
    payloads = {payload_id: without_keys(value) for payload_id, value in payloads.items()}
    steps = {
        step_id: step.model_copy(update={"output": payloads[step.large_output.payload_id]})
        if step.large_output is not None and step.large_output.payload_id in payloads
        else step
        for step_id, step in view.steps.items()
    }
    update: dict[str, Any] = {"steps": steps}
    brought = {step_id for step_id, ref in view.large_outputs.items() if ref.payload_id in payloads}
    update["outputs"] = {
        step_id: steps[step_id].output for step_id in view.steps if step_id in view.outputs or step_id in brought
    }
    update["large_outputs"] = {step_id: ref for step_id, ref in view.large_outputs.items() if step_id not in brought}
    if view.large_inputs is not None and view.large_inputs.payload_id in payloads:
        update["inputs"] = payloads[view.large_inputs.payload_id]
    return view.model_copy(update=update)


# ---- folding


def _execution_started(execution: _Execution, event: ExecutionStarted, at: float) -> None:
    execution.started = event
    execution.started_at = at


def _execution_ended(execution: _Execution, event: ExecutionEnded, at: float) -> None:
    execution.ended = event
    execution.ended_at = at


def _dispatched(execution: _Execution, event: StepDispatched, at: float) -> None:
    step = execution.step(event.step)
    step.status = StepStatus.RUNNING
    step.attempts = event.attempt
    step.retry_at = None
    step.progress = None
    step.started_at = None
    step.ended_at = None
    if step.dispatched_at is None:
        step.dispatched_at = at


def _progressed(execution: _Execution, event: StepProgressed, at: float) -> None:
    execution.step(event.step).progress = event


def _attempt_failed(execution: _Execution, event: AttemptFailed, at: float) -> None:
    step = execution.step(event.step)
    step.retry_at = event.retry_at
    step.error = _shown(event.error)
    _result(step, StepStatus.WAITING, event, at)


def _succeeded(execution: _Execution, event: StepSucceeded, at: float) -> None:
    step = execution.step(event.step)
    step.output = without_keys(event.output)
    step.output_ref = event.output_ref
    step.cached = event.cached
    step.error = None
    step.retry_at = None
    _result(step, StepStatus.SUCCEEDED, event, at)


def _failed(execution: _Execution, event: StepFailed, at: float) -> None:
    step = execution.step(event.step)
    step.error = _shown(event.error)
    step.retry_at = None
    _result(step, StepStatus.FAILED, event, at)


def _result(step: _Step, status: StepStatus, event: AttemptFailed | StepSucceeded | StepFailed, at: float) -> None:
    step.status = status
    step.agent_id = event.agent_id or None
    step.started_at = event.started_at
    step.ended_at = event.finished_at if event.finished_at is not None else at


def _skipped(execution: _Execution, event: StepSkipped, at: float) -> None:
    step = execution.step(event.step)
    step.status = StepStatus.SKIPPED
    step.skipped_because = masked_text(event.reason)
    step.ended_at = at


def _cancelled(execution: _Execution, event: StepCancelled, at: float) -> None:
    step = execution.step(event.step)
    step.status = StepStatus.CANCELLED
    step.retry_at = None
    step.ended_at = at


_FOLDS: dict[type[Event], Callable[[_Execution, Any, float], None]] = {
    ExecutionStarted: _execution_started,
    ExecutionEnded: _execution_ended,
    StepDispatched: _dispatched,
    StepProgressed: _progressed,
    AttemptFailed: _attempt_failed,
    StepSucceeded: _succeeded,
    StepFailed: _failed,
    StepSkipped: _skipped,
    StepCancelled: _cancelled,
}


# ---- viewing


def _view(execution: _Execution, latest: LogEntry, outline: Outline, href: str) -> ExecutionView:
    started = execution.started
    assert started is not None
    steps = {step_id: _step_view(step_id, step, outline, href) for step_id, step in execution.steps.items()}
    finished = {i: s for i, s in steps.items() if i in outline.last and s.status is StepStatus.SUCCEEDED}
    ended_at = execution.ended_at
    return ExecutionView(
        execution_id=latest.execution_id,
        n=latest.n,
        workflow_id=started.workflow_id,
        workflow_name=started.workflow_name,
        definition_hash=started.definition_hash,
        client=started.client,
        correlation_id=started.correlation_id,
        status=execution.ended.status if execution.ended else ExecutionStatus.RUNNING,
        reason=masked_text(execution.ended.reason) if execution.ended else "",
        started_at=utc(execution.started_at),
        ended_at=None if ended_at is None else utc(ended_at),
        duration_seconds=None if ended_at is None else ended_at - execution.started_at,
        inputs=without_keys(started.inputs),
        large_inputs=_large(started.inputs_ref, None),
        counts=dict(Counter(step.status for step in steps.values())),
        steps=steps,
        outputs={step_id: step.output for step_id, step in finished.items() if step.large_output is None},
        large_outputs={i: step.large_output for i, step in finished.items() if step.large_output is not None},
        errors={
            step_id: step.error
            for step_id, step in steps.items()
            if step.status is StepStatus.FAILED and step.error is not None
        },
    )


def _step_view(step_id: str, step: _Step, outline: Outline, href: str) -> StepView:
    known = outline.steps.get(step_id)
    timed = step.started_at is not None and step.ended_at is not None
    return StepView(
        status=step.status,
        agent_type=known.agent_type if known else None,
        action=known.action if known else None,
        agent_id=step.agent_id,
        attempts=step.attempts,
        output=step.output,
        large_output=_large(step.output_ref, f"{href}/steps/{step_id}/output"),
        error=step.error,
        skipped_because=step.skipped_because,
        cached=step.cached,
        dispatched_at=_time(step.dispatched_at),
        started_at=_time(step.started_at),
        ended_at=_time(step.ended_at),
        duration_seconds=(step.ended_at or 0.0) - (step.started_at or 0.0) if timed else None,
        next_attempt_at=_time(step.retry_at),
        progress=_progress(step),
    )


def _progress(step: _Step) -> StepProgressView | None:
    said = step.progress
    if said is None or step.status is not StepStatus.RUNNING:
        return None
    return StepProgressView(
        fraction=said.fraction, note=masked_text(said.note), at=utc(said.at), agent_id=said.agent_id
    )


def _time(epoch_seconds: float | None) -> Any:
    return None if epoch_seconds is None else utc(epoch_seconds)


def _large(ref: PayloadRef | None, href: str | None) -> LargeValue | None:
    return None if ref is None else LargeValue(payload_id=ref.payload_id, size=ref.size, href=href)
