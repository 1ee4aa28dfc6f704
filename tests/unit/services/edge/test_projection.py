"""From a log to the view: written by hand on both sides."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    StepResent,
    StepSkipped,
    StepStatus,
    StepSucceeded,
)
from services.edge.models import ExecutionView, utc
from services.edge.outline import NOTHING_KNOWN, Outline, StepOutline, outline_of
from services.edge.projection import (
    large_values,
    project,
    show_entry,
    started_event,
    with_large_values,
)

HREF = "/api/v1/executions/exec-1"
T0 = 1_769_851_800.0  # 2026-01-31T09:30:00Z
BOOM = StepError(type="Boom", message="it broke", retryable=True)

OUTLINE = Outline(
    steps={
        "load": StepOutline("data_agent", "process_data"),
        "decide": StepOutline("decision_agent", "make_decision"),
        "report": StepOutline("coordinator_agent", "aggregate"),
    },
    last=frozenset({"decide", "report"}),
)


def log(*commits: tuple[Event, ...], applied: tuple[str, ...] = ("m",)) -> list[LogEntry]:
    """Entries a second apart, from ``T0``, the first of which begins the execution."""
    started = ExecutionStarted(
        definition_hash="d" * 64, request_hash="r" * 64, workflow_id="wf-1", workflow_name="test", inputs={"x": 1}
    )
    entries = [LogEntry(execution_id="exec-1", n=1, at=T0, applied=("start",), events=(started, *commits[0]))]
    entries += [
        LogEntry(execution_id="exec-1", n=n, at=T0 + n - 1, applied=applied, events=events)
        for n, events in enumerate(commits[1:], start=2)
    ]
    return entries


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(T0 + seconds, UTC)


def sent(step: str, attempt: int = 1) -> StepDispatched:
    return StepDispatched(step=step, attempt=attempt, deadline=T0 + 330)


def view(*commits: tuple[Event, ...]) -> ExecutionView:
    return project(log(*commits), OUTLINE, HREF)


@given(st.floats(min_value=1.6e9, max_value=4e9))
def test_a_time_that_is_shown_is_never_later_than_it_was(moment: float) -> None:
    shown = utc(moment)
    assert shown.timestamp() <= moment < shown.timestamp() + 2e-6
    assert shown.tzinfo is UTC


def test_a_started_execution_shows_every_step_of_its_definition() -> None:
    shown = view((sent("load"),))
    assert (shown.execution_id, shown.workflow_id, shown.workflow_name) == ("exec-1", "wf-1", "test")
    assert shown.status is ExecutionStatus.RUNNING
    assert (shown.started_at, shown.ended_at, shown.duration_seconds) == (at(0), None, None)
    assert shown.inputs == {"x": 1}
    assert shown.n == 1
    assert list(shown.steps) == ["load", "decide", "report"]
    assert [step.status for step in shown.steps.values()] == [
        StepStatus.RUNNING,
        StepStatus.PENDING,
        StepStatus.PENDING,
    ]
    assert (shown.steps["load"].agent_type, shown.steps["load"].action) == ("data_agent", "process_data")
    assert shown.counts == {StepStatus.RUNNING: 1, StepStatus.PENDING: 2}
    assert (shown.outputs, shown.errors) == ({}, {})


def test_workflow_status_tracking_through_to_the_outputs() -> None:
    shown = view(
        (sent("load"),),
        (
            StepSucceeded(
                step="load", attempt=1, output=[1, 2], agent_id="a1", started_at=T0 + 0.25, finished_at=T0 + 0.75
            ),
            sent("decide"),
            sent("report"),
        ),
        (StepSucceeded(step="decide", attempt=1, output={"winner": "B"}),),
        (
            StepSucceeded(step="report", attempt=1, output=None, cached=True),
            ExecutionEnded(status=ExecutionStatus.COMPLETED),
        ),
    )
    assert shown.status is ExecutionStatus.COMPLETED
    assert (shown.ended_at, shown.duration_seconds) == (at(3), 3.0)
    assert shown.outputs == {"decide": {"winner": "B"}, "report": None}
    assert shown.counts == {StepStatus.SUCCEEDED: 3}
    load = shown.steps["load"]
    assert (load.status, load.output, load.agent_id, load.attempts) == (StepStatus.SUCCEEDED, [1, 2], "a1", 1)
    assert (load.dispatched_at, load.started_at, load.ended_at) == (at(0), at(0.25), at(0.75))
    assert load.duration_seconds == 0.5
    # An agent that gives no times: the end is the entry's, and how long it took is unknown.
    assert (shown.steps["decide"].ended_at, shown.steps["decide"].duration_seconds) == (at(2), None)
    assert shown.steps["report"].cached


def test_a_retried_step_waits_runs_again_and_forgets_its_error() -> None:
    failed = AttemptFailed(step="load", attempt=1, error=BOOM, retry_at=T0 + 9, started_at=T0, finished_at=T0 + 1)
    waiting = view((sent("load"),), (failed,)).steps["load"]
    assert (waiting.status, waiting.attempts, waiting.error) == (StepStatus.WAITING, 1, BOOM)
    assert waiting.next_attempt_at == at(9)

    running = view((sent("load"),), (failed,), (sent("load", 2),)).steps["load"]
    assert (running.status, running.attempts, running.error) == (StepStatus.RUNNING, 2, BOOM)
    assert (running.dispatched_at, running.started_at, running.ended_at) == (at(0), None, None)
    assert running.next_attempt_at is None

    resent = StepResent(step="load", attempt=2, deadline=T0 + 400)
    done = StepSucceeded(step="load", attempt=2, output=1)
    succeeded = view((sent("load"),), (failed,), (sent("load", 2),), (resent,), (done,)).steps["load"]
    assert (succeeded.status, succeeded.attempts, succeeded.error) == (StepStatus.SUCCEEDED, 2, None)


def test_a_failed_execution_shows_its_errors_and_what_was_left() -> None:
    shown = view(
        (sent("load"),),
        (
            StepFailed(step="load", attempt=1, error=BOOM, agent_id="a1"),
            StepSkipped(step="decide", reason="needs load, which failed"),
            StepCancelled(step="report"),
            ExecutionEnded(status=ExecutionStatus.FAILED, reason="step load failed"),
        ),
    )
    assert shown.status is ExecutionStatus.FAILED
    assert shown.reason == "step load failed"
    assert shown.errors == {"load": BOOM}
    assert shown.outputs == {}
    assert shown.counts == {StepStatus.FAILED: 1, StepStatus.SKIPPED: 1, StepStatus.CANCELLED: 1}
    assert shown.steps["decide"].skipped_because == "needs load, which failed"
    assert shown.steps["report"].ended_at == at(1)


def test_large_values_are_links_until_they_are_asked_for() -> None:
    ref = PayloadRef(payload_id="exec-1/abc", size=100_000)
    shown = view(
        (sent("load"),),
        (
            StepSucceeded(step="load", attempt=1, output_ref=PayloadRef(payload_id="exec-1/xyz", size=70_000)),
            StepSucceeded(step="decide", attempt=1, output_ref=ref),
            StepSucceeded(step="report", attempt=1, output="small"),
        ),
    )
    link = shown.steps["decide"].large_output
    assert link is not None
    assert (link.size, link.href) == (100_000, f"{HREF}/steps/decide/output")
    assert shown.outputs == {"report": "small"}
    assert shown.large_outputs == {"decide": link}
    assert large_values(shown) == {"exec-1/abc", "exec-1/xyz"}

    full = with_large_values(shown, {"exec-1/abc": ["much"], "exec-1/xyz": {"a": "lot"}})
    assert full.outputs == {"decide": ["much"], "report": "small"}
    assert full.large_outputs == {}
    assert full.steps["load"].output == {"a": "lot"}
    assert full.steps["decide"].large_output == link
    assert shown.steps["decide"].output is None, "the first view is unchanged"

    part = with_large_values(shown, {"exec-1/xyz": 1})
    assert (part.outputs, part.large_outputs) == ({"report": "small"}, {"decide": link})


def test_large_inputs_are_links_too() -> None:
    entries = log((sent("load"),))
    started = started_event(entries)
    large = started.model_copy(update={"inputs": None, "inputs_ref": PayloadRef(payload_id="exec-1/in", size=90_000)})
    entries[0] = entries[0].model_copy(update={"events": (large, *entries[0].events[1:])})
    shown = project(entries, OUTLINE, HREF)
    assert shown.inputs is None
    assert large_values(shown) == {"exec-1/in"}
    assert with_large_values(shown, {"exec-1/in": {"x": 2}}).inputs == {"x": 2}


def test_a_log_without_its_definition_is_still_shown() -> None:
    shown = project(log((sent("load"),), (StepSucceeded(step="load", attempt=1, output=1),)), NOTHING_KNOWN, HREF)
    assert (shown.steps["load"].status, shown.steps["load"].agent_type) == (StepStatus.SUCCEEDED, None)
    assert shown.outputs == {}


def test_a_log_that_does_not_begin_with_its_start_is_refused() -> None:
    entries = log((sent("load"),), (sent("decide"),))[1:]
    with pytest.raises(ValueError, match="does not begin with execution_started"):
        project(entries, OUTLINE, HREF)


def test_history_names_the_message_that_each_event_follows_from() -> None:
    events = (
        StepSucceeded(step="load", attempt=1, output=1, cause=1),
        StepDispatched(step="decide", attempt=1, deadline=1),
    )
    entry = LogEntry(execution_id="exec-1", n=7, at=T0, applied=("result-a", "result-b"), events=events)
    shown = show_entry(entry)
    assert (shown.n, shown.at, shown.applied) == (7, at(0), ("result-a", "result-b"))
    assert [(event.kind, event.cause) for event in shown.events] == [
        ("step_succeeded", "result-b"),
        ("step_dispatched", "result-a"),
    ]
    content: dict[str, Any] = shown.events[0].model_dump()
    assert (content["step"], content["output"]) == ("load", 1)


def test_the_outline_knows_the_last_steps_by_declared_and_by_implied_dependencies() -> None:
    step = {"agent_type": "data_agent", "action": "process_data"}
    outline = outline_of(
        {
            "name": "test",
            "steps": [
                {"id": "a", **step},
                {"id": "b", **step, "inputs": {"data": "a.output.rows"}},
                {"id": "c", **step, "depends_on": ["a"]},
                {"id": "d", **step, "inputs": {"n": "${ steps.c.output.n + 1 }"}},
                {"id": "e", **step},
            ],
            "dependencies": {"e": ["b"]},
        }
    )
    assert list(outline.steps) == ["a", "b", "c", "d", "e"]
    assert outline.last == {"d", "e"}


def progressed(attempt: int, fraction: float, note: str = "") -> StepProgressed:
    return StepProgressed(
        step="load",
        attempt=attempt,
        fraction=fraction,
        note=note,
        agent_id="data_agent-1",
        run_id="r",
        number=1,
        at=T0 + 0.5,
        deadline=T0 + 90,
    )


def test_a_running_step_shows_what_its_agent_said_last() -> None:
    sent = (StepDispatched(step="load", attempt=1, deadline=T0 + 30),)
    entries = log(sent, (progressed(1, 0.25),), (progressed(1, 0.5, "half of it"),))
    step = project(entries, OUTLINE, HREF).steps["load"]
    assert step.status is StepStatus.RUNNING
    assert step.progress is not None
    assert step.progress.model_dump() == {
        "fraction": 0.5,
        "note": "half of it",
        "at": utc(T0 + 0.5),
        "agent_id": "data_agent-1",
    }
    resent = StepResent(step="load", attempt=1, deadline=T0 + 60)
    assert project([*entries, *log(sent, (resent,))[1:]], OUTLINE, HREF).steps["load"].progress == step.progress


@pytest.mark.parametrize(
    "after",
    [
        StepSucceeded(step="load", attempt=1, output=1),
        StepFailed(step="load", attempt=1, error=BOOM),
        AttemptFailed(step="load", attempt=1, error=BOOM, retry_at=T0 + 60),
        StepDispatched(step="load", attempt=2, deadline=T0 + 90),
        StepCancelled(step="load"),
    ],
)
def test_progress_is_gone_when_its_attempt_has_ended(after: Event) -> None:
    sent = (StepDispatched(step="load", attempt=1, deadline=T0 + 30), progressed(1, 0.5))
    assert project(log(sent, (after,)), OUTLINE, HREF).steps["load"].progress is None


def test_when_progress_was_made_is_not_taken_for_when_it_was_stored() -> None:
    (*_, shown) = show_entry(log((progressed(1, 0.5),))[0]).events
    fields = shown.model_dump()
    assert (fields["kind"], fields["reported_at"]) == ("step_progressed", T0 + 0.5)
    assert "at" not in fields
