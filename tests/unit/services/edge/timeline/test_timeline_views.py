"""Timelines worked out by hand: the log on one side, what is shown on the other."""

from typing import Any

import pytest

from contracts.history import (
    AttemptFailed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepCancelled,
    StepDispatched,
    StepError,
    StepFailed,
    StepProgressed,
    StepResent,
    StepSkipped,
    StepSucceeded,
)
from services.edge import examples as edge_examples
from services.edge.outline import NOTHING_KNOWN, Outline, StepOutline
from services.edge.timeline import examples
from services.edge.timeline.bars import text_of
from services.edge.timeline.course import course_of
from services.edge.timeline.critical_path import analyse
from services.edge.timeline.models import CriticalPath, Timeline, TimelineStep
from services.edge.timeline.views import timeline_of

T0 = 1_769_851_800.0  # 2026-01-31T09:30:00Z
BOOM = StepError(type="Boom", message="password=hunter2 was wrong", retryable=True)


def outline(**needs: tuple[str, ...]) -> Outline:
    waited_for = {one for each in needs.values() for one in each}
    steps = {step_id: StepOutline("desk_agent", "work", each) for step_id, each in needs.items()}
    return Outline(steps, frozenset(needs) - waited_for)


def log(*commits: tuple[float, tuple[Event, ...]]) -> list[LogEntry]:
    """Entries at these seconds after ``T0``; the first begins the execution."""
    started = ExecutionStarted(definition_hash="d", request_hash="r", workflow_id="wf-1", workflow_name="test")
    return [
        LogEntry(
            execution_id="exec-1",
            n=n,
            at=T0 + at,
            applied=("m",),
            events=(started, *events) if n == 1 else events,
        )
        for n, (at, events) in enumerate(commits, start=1)
    ]


def shown(known: Outline, *commits: tuple[float, tuple[Event, ...]], now: float = 1000.0, **page: int) -> Timeline:
    course = course_of(log(*commits), known, T0 + now)
    return timeline_of(course, known, analyse(course, known), **{"after": 0, "limit": 100, **page})


def by_id(timeline: Timeline) -> dict[str, TimelineStep]:
    return {step.step_id: step for step in timeline.steps}


def path_of(timeline: Timeline) -> CriticalPath:
    assert timeline.critical_path is not None
    return timeline.critical_path


def sent(step: str, attempt: int = 1) -> StepDispatched:
    return StepDispatched(step=step, attempt=attempt, deadline=T0 + 330)


def ok(step: str, began: float | None = None, finished: float | None = None, **more: Any) -> StepSucceeded:
    return StepSucceeded(step=step, **{"attempt": 1, "agent_id": "desk-1", **more, **times(began, finished)})


def failing(step: str, retry_at: float, began: float | None, finished: float | None, attempt: int = 1) -> AttemptFailed:
    return AttemptFailed(step=step, attempt=attempt, error=BOOM, retry_at=T0 + retry_at, **times(began, finished))


def times(began: float | None, finished: float | None) -> dict[str, float | None]:
    return {
        "started_at": None if began is None else T0 + began,
        "finished_at": None if finished is None else T0 + finished,
    }


COMPLETED = ExecutionEnded(status=ExecutionStatus.COMPLETED)


def test_the_path_goes_through_the_slower_branch_and_the_other_has_slack() -> None:
    timeline = shown(
        outline(load=(), slow=("load",), fast=("load",), after_fast=("fast",), join=("slow", "after_fast")),
        (0, (sent("load"),)),
        (2, (ok("load", 0.5, 1.75), sent("slow"), sent("fast"))),
        (3, (ok("fast", 2.25, 2.75), sent("after_fast"))),
        (4.5, (ok("after_fast", 3.5, 4.25),)),
        (10, (ok("slow", 4, 9.5), sent("join"))),
        (11, (ok("join", 10.25, 10.5), COMPLETED)),
    )
    assert (timeline.status, timeline.total_seconds, timeline.next) == ("completed", 11.0, None)
    path = path_of(timeline)
    assert [(step.step_id, step.total_seconds) for step in path.steps] == [("load", 2.0), ("slow", 8.0), ("join", 1.0)]
    assert [step.wait_seconds for step in path.steps] == [0.5, 2.0, 0.25]
    assert [step.run_seconds for step in path.steps] == [1.25, 5.5, 0.25]
    assert [step.overhead_seconds for step in path.steps] == [0.25, 0.5, 0.5]
    assert (path.total_seconds, path.wait_seconds, path.run_seconds, path.overhead_seconds) == (11.0, 2.75, 7.0, 1.25)
    steps = by_id(timeline)
    assert [step.step_id for step in timeline.steps] == ["load", "slow", "fast", "after_fast", "join"]
    # Both could have ended 5.5 s later: the join waited for slow until 10, and after_fast was there at 4.5.
    assert {name: step.slack_seconds for name, step in steps.items() if not step.critical} == {
        "fast": 5.5,
        "after_fast": 5.5,
    }
    assert {name: step.released_by for name, step in steps.items()} == {
        "load": None,
        "slow": "load",
        "fast": "load",
        "after_fast": "fast",
        "join": "slow",
    }


