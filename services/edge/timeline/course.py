"""From an execution's log to the course that it took: when each step could be sent, was sent, was begun, was finished
and was recorded. Pure; it decides nothing.

Times are whole microseconds since the epoch, so that parts add up exactly. Entries carry the orchestrators' clocks, and
within one log they never run backwards here; begin and end of an attempt are told by its host's clock, and are moved
to between its sending and its recording where that clock says otherwise. By how much is kept (``skew``).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from contracts.history import (
    AttemptFailed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    LogEntry,
    StepCancelled,
    StepDispatched,
    StepError,
    StepFailed,
    StepProgressed,
    StepResent,
    StepSkipped,
    StepStatus,
    StepSucceeded,
)
from services.edge.models import LATEST
from services.edge.outline import Outline
from services.edge.projection import started_event

MICROS = 1_000_000  # in a second


def micros(epoch_seconds: float) -> int:
    """Cut as ``models.utc`` cuts, so that both show the same moment of the same number."""
    epoch_seconds = min(max(0.0, epoch_seconds), LATEST)
    whole = math.floor(epoch_seconds)
    return whole * MICROS + math.floor((epoch_seconds - whole) * MICROS)


class AttemptStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"  # an earlier attempt succeeded while this one ran


@dataclass(slots=True)
class Attempt:
    """``ready_at``: from when on it could be sent. ``began_estimated``: no result has said yet when it began, so the
    first report of progress stands for it. ``retry_at``: until when a failed one backs off."""

    number: int
    ready_at: int
    sent_at: int
    status: AttemptStatus = AttemptStatus.RUNNING
    began_at: int | None = None
    began_estimated: bool = False
    finished_at: int | None = None
    recorded_at: int | None = None
    retry_at: int | None = None
    agent_id: str = ""
    cached: bool = False
    error: StepError | None = None
    resent: int = 0
    skew: int = 0
    progress: list[StepProgressed] = field(default_factory=list)


@dataclass(slots=True)
class Track:
    """One step's course. ``ready_at``: when the last of what it waits for had ended; None while that has not happened.
    ``decided_by``: the attempt whose result ended it, None where none did."""

    status: StepStatus = StepStatus.PENDING
    ready_at: int | None = None
    closed_at: int | None = None
    decided_by: int | None = None
    skipped_because: str = ""
    attempts: dict[int, Attempt] = field(default_factory=dict)

    @property
    def latest(self) -> Attempt | None:
        return self.attempts[max(self.attempts)] if self.attempts else None


@dataclass(slots=True)
class Course:
    """``opened`` are the steps in the order in which they were sent, skipped or failed unsent, ``closed`` in the order
    in which they ended. ``until``: the end, or now for an execution that goes on. ``skew``: how far a clock of an
    orchestrator ran behind another's."""

    execution_id: str
    started: ExecutionStarted
    started_at: int
    until: int
    n: int = 0
    ended: ExecutionEnded | None = None
    ended_at: int | None = None
    tracks: dict[str, Track] = field(default_factory=dict)
    opened: dict[str, None] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    skew: int = 0

    def track(self, step_id: str) -> Track:
        return self.tracks.setdefault(step_id, Track())

    @property
    def total(self) -> int:
        return self.until - self.started_at


def course_of(entries: Sequence[LogEntry], outline: Outline, now: float) -> Course:
    """What the whole log says, as of ``now`` (epoch seconds) if it has not ended."""
    started_at = micros(entries[0].at)
    course = Course(entries[0].execution_id, started_event(entries), started_at, started_at)
    course.tracks = {step_id: Track() for step_id in outline.steps}
    reader = _Reader(course, {step_id: step.needs for step_id, step in outline.steps.items()})
    at = started_at
    for entry in entries:
        said = micros(entry.at)
        course.skew = max(course.skew, at - said)
        at = max(at, said)
        for event in entry.events:
            reader.read(event, at)
        course.n = entry.n
    course.until = max(at, micros(now)) if course.ended_at is None else course.ended_at
    return course


