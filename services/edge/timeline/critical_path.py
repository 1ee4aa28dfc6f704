"""The critical path of an execution, and how much later every other step could have ended.

An execution's end is walked back from: to the step that ended last, from there to the one that ended last of those that
it had waited for, and so on to the start. This is the path of last arrivals that Yang and Miller walk ("Critical path
analysis for the execution of parallel and distributed programs", ICDCS 1988), on the graph of activities of Kelley and
Walker ("Critical-path planning and scheduling", Eastern Joint Computer Conference 1959, doi:10.1145/1460299.1460318).
A step can be sent the moment that the last of what it waits for is recorded, so the times of the steps on the path,
each from there to its own end, add up to the execution's.

Slack is Kelley and Walker's total float, of what happened: the difference between a step's end and the latest one
with which, everything after it taking as long as it did, the execution would have ended when it did.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.edge.outline import Outline
from services.edge.timeline.course import Course, Track


@dataclass(frozen=True, slots=True)
class Analysis:
    """``path``: steps from first to last. ``slack``: microseconds, of the steps that were opened. ``released_by``: of
    those that had something to wait for, what they waited for longest."""

    path: tuple[str, ...]
    slack: Mapping[str, int]
    released_by: Mapping[str, str]


def analyse(course: Course, outline: Outline) -> Analysis | None:
    """None where the definition is missing: nobody knows then who waited for whom."""
    if not outline.steps:
        return None
    ranks = _ranks(course, outline)
    waited_for = {step_id: [one for one in _needs(outline, step_id) if one in ranks] for step_id in course.opened}
    released_by = {step_id: max(ended, key=ranks.__getitem__) for step_id, ended in waited_for.items() if ended}
    return Analysis(_path(ranks, released_by), _slack(course, outline), released_by)


Rank = tuple[int, int, int, int]


def _ranks(course: Course, outline: Outline) -> dict[str, Rank]:
    """Of any two steps, the one with the higher rank ended last. One commit records many results at one time: of these
    the work that was finished last counts, then the one that took longest, then the definition's order."""
    finished: dict[str, int] = {}
    for step_id in course.closed:
        finished[step_id] = _finished(course.tracks[step_id], _needs(outline, step_id), finished, course)
    ranks = {}
    for place, step_id in enumerate(outline.steps):
        track = course.tracks[step_id]
        if track.ready_at is not None:
            end = _end(track, course)
            ranks[step_id] = (end, finished.get(step_id, end), -track.ready_at, -place)
    return ranks


def _finished(track: Track, needs: tuple[str, ...], finished: Mapping[str, int], course: Course) -> int:
    """When the work was done that ended a step: its own, or for one that was never sent that of what it waited for."""
    if track.decided_by is not None:
        done = track.attempts[track.decided_by].finished_at
        return _end(track, course) if done is None else done
    if track.attempts:
        return _end(track, course)
    return max((finished[needed] for needed in needs if needed in finished), default=course.started_at)


def _path(ranks: Mapping[str, Rank], released_by: Mapping[str, str]) -> tuple[str, ...]:
    path: list[str] = []
    step_id = max(ranks, key=ranks.__getitem__, default=None)
    while step_id is not None:
        path.append(step_id)
        step_id = released_by.get(step_id)
    return tuple(reversed(path))


def _slack(course: Course, outline: Outline) -> dict[str, int]:
    """Backwards: who ended later comes first, and whatever waits for a step ends after it."""
    latest = dict.fromkeys(outline.steps, course.until)
    order = [step_id for step_id in course.opened if course.tracks[step_id].closed_at is None]
    order += reversed(course.closed)
    slack: dict[str, int] = {}
    for step_id in order:
        track = course.tracks[step_id]
        if track.ready_at is None or step_id not in latest:
            continue
        end = _end(track, course)
        slack[step_id] = latest[step_id] - end
        begin = latest[step_id] - (end - track.ready_at)
        for needed in _needs(outline, step_id):
            latest[needed] = min(latest[needed], begin)
    return slack


def _needs(outline: Outline, step_id: str) -> tuple[str, ...]:
    step = outline.steps.get(step_id)
    return () if step is None else step.needs


def _end(track: Track, course: Course) -> int:
    return course.until if track.closed_at is None else track.closed_at