def test_of_two_results_in_one_commit_the_work_that_was_finished_last_counts() -> None:
    known = outline(a=(), b=(), join=("a", "b"))
    for first, second in (("a", "b"), ("b", "a")):
        finished = {"a": ok("a", 0.25, 1), "b": ok("b", 0.5, 3)}
        timeline = shown(
            known,
            (0, (sent("a"), sent("b"))),
            (4, (finished[first], finished[second], sent("join"))),
            (5, (ok("join", 4.5, 4.75), COMPLETED)),
        )
        assert [step.step_id for step in path_of(timeline).steps] == ["b", "join"]


def test_a_retried_step_shows_its_backoff_and_what_came_after_it() -> None:
    timeline = shown(
        outline(load=()),
        (0, (sent("load"),)),
        (1, (failing("load", 3, 0.25, 0.75),)),
        (3.5, (sent("load", 2),)),
        (4, (StepResent(step="load", attempt=2, deadline=T0 + 400),)),
        (6, (ok("load", 5, 5.75, attempt=2), COMPLETED)),
    )
    step = by_id(timeline)["load"]
    assert (step.total_seconds, step.backoff_seconds, step.run_seconds) == (6.0, 2.0, 1.25)
    assert (step.wait_seconds, step.overhead_seconds) == (0.25 + 1.5, 0.25 + 0.5 + 0.25)
    first, second = step.attempts
    assert (first.status, first.dispatch_seconds, first.wait_seconds) == ("failed", 0.0, 0.25)
    assert (first.run_seconds, first.record_seconds, first.resent) == (0.5, 0.25, 0)
    assert first.error is not None
    assert (first.error.type, first.error.message) == ("Boom", "password=*** was wrong")
    # The timer fired half a second after the backoff was over.
    assert (second.status, second.dispatch_seconds, second.wait_seconds) == ("succeeded", 0.5, 1.5)
    assert (second.run_seconds, second.record_seconds, second.resent, second.error) == (0.75, 0.25, 1, None)


def test_an_attempt_given_up_that_succeeds_late_leaves_those_after_it_out() -> None:
    timeline = shown(
        outline(load=()),
        (0, (sent("load"),)),
        (5, (failing("load", 6, None, None),)),
        (6, (sent("load", 2),)),
        (8, (ok("load", 1, 7.5), COMPLETED)),
    )
    step = by_id(timeline)["load"]
    assert [attempt.status for attempt in step.attempts] == ["succeeded", "superseded"]
    assert (step.wait_seconds, step.run_seconds, step.backoff_seconds, step.overhead_seconds) == (1.0, 6.5, 0.0, 0.5)
    assert (step.attempts[0].error, step.attempts[0].retry_at) == (None, None)
    assert (step.attempts[1].wait_seconds, step.attempts[1].recorded_at) == (2.0, timeline.ended_at)


