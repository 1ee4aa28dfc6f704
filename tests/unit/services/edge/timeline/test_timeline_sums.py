"""What has to hold of every timeline, over logs that the engine made: parts add up, and the path and the slack are what
another way of computing them finds."""

from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, event, given, settings

from services.edge.timeline.course import AttemptStatus, Course, course_of
from services.edge.timeline.critical_path import Analysis, analyse
from services.edge.timeline.phases import spans_of
from services.edge.timeline.views import timeline_of
from tests.support.engine_logs import Made, logs

EXAMPLES = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def looked_at(made: Made) -> tuple[Course, Analysis]:
    course = course_of(made.entries, made.outline, made.now)
    analysis = analyse(course, made.outline)
    assert analysis is not None
    return course, analysis


def durations(course: Course) -> dict[str, int]:
    """How long each step that was opened took, from when it could be sent."""
    found = {}
    for step_id, track in course.tracks.items():
        if track.ready_at is not None:
            end = course.until if track.closed_at is None else track.closed_at
            found[step_id] = end - track.ready_at
    return found


def end_of_all(made: Made, course: Course, took: dict[str, int]) -> int:
    """When the last of them ends if each begins once all that it waits for have ended: computed forwards."""
    ends: dict[str, int] = {}
    for step_id, outline in made.outline.steps.items():
        if step_id in took:
            ends[step_id] = took[step_id] + max((ends[one] for one in outline.needs), default=course.started_at)
    return max(ends.values())


@EXAMPLES
@given(logs())
def test_what_the_steps_on_the_critical_path_took_adds_up_to_the_whole(made: Made) -> None:
    course, analysis = looked_at(made)
    event(f"ended {course.ended is not None}")
    for track in course.tracks.values():
        event(f"step {track.status}")
        for attempt in track.attempts.values():
            event(f"attempt {attempt.status}")
    spans = [span for step_id in analysis.path for span in spans_of(course.tracks[step_id], course.until)]
    assert sum(span.length for span in spans) == course.total
    # Without a gap, from the start of the execution to its end.
    at = course.started_at
    for span in spans:
        assert span.begin == at
        assert span.length > 0
        at = span.end
    assert at == course.until


@EXAMPLES
@given(logs())
def test_the_path_is_a_chain_of_dependencies_and_no_chain_is_longer(made: Made) -> None:
    course, analysis = looked_at(made)
    path = analysis.path
    assert made.outline.steps[path[0]].needs == ()
    for before, after in pairwise(path):
        assert before in made.outline.steps[after].needs
        assert analysis.released_by[after] == before
    took = durations(course)
    assert end_of_all(made, course, took) == course.until == course.started_at + sum(took[one] for one in path)


@EXAMPLES
@given(logs())
def test_slack_is_just_how_much_later_a_step_could_have_ended(made: Made) -> None:
    course, analysis = looked_at(made)
    took = durations(course)
    assert analysis.slack.keys() == took.keys()
    assert all(analysis.slack[step_id] == 0 for step_id in analysis.path)
    for step_id, slack in analysis.slack.items():
        assert slack >= 0
        assert end_of_all(made, course, {**took, step_id: took[step_id] + slack}) == course.until
        assert end_of_all(made, course, {**took, step_id: took[step_id] + slack + 1}) == course.until + 1


@EXAMPLES
@given(logs())
def test_moments_follow_each_other_whatever_clocks_said(made: Made) -> None:
    course, _ = looked_at(made)
    for track in course.tracks.values():
        for number, attempt in track.attempts.items():
            told = (attempt.ready_at, attempt.sent_at, attempt.began_at, attempt.finished_at, attempt.recorded_at)
            moments = [moment for moment in told if moment is not None]
            assert moments == sorted(moments), (number, attempt)
            assert (attempt.recorded_at is None) == (attempt.status is AttemptStatus.RUNNING)
        if track.closed_at is not None and track.ready_at is not None:
            assert course.started_at <= track.ready_at <= track.closed_at <= course.until


@EXAMPLES
@given(logs())
def test_the_figures_shown_add_up_and_pages_are_the_whole(made: Made) -> None:
    course, analysis = looked_at(made)
    whole = timeline_of(course, made.outline, analysis, after=0, limit=100)
    parts = [*whole.steps, *whole.critical_path.steps, whole.critical_path] if whole.critical_path else []
    assert parts
    for part in parts:
        four = part.wait_seconds + part.run_seconds + part.backoff_seconds + part.overhead_seconds
        assert abs(four - part.total_seconds) < 1e-6
    assert abs(sum(step.total_seconds for step in whole.critical_path.steps) - whole.total_seconds) < 1e-6
    assert Counter(step.step_id for step in whole.steps) == Counter(list(made.outline.steps))
    assert [step.step_id for step in whole.steps if step.critical] == list(analysis.path)

    paged, after = [], 0
    while after is not None:
        page = timeline_of(course, made.outline, analysis, after=after, limit=3)
        assert (page.critical_path, page.step_count) == (whole.critical_path, whole.step_count)
        paged += page.steps
        after = page.next
    assert paged == whole.steps
