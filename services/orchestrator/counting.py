"""What the orchestrator counts: the events of entries that this replica appended, and how its commits go.

An append whose answer was lost may have landed all the same. So every entry that is not known to have landed is
remembered, and counted when it is found in the log: it is this replica's own if it was made at the same moment of the
same messages.
"""

from collections.abc import Iterable
from typing import Final

from cachetools import LRUCache

from contracts.history import AttemptFailed, LogEntry, StepFailed, StepStatus, StepSucceeded
from services.orchestrator.engine import ExecutionState
from services.orchestrator.work import Work
from services.runtime.telemetry.telemetry import Telemetry
from services.runtime.telemetry.workflow_metrics import (
    DISPATCHED,
    RESENT,
    RETRIED,
    TIMED_OUT,
    StepCounts,
    WorkflowMetrics,
)

TIMEOUTS: Final = frozenset({"Timeout", "LeaseExpired"})
"""Types of errors: the agent's host gave up, or nothing was heard of the attempt."""

_REMEMBERED = 10_000
_TRIES = 10  # of one entry
_Made = tuple[float, tuple[str, ...]]  # when, of which messages


class Counting:
    """Counts for one replica."""

    def __init__(self, metrics: WorkflowMetrics) -> None:
        self.metrics = metrics
        # By the entry's id all that were made under it: one that was sent may land after another was made in its place.
        self._doubtful: LRUCache[str, list[_Made]] = LRUCache(_REMEMBERED)

    def landed(self, works: Iterable[Work]) -> None:
        """Of these the log and the state agree, each for the first time or once more."""
        for work in works:
            if work.entry is not None:
                self._doubtful.pop(work.entry.id, None)
                self._count(work.held.state, work.entry)
            late = [item for item in work.late if not item.counted]
            if late:
                self.metrics.late_results(len(late))
            for item, outcome in work.outcomes:
                if outcome.conflict and not item.counted:
                    self.metrics.start_refused("conflict")
            for item in work.items:
                item.counted = True

    def doubtful(self, entries: Iterable[LogEntry]) -> None:
        """Whether these were appended is not known, or another entry was there before."""
        for entry in entries:
            made = self._doubtful.setdefault(entry.id, [])
            if len(made) < _TRIES:
                made.append((entry.at, entry.applied))

    def read(self, state: ExecutionState, entries: Iterable[LogEntry]) -> None:
        """An execution was read from its log; ``state`` is what the entries fold to."""
        if not self._doubtful:
            return
        for entry in entries:
            if (entry.at, entry.applied) in self._doubtful.pop(entry.id, ()):
                self._count(state, entry)

    def _count(self, state: ExecutionState, entry: LogEntry) -> None:
        # By its kind, since of a Pydantic model that it is not isinstance takes many times as long.
        for event in entry.events:
            if event.kind == "step_succeeded":
                counts = self._of(state, event.step)
                counts.add(StepStatus.SUCCEEDED)
                _timed(counts, state, event, cached=event.cached)
            elif event.kind == "step_dispatched":
                counts = self._of(state, event.step)
                counts.add(DISPATCHED)
                if event.attempt > 1:
                    counts.add(RETRIED)
            elif event.kind == "attempt_failed" or event.kind == "step_failed":
                counts = self._of(state, event.step)
                if event.error.type in TIMEOUTS:
                    counts.add(TIMED_OUT)
                if event.kind == "step_failed":
                    counts.add(StepStatus.FAILED)
                _timed(counts, state, event)
            elif event.kind == "step_resent":
                self._of(state, event.step).add(RESENT + event.reason)
            elif event.kind == "step_skipped":
                self._of(state, event.step).add(StepStatus.SKIPPED)
            elif event.kind == "step_cancelled":
                self._of(state, event.step).add(StepStatus.CANCELLED)
            elif event.kind == "execution_started":
                self.metrics.started()
            elif event.kind == "execution_ended":
                self.metrics.ended(event.status, entry.at - state.started_at)

    def _of(self, state: ExecutionState, step: str) -> StepCounts:
        definition = state.plan.steps[step].definition
        return self.metrics.steps(definition.agent_type, definition.action)


class Uncounted(Counting):
    """For a committer whose work nobody counts."""

    def __init__(self) -> None:
        super().__init__(Telemetry(enabled=False).metrics(WorkflowMetrics))

    def landed(self, works: Iterable[Work]) -> None:
        pass

    def doubtful(self, entries: Iterable[LogEntry]) -> None:
        pass

    def read(self, state: ExecutionState, entries: Iterable[LogEntry]) -> None:
        pass


def counting_for(telemetry: Telemetry | None) -> Counting:
    """What counts for a process with that telemetry."""
    if telemetry is None or not telemetry.enabled:
        return Uncounted()
    return Counting(telemetry.metrics(WorkflowMetrics))


def _timed(
    counts: StepCounts,
    state: ExecutionState,
    event: StepSucceeded | AttemptFailed | StepFailed,
    *,
    cached: bool = False,
) -> None:
    """How long the attempt waited and ran, if any agent worked on it."""
    if event.started_at is None:
        return
    sent_at = state.step(event.step).sent_at
    if 0 < event.attempt <= len(sent_at):
        counts.waited(event.started_at - sent_at[event.attempt - 1])
    if event.finished_at is not None and not cached:
        counts.ran(event.finished_at - event.started_at)