def test_an_execution_that_goes_on_is_shown_as_of_now() -> None:
    commits = (
        (0, (sent("done"), sent("working"))),
        (1, (ok("done", 0.25, 0.75), sent("unseen"))),
        (
            4,
            (
                StepProgressed(
                    step="working",
                    attempt=1,
                    fraction=0.5,
                    note="token=abcdef0123456789 half",
                    agent_id="desk-7",
                    run_id="r",
                    at=T0 + 3.5,
                    deadline=T0 + 300,
                ),
            ),
        ),
    )
    known = outline(done=(), working=(), unseen=("done",), later=("working", "unseen"))
    timeline = shown(known, *commits, now=10)
    assert (timeline.status, timeline.ended_at, timeline.total_seconds) == ("running", None, 10.0)
    steps = by_id(timeline)
    assert list(steps) == ["done", "working", "unseen", "later"]
    # It may have begun long before its first report; what is known is that it had by then.
    (working,) = steps["working"].attempts
    assert (working.began_estimated, working.wait_seconds, working.run_seconds) == (True, 3.5, 6.5)
    assert (working.agent_id, working.progress_reports, working.progress[0].fraction) == ("desk-7", 1, 0.5)
    assert "abcdef0123456789" not in working.progress[0].note
    (unseen,) = steps["unseen"].attempts
    assert (unseen.began_at, unseen.wait_seconds, unseen.run_seconds, unseen.recorded_at) == (None, 9.0, 0.0, None)
    ended = shown(known, *commits, (6, (ok("working", 0.5, 5.5),)), now=10)
    (told,) = by_id(ended)["working"].attempts
    assert (told.began_estimated, told.wait_seconds, told.run_seconds) == (False, 0.5, 5.0)
    # Of the steps that are open, the one that has been so for longest.
    assert [step.step_id for step in path_of(timeline).steps] == ["working"]
    assert path_of(timeline).total_seconds == 10.0
    assert (steps["done"].slack_seconds, steps["unseen"].slack_seconds) == (0.0, 0.0)
    later = steps["later"]
    assert (later.status, later.ready_at, later.slack_seconds, later.total_seconds) == ("pending", None, None, 0.0)
    assert not later.attempts

    earlier = shown(known, *commits, now=2)  # this edge's clock is behind
    assert (earlier.as_of.timestamp(), earlier.total_seconds) == (T0 + 4, 4.0)


def test_a_failed_step_and_what_was_skipped_for_it() -> None:
    timeline = shown(
        outline(load=(), use=("load",), note=("use",), unsent=()),
        (0, (sent("load"), StepFailed(step="unsent", attempt=0, error=BOOM))),
        (
            2,
            (
                StepFailed(step="load", attempt=1, error=BOOM, **times(0.5, 1.5)),
                StepSkipped(step="use", reason="load failed"),
                sent("note"),
            ),
        ),
        (3, (ok("note", 2.25, 2.5, cached=True), ExecutionEnded(status=ExecutionStatus.FAILED))),
    )
    steps = by_id(timeline)
    assert timeline.status == "failed"
    assert [step.step_id for step in path_of(timeline).steps] == ["load", "use", "note"]
    assert [step.total_seconds for step in path_of(timeline).steps] == [2.0, 0.0, 1.0]
    assert (steps["use"].skipped_because, steps["use"].attempts) == ("load failed", [])
    assert steps["note"].attempts[0].cached
    assert (steps["unsent"].attempts, steps["unsent"].slack_seconds, steps["unsent"].total_seconds) == ([], 3.0, 0.0)


def test_a_cancelled_execution_ends_with_the_step_that_had_been_open_for_longest() -> None:
    timeline = shown(
        outline(a=(), b=(), c=("a",), d=("c",)),
        (0, (sent("a"), sent("b"))),
        (1, (ok("a", 0.25, 0.5), sent("c"))),
        (2, (failing("c", 50, 1.25, 1.75),)),
        (
            5,
            (
                StepCancelled(step="b"),
                StepCancelled(step="c"),
                StepCancelled(step="d"),
                ExecutionEnded(status=ExecutionStatus.CANCELLED),
            ),
        ),
    )
    steps = by_id(timeline)
    assert [step.step_id for step in path_of(timeline).steps] == ["b"]
    assert (path_of(timeline).total_seconds, timeline.total_seconds) == (5.0, 5.0)
    assert [attempt.status for attempt in steps["b"].attempts] == ["cancelled"]
    assert (steps["c"].backoff_seconds, steps["c"].total_seconds, steps["c"].slack_seconds) == (3.0, 4.0, 0.0)
    assert (steps["d"].status, steps["d"].ready_at, steps["d"].slack_seconds) == ("cancelled", None, None)


