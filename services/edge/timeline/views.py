"""From a course and what was found in it to what is shown. Errors and notes are shown without secrets."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from contracts.history import ExecutionStatus, StepError
from services.edge.models import utc
from services.edge.outline import Outline
from services.edge.timeline.course import MICROS, Attempt, Course
from services.edge.timeline.critical_path import Analysis
from services.edge.timeline.models import (
    CriticalPath,
    CriticalStep,
    Timeline,
    TimelineAttempt,
    TimelineError,
    TimelineProgress,
    TimelineStep,
)
from services.edge.timeline.phases import Phase, lengths, spans_of, spans_of_attempt
from services.runtime.masking import masked_text

SHOWN_REPORTS = 20  # of one attempt's progress

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timeline_of(course: Course, outline: Outline, analysis: Analysis | None, *, after: int, limit: int) -> Timeline:
    """The page of ``limit`` steps that follows the first ``after``."""
    order = gantt_order(course)
    shown = order[after : after + limit]
    return Timeline(
        execution_id=course.execution_id,
        workflow_id=course.started.workflow_id,
        workflow_name=course.started.workflow_name,
        status=course.ended.status if course.ended else ExecutionStatus.RUNNING,
        n=course.n,
        started_at=moment(course.started_at),
        ended_at=_optional(course.ended_at),
        as_of=moment(course.until),
        total_seconds=seconds(course.total),
        clock_skew_seconds=seconds(_skew(course)),
        critical_path=None if analysis is None else _critical_path(course, analysis),
        step_count=len(order),
        steps=_steps(course, outline, analysis, shown),
        next=after + limit if after + limit < len(order) else None,
    )


def gantt_order(course: Course) -> list[str]:
    """Steps as they were opened, which keeps the place of each, then the others in the definition's order."""
    return [*course.opened, *(step_id for step_id in course.tracks if step_id not in course.opened)]


def moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def seconds(micros: int) -> float:
    return micros / MICROS


def _skew(course: Course) -> int:
    told = (attempt.skew for track in course.tracks.values() for attempt in track.attempts.values())
    return max(course.skew, max(told, default=0))


def _critical_path(course: Course, analysis: Analysis) -> CriticalPath:
    spent = {step_id: lengths(spans_of(course.tracks[step_id], course.until)) for step_id in analysis.path}
    whole = {phase: sum(each[phase] for each in spent.values()) for phase in Phase}
    steps = [CriticalStep(step_id=step_id, **_spent(each)) for step_id, each in spent.items()]
    return CriticalPath(steps=steps, **_spent(whole))


def _spent(phases: Mapping[Phase, int]) -> dict[str, float]:
    return {
        "total_seconds": seconds(sum(phases.values())),
        "wait_seconds": seconds(phases[Phase.WAIT]),
        "run_seconds": seconds(phases[Phase.RUN]),
        "backoff_seconds": seconds(phases[Phase.BACKOFF]),
        "overhead_seconds": seconds(phases[Phase.DISPATCH] + phases[Phase.RECORD]),
    }


def _steps(course: Course, outline: Outline, analysis: Analysis | None, shown: Iterable[str]) -> list[TimelineStep]:
    critical = frozenset(() if analysis is None else analysis.path)
    slack = {} if analysis is None else analysis.slack
    released_by = {} if analysis is None else analysis.released_by
    steps = []
    for step_id in shown:
        track, known = course.tracks[step_id], outline.steps.get(step_id)
        attempts = [attempt for _, attempt in sorted(track.attempts.items())]
        steps.append(
            TimelineStep(
                **_spent(lengths(spans_of(track, course.until))),
                step_id=step_id,
                status=track.status,
                agent_type=known.agent_type if known else None,
                action=known.action if known else None,
                critical=step_id in critical,
                slack_seconds=seconds(slack[step_id]) if step_id in slack else None,
                released_by=released_by.get(step_id),
                ready_at=_optional(track.ready_at),
                sent_at=moment(attempts[0].sent_at) if attempts else None,
                ended_at=_optional(track.closed_at),
                skipped_because=masked_text(track.skipped_because) or None,
                attempts=[_attempt(attempt, course.until) for attempt in attempts],
            )
        )
    return steps


def _attempt(attempt: Attempt, until: int) -> TimelineAttempt:
    spent = lengths(spans_of_attempt(attempt, until))
    return TimelineAttempt(
        attempt=attempt.number,
        status=attempt.status,
        agent_id=attempt.agent_id or None,
        cached=attempt.cached,
        sent_at=moment(attempt.sent_at),
        began_at=_optional(attempt.began_at),
        began_estimated=attempt.began_estimated,
        finished_at=_optional(attempt.finished_at),
        recorded_at=_optional(attempt.recorded_at),
        dispatch_seconds=seconds(spent[Phase.DISPATCH]),
        wait_seconds=seconds(spent[Phase.WAIT]),
        run_seconds=seconds(spent[Phase.RUN]),
        record_seconds=seconds(spent[Phase.RECORD]),
        error=_error(attempt.error),
        retry_at=_optional(attempt.retry_at),
        resent=attempt.resent,
        clock_skew_seconds=seconds(attempt.skew),
        progress_reports=len(attempt.progress),
        progress=[
            TimelineProgress(fraction=said.fraction, note=masked_text(said.note), at=utc(said.at))
            for said in attempt.progress[-SHOWN_REPORTS:]
        ],
    )


def _error(error: StepError | None) -> TimelineError | None:
    if error is None:
        return None
    return TimelineError(type=masked_text(error.type), message=masked_text(error.message))


def _optional(micros: int | None) -> datetime | None:
    return None if micros is None else moment(micros)