class _Reader:
    def __init__(self, course: Course, needs: Mapping[str, tuple[str, ...]]) -> None:
        self._course = course
        self._needs = needs

    def read(self, event: Event, at: int) -> None:
        read = _READS.get(type(event))
        if read is not None:
            read(self, event, at)

    def dispatched(self, event: StepDispatched, at: int) -> None:
        track = self._open(event.step, at)
        before = track.latest
        ready_at = track.ready_at if before is None else max(before.recorded_at or at, before.retry_at or 0)
        track.status = StepStatus.RUNNING
        track.attempts[event.attempt] = Attempt(event.attempt, min(at, ready_at or at), at)

    def resent(self, event: StepResent, at: int) -> None:
        self._attempt(event.step, event.attempt, at).resent += 1

    def progressed(self, event: StepProgressed, at: int) -> None:
        attempt = self._attempt(event.step, event.attempt, at)
        attempt.progress.append(event)
        attempt.agent_id = event.agent_id or attempt.agent_id
        if attempt.began_at is None:
            attempt.began_at, attempt.skew = _between(attempt.sent_at, micros(event.at), at)
            attempt.began_estimated = True

    def attempt_failed(self, event: AttemptFailed, at: int) -> None:
        track = self._course.track(event.step)
        track.status = StepStatus.WAITING
        attempt = self._result(event, AttemptStatus.FAILED, at)
        attempt.retry_at = micros(event.retry_at)
        attempt.error = event.error

    def succeeded(self, event: StepSucceeded, at: int) -> None:
        attempt = self._result(event, AttemptStatus.SUCCEEDED, at)
        attempt.cached = event.cached
        attempt.error = attempt.retry_at = None
        self._close(event.step, StepStatus.SUCCEEDED, at, decided_by=event.attempt)

    def failed(self, event: StepFailed, at: int) -> None:
        self._open(event.step, at)
        if event.attempt:
            self._result(event, AttemptStatus.FAILED, at).error = event.error
        self._close(event.step, StepStatus.FAILED, at, decided_by=event.attempt or None)

    def skipped(self, event: StepSkipped, at: int) -> None:
        self._open(event.step, at).skipped_because = event.reason
        self._close(event.step, StepStatus.SKIPPED, at)

    def cancelled(self, event: StepCancelled, at: int) -> None:
        self._close(event.step, StepStatus.CANCELLED, at)

    def ended(self, event: ExecutionEnded, at: int) -> None:
        self._course.ended = event
        self._course.ended_at = at

    def _open(self, step_id: str, at: int) -> Track:
        track = self._course.track(step_id)
        self._course.opened.setdefault(step_id)
        if track.ready_at is None:
            needs = self._needs.get(step_id)
            track.ready_at = at if needs is None else self._all_ended(needs, at)
        return track

    def _all_ended(self, needs: tuple[str, ...], at: int) -> int:
        ends = (self._course.track(needed).closed_at for needed in needs)
        return max((at if end is None else end for end in ends), default=self._course.started_at)

    def _attempt(self, step_id: str, number: int, at: int) -> Attempt:
        return self._course.track(step_id).attempts.setdefault(number, Attempt(number, at, at))

    def _result(self, event: AttemptFailed | StepSucceeded | StepFailed, status: AttemptStatus, at: int) -> Attempt:
        attempt = self._attempt(event.step, event.attempt, at)
        attempt.status = status
        attempt.agent_id = event.agent_id or attempt.agent_id
        attempt.recorded_at = at
        if event.started_at is not None:
            attempt.began_at, attempt.skew = _between(attempt.sent_at, micros(event.started_at), at)
            attempt.began_estimated = False
        if attempt.began_at is not None and event.finished_at is not None:
            attempt.finished_at, skew = _between(attempt.began_at, micros(event.finished_at), at)
            attempt.skew = max(attempt.skew, skew)
        return attempt

    def _close(self, step_id: str, status: StepStatus, at: int, decided_by: int | None = None) -> None:
        track = self._course.track(step_id)
        track.status = status
        track.closed_at = at
        track.decided_by = decided_by
        left = AttemptStatus.CANCELLED if status is StepStatus.CANCELLED else AttemptStatus.SUPERSEDED
        for attempt in track.attempts.values():
            if attempt.status is AttemptStatus.RUNNING:
                attempt.status = left
                attempt.recorded_at = at
        self._course.closed.append(step_id)


_READS: dict[type[Event], Callable[[_Reader, Any, int], None]] = {
    StepDispatched: _Reader.dispatched,
    StepResent: _Reader.resent,
    StepProgressed: _Reader.progressed,
    AttemptFailed: _Reader.attempt_failed,
    StepSucceeded: _Reader.succeeded,
    StepFailed: _Reader.failed,
    StepSkipped: _Reader.skipped,
    StepCancelled: _Reader.cancelled,
    ExecutionEnded: _Reader.ended,
}


def _between(earliest: int, told: int, latest: int) -> tuple[int, int]:
    """The moment told, moved to between the other two, and by how much it was."""
    moved = min(max(earliest, told), latest)
    return moved, abs(moved - told)