def test_clocks_that_differ_are_moved_to_what_can_be_and_told_of() -> None:
    timeline = shown(
        outline(early=(), late=("early",), mad=("late",)),
        (0, (sent("early"),)),
        (1, (ok("early", -30, -29), sent("late"))),
        (2, (ok("late", 40, 41), sent("mad"))),
        (1.5, (ok("mad", float("inf"), float("nan")), COMPLETED)),
    )
    steps = by_id(timeline)
    assert (steps["early"].wait_seconds, steps["early"].run_seconds, steps["early"].overhead_seconds) == (0.0, 0.0, 1.0)
    assert steps["early"].attempts[0].clock_skew_seconds == 30.0
    assert (steps["late"].wait_seconds, steps["late"].run_seconds, steps["late"].overhead_seconds) == (1.0, 0.0, 0.0)
    assert steps["late"].attempts[0].clock_skew_seconds == 39.0
    # The last commit's clock was half a second behind: the log does not run backwards.
    assert (steps["mad"].total_seconds, timeline.total_seconds, path_of(timeline).total_seconds) == (0.0, 2.0, 2.0)
    assert timeline.clock_skew_seconds > 1e9


def test_the_log_alone_is_shown_where_the_definition_is_missing() -> None:
    timeline = shown(
        NOTHING_KNOWN,
        (0, (sent("a"),)),
        (2, (ok("a", 0.5, 1.5), sent("b"))),
        (4, (ok("b", 2.5, 3.5), COMPLETED)),
    )
    assert timeline.critical_path is None
    steps = by_id(timeline)
    assert {(step.agent_type, step.slack_seconds, step.critical) for step in timeline.steps} == {(None, None, False)}
    assert (steps["b"].total_seconds, steps["b"].wait_seconds) == (2.0, 0.5)


def test_only_the_latest_reports_of_progress_are_shown() -> None:
    reports = tuple(
        StepProgressed(step="a", attempt=1, fraction=i / 100, run_id="r", number=i, at=T0 + i, deadline=T0 + 300)
        for i in range(1, 51)
    )
    (attempt,) = by_id(shown(outline(a=()), (0, (sent("a"),)), (60, reports), now=70))["a"].attempts
    assert (attempt.progress_reports, len(attempt.progress)) == (50, 20)
    assert [attempt.progress[0].fraction, attempt.progress[-1].fraction] == [0.31, 0.5]


@pytest.mark.parametrize(
    ("after", "limit", "steps", "following"),
    [(0, 2, "ab", 2), (2, 2, "c", None), (0, 3, "abc", None), (9, 1, "", None)],
)
def test_a_page_has_its_steps_and_the_whole_path(after: int, limit: int, steps: str, following: int | None) -> None:
    page = shown(outline(a=(), b=("a",), c=("b",)), (0, (sent("a"),)), now=1, after=after, limit=limit)
    assert ("".join(step.step_id for step in page.steps), page.next, page.step_count) == (steps, following, 3)
    assert [step.step_id for step in path_of(page).steps] == ["a"]


def test_the_examples_are_what_a_log_gives() -> None:
    started = ExecutionStarted(
        definition_hash="d", request_hash="r", workflow_id=edge_examples.WORKFLOW_ID, workflow_name="test_workflow"
    )
    known = Outline(
        {
            "step1": StepOutline("data_agent", "process_data"),
            "step2": StepOutline("decision_agent", "make_decision", ("step1",)),
        },
        frozenset({"step2"}),
    )
    commits: list[tuple[float, tuple[Event, ...]]] = [
        (0, (started, sent("step1"))),
        (0.109375, (ok("step1", 0.015625, 0.09375, agent_id="data_agent-1"), sent("step2"))),
        (0.1875, (ok("step2", 0.125, 0.171875, agent_id="decision_agent-1"), COMPLETED)),
    ]
    entries = [
        LogEntry(execution_id=edge_examples.EXECUTION_ID, n=n, at=T0 + at, applied=("m",), events=events)
        for n, (at, events) in enumerate(commits, start=1)
    ]
    course = course_of(entries, known, T0 + 9)
    analysis = analyse(course, known)
    assert timeline_of(course, known, analysis, after=0, limit=100).model_dump(mode="json") == examples.TIMELINE
    assert text_of(course, known, analysis, after=0, limit=100) == examples.TEXT
