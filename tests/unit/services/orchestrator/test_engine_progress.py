"""Progress and cancellation in the engine, worked out by hand: a step that reports lives on, a silent one does not."""

from typing import Any

import pytest

from contracts.execution import StepProgress, StepResult, WakeUp
from contracts.history import LogEntry, StepError, StepProgressed, StepStatus
from contracts.workflow import WorkflowDefinition
from services.orchestrator.engine import (
    Cancel,
    Decision,
    EngineMessage,
    ExecutionState,
    Limits,
    Start,
    UnknownExecution,
    advance,
    execution_plan,
    fold_entry,
)
from services.orchestrator.engine.messages import cause_of
from services.orchestrator.outgoing import cancel_messages, given_up

LEASE = 110.0  # a timeout of 10 and a lease of 100 beyond it


class Long:
    """An execution driven by hand. What its log folds to is compared with the state after every message."""

    def __init__(self, *steps: dict[str, Any]) -> None:
        definition = WorkflowDefinition.model_validate(
            {"name": "w", "steps": [{"agent_type": "a", "action": "do", **step} for step in steps]}
        )
        self.plan = execution_plan(definition, Limits(default_timeout=10, lease=100))
        self.state = ExecutionState("e", self.plan)
        self.log: list[LogEntry] = []
        self.now = 0.0
        self.start = Start(self.plan.definition_hash, "body", "w", inputs={})

    def tell(self, message: EngineMessage) -> Decision:
        decision = advance(self.state, message, self.now)
        if decision.events:
            n = self.state.n = self.state.n + 1
            events = tuple(decision.events)
            self.log.append(LogEntry(execution_id="e", n=n, at=self.now, applied=(decision.cause,), events=events))
            again = ExecutionState("e", self.plan)
            for entry in self.log:
                fold_entry(again, LogEntry.model_validate_json(entry.model_dump_json()))
            assert all(again.step(step) == self.state.step(step) for step in self.plan.steps)
            assert (again.status, again.wake_at) == (self.state.status, self.state.wake_at)
        return decision

    def wake(self) -> Decision:
        return self.tell(WakeUp(execution_id="e", due=self.state.wake_at or 0.0))

    def events(self) -> list[str]:
        return [event.kind for entry in self.log for event in entry.events]


def report(
    number: int = 1, *, step: str = "a", attempt: int = 1, run: str = "r", fraction: float = 0.5
) -> StepProgress:
    return StepProgress(
        execution_id="e",
        step=step,
        attempt=attempt,
        run_id=run,
        number=number,
        fraction=fraction,
        note=f"part {number}",
        agent_id="worker",
        at=float(number),
    )


def result(step: str = "a", *, attempt: int = 1, error: str | None = None) -> StepResult:
    fault = StepError(type=error, message=error, retryable=True) if error else None
    result_id = f"{step}{attempt}{error}"
    return StepResult(result_id=result_id, execution_id="e", step=step, attempt=attempt, ok=fault is None, error=fault)


def test_a_report_is_an_event_that_extends_the_deadline() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    run.now = 30
    (event,) = run.tell(report(1, fraction=0.25)).events
    assert event == StepProgressed(
        step="a",
        attempt=1,
        fraction=0.25,
        note="part 1",
        agent_id="worker",
        run_id="r",
        number=1,
        at=1.0,
        deadline=30 + LEASE,
    )
    assert run.state.wake_at == 30 + LEASE


def test_a_step_that_reports_for_many_leases_neither_fails_nor_is_sent_again() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    for number in range(1, 20):
        run.now += 100
        assert run.wake().commands == []
        assert run.tell(report(number)).commands == []
    assert run.now > 15 * LEASE
    assert set(run.events()) == {"execution_started", "step_dispatched", "step_progressed"}
    assert run.tell(result()).ended


def test_a_step_that_stops_reporting_is_sent_again_then_fails() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    run.now = 100
    run.tell(report())
    run.now = 100 + LEASE - 1
    assert run.tell(WakeUp(execution_id="e", due=LEASE)).events == []  # the header may wake early
    run.now = 100 + LEASE
    assert [command.command.id for command in run.wake().commands] == ["e/a/1"]
    run.now += LEASE
    run.wake()
    assert run.events()[-3:] == ["step_resent", "step_failed", "execution_ended"]
    assert run.state.step("a").error is not None
    assert run.state.step("a").error.type == "LeaseExpired"


