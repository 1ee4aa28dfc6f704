"""What a step spent its time with: phases that follow each other without a gap, from when it could be sent to its end.

Where an attempt succeeded after it had been given up, it fills the time to the end: those after it ran beside it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.edge.timeline.course import Attempt, Track


class Phase(StrEnum):
    DISPATCH = "dispatch"  # it could be sent, and had not been
    WAIT = "wait"  # sent, and no agent had begun
    RUN = "run"
    RECORD = "record"  # finished, and not yet on the log
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class Span:
    """From ``begin`` to ``end``, in microseconds since the epoch."""

    phase: Phase
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.begin


def spans_of(track: Track, until: int) -> list[Span]:
    """The phases of a step up to its end, or up to ``until`` if it has none yet. They are empty for a step that still
    waits for others, or was cancelled while it did. Phases of no length are left out."""
    if track.ready_at is None:
        return []
    end = until if track.closed_at is None else track.closed_at
    spans: list[Span] = []
    at = track.ready_at
    for phase, moment in _turns(track, end):
        if moment > at:
            spans.append(Span(phase, at, moment))
            at = moment
    return spans


def lengths(spans: list[Span]) -> Mapping[Phase, int]:
    """Microseconds spent in each phase."""
    found: Counter[Phase] = Counter()
    for span in spans:
        found[span.phase] += span.length
    return found


def spans_of_attempt(attempt: Attempt, until: int) -> list[Span]:
    """From when it could be sent to when its result was recorded, or ``until``."""
    track = Track(ready_at=attempt.ready_at, closed_at=attempt.recorded_at, attempts={attempt.number: attempt})
    return spans_of(track, until)


def _turns(track: Track, end: int) -> Iterator[tuple[Phase, int]]:
    """Each phase with the moment at which it was over."""
    attempts = [attempt for _, attempt in sorted(track.attempts.items())]
    for place, attempt in enumerate(attempts):
        yield Phase.DISPATCH, attempt.sent_at
        recorded = end if attempt.recorded_at is None else min(attempt.recorded_at, end)
        yield from _turns_of(attempt, recorded)
        if attempt.retry_at is not None:
            following = attempts[place + 1].sent_at if place + 1 < len(attempts) else end
            yield Phase.BACKOFF, min(attempt.retry_at, following)
    yield Phase.DISPATCH, end


def _turns_of(attempt: Attempt, recorded: int) -> Iterator[tuple[Phase, int]]:
    if attempt.began_at is None:
        yield Phase.WAIT, recorded  # nobody ever said that it had begun
        return
    yield Phase.WAIT, attempt.began_at
    yield Phase.RUN, recorded if attempt.finished_at is None else attempt.finished_at
    yield Phase.RECORD, recorded