def test_a_report_after_the_lease_was_sent_again_gives_it_a_second_one() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    for number in range(1, 4):
        run.now += LEASE
        assert len(run.wake().commands) == 1  # sent again, every time: silence is counted from the latest report
        run.now += 1
        run.tell(report(number))
    assert run.state.step("a").status is StepStatus.RUNNING


def test_of_one_run_only_rising_numbers_count_and_of_each_run_its_own() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    told = [("x", 2), ("x", 2), ("x", 1), ("y", 1), ("x", 3), ("y", 1), ("x", 2), ("y", 2)]
    counted = [bool(run.tell(report(number, run=name)).events) for name, number in told]
    assert counted == [True, False, False, True, True, False, False, True]
    assert run.state.step("a").reported == {"x": 3, "y": 2}


@pytest.mark.parametrize("clock", [-50.0, 0.0])
def test_a_report_never_shortens_a_deadline_whatever_the_clocks_say(clock: float) -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    run.now = clock
    assert len(run.tell(report()).events) == 1
    assert run.state.wake_at == LEASE


def test_a_report_counts_only_for_the_attempt_that_runs() -> None:
    run = Long({"id": "a", "retry": {"max_attempts": 3, "backoff": 5, "jitter": 0}}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    assert run.tell(report(step="b")).events == []  # waits for others
    assert run.tell(report(step="no such step")).events == []
    assert run.tell(report(attempt=2)).events == []  # there is no such attempt yet
    run.tell(report(7))
    run.tell(result(error="Oops"))
    assert run.tell(report(8)).events == []  # backs off
    run.now = 5
    run.wake()
    assert run.tell(report(9)).events == []  # of the attempt before
    assert len(run.tell(report(1, attempt=2)).events) == 1  # numbers begin anew
    run.tell(result(attempt=2))
    assert run.tell(report(2, attempt=2)).events == []  # succeeded
    run.tell(result("b"))
    assert run.state.ended
    assert run.tell(report(3, step="b")).events == []


def test_a_report_for_an_execution_that_never_started_is_refused_by_name() -> None:
    with pytest.raises(UnknownExecution, match="'e'"):
        Long({"id": "a"}).tell(report())


def test_a_report_leaves_what_a_replay_sends_as_it_was() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    run.tell(report())
    assert [command.command.id for command in run.tell(run.start).commands] == ["e/a/1"]
    again = run.tell(report())
    assert (again.events, again.commands, again.cause) == ([], [], "progress:r/1")
    assert cause_of(report(3, run="x")) == "progress:x/3"


def test_a_report_does_not_undo_that_a_command_may_have_killed_the_process() -> None:
    run = Long({"id": "a"})
    run.tell(run.start)
    for due in (1.0, 2.0):
        decision = run.tell(WakeUp(execution_id="e", due=due, restart=True))
        run.tell(report(int(due)))
    assert decision.commands[0].quarantine


def test_a_cancelled_execution_gives_up_what_was_sent_and_had_not_ended() -> None:
    run = Long(
        {"id": "done"},
        {"id": "at_work", "agent_type": "x"},
        {"id": "named", "agent_type": "x", "agent_id": "n"},
        {"id": "again", "agent_type": "y", "retry": {"max_attempts": 2, "backoff": 0}},
        {"id": "never_sent", "depends_on": ["at_work"]},
    )
    run.tell(run.start)
    run.tell(result("done"))
    run.tell(result("again", error="Oops"))
    assert given_up(run.state) == {}
    first = run.tell(Cancel("enough"))
    assert first.ended
    expected = {"x": ["e/at_work/1", "e/named/1"], "y": ["e/again/2"]}
    assert given_up(run.state) == expected
    run.tell(result("at_work"))
    assert given_up(run.state) == expected


@pytest.mark.parametrize("error", [None, "Oops"])
def test_an_execution_that_ended_by_itself_gives_nothing_up(error: str | None) -> None:
    run = Long({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    run.tell(result("a", error=error))
    if not error:
        run.tell(result("b"))
    assert run.state.ended
    assert given_up(run.state) == {}


def test_commands_given_up_are_told_together_by_type_in_messages_of_bounded_size() -> None:
    many = [f"e/s{i}/1" for i in range(2_500)]
    messages = cancel_messages([{"x": many, "y": ["e/t/1"]}, {"y": ["f/t/1"]}])
    assert [(m.agent_type, len(m.command_ids)) for m in messages] == [("x", 2_000), ("x", 500), ("y", 2)]
    assert sorted(one for m in messages for one in m.command_ids) == sorted([*many, "e/t/1", "f/t/1"])
