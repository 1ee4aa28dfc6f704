"""The engine by itself: what follows from each message, worked out by hand."""

from typing import Any

import pytest

from contracts.execution import StepResult, WakeUp
from contracts.history import ExecutionStatus, LogEntry, StepError, StepStatus
from contracts.workflow import WorkflowDefinition
from services.orchestrator.engine import (
    Cancel,
    Decision,
    EngineMessage,
    ExecutionState,
    Limits,
    Plan,
    Start,
    StepState,
    UnknownExecution,
    advance,
    execution_plan,
    fold_entry,
)

LIMITS = Limits(default_timeout=10, lease=100)


class Run:
    """An execution driven by hand; keeps its log, and checks after each message that folding it gives the state."""

    def __init__(self, *steps: dict[str, Any], inputs: dict[str, Any] | None = None) -> None:
        definition = WorkflowDefinition.model_validate(
            {"name": "w", "steps": [{"agent_type": "a", "action": "do", **step} for step in steps]}
        )
        self.plan = execution_plan(definition, LIMITS)
        self.state = ExecutionState("e", self.plan)
        self.log: list[LogEntry] = []
        self.now = 0.0
        self.results = 0
        self.start = Start(self.plan.definition_hash, "body", "w", inputs=inputs or {})

    def tell(self, message: EngineMessage) -> Decision:
        decision = advance(self.state, message, self.now)
        if decision.events:
            entry = LogEntry(
                execution_id="e",
                n=self.state.n + 1,
                at=self.now,
                applied=(decision.cause,),
                events=tuple(decision.events),
            )
            self.log.append(entry)
            self.state.n = entry.n
            again = folded(self.plan, self.log)
            assert all(again.step(step) == self.state.step(step) for step in self.plan.steps)
            assert (again.status, again.wake_at) == (self.state.status, self.state.wake_at)
        return decision

    def result(self, step: str, output: Any = None, *, attempt: int = 1, error: str | None = None) -> Decision:
        self.results += 1
        fault = StepError(type=error, message=error, retryable=True) if error else None
        return self.tell(
            StepResult(
                result_id=f"r{self.results}",
                execution_id="e",
                step=step,
                attempt=attempt,
                ok=fault is None,
                output=output,
                error=fault,
            )
        )

    def status(self, step: str) -> StepStatus:
        return self.state.step(step).status


def sent(decision: Decision) -> list[tuple[str, int]]:
    return [(command.command.step, command.command.attempt) for command in decision.commands]


def test_execution_plan_creation() -> None:
    run = Run(
        {"id": "c", "inputs": {"x": "a.output", "y": "b.output.deep"}},
        {"id": "a"},
        {"id": "b", "depends_on": ["a"]},
        {"id": "d", "when": "steps.c.output.ok"},
    )
    assert list(run.plan.steps) == ["a", "b", "c", "d"]
    assert run.plan.steps["c"].needs == ("a", "b")
    assert run.plan.steps["d"].needs == ("c",)
    assert run.plan.dependents["a"] == ("c", "b")
    assert run.plan.last_steps == ["d"]


def test_step_execution() -> None:
    run = Run({"id": "a"}, {"id": "b", "inputs": {"n": "a.output.n", "who": "inputs.who"}}, inputs={"who": "me"})
    assert sent(run.tell(run.start)) == [("a", 1)]
    decision = run.result("a", {"n": 3})
    assert sent(decision) == [("b", 1)]
    command = decision.commands[0].command
    assert command.inputs == {"n": 3, "who": "me"}
    assert (command.id, command.idempotency_key, command.timeout) == ("e/b/1", "e/b", 10)
    assert run.result("b", "done").ended


def test_orchestrator_workflow_execution() -> None:
    """Independent steps run in parallel; a join waits for all of them."""
    run = Run({"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "join", "depends_on": ["a", "b", "c"]})
    assert sent(run.tell(run.start)) == [("a", 1), ("b", 1), ("c", 1)]
    assert sent(run.result("c")) == []
    assert sent(run.result("a")) == []
    assert sent(run.result("b")) == [("join", 1)]
    assert run.result("join").ended
    assert run.state.status is ExecutionStatus.COMPLETED


def test_workflow_status_tracking() -> None:
    run = Run({"id": "a", "retry": {"max_attempts": 2, "backoff": 5, "jitter": 0}}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    assert (run.status("a"), run.status("b")) == (StepStatus.RUNNING, StepStatus.PENDING)
    run.result("a", error="Oops")
    assert (run.status("a"), run.state.wake_at) == (StepStatus.WAITING, 5)
    run.now = 5
    assert sent(run.tell(WakeUp(execution_id="e", due=5))) == [("a", 2)]
    run.result("a", attempt=2, error="Oops")
    assert (run.status("a"), run.status("b")) == (StepStatus.FAILED, StepStatus.SKIPPED)
    assert (run.state.status, run.state.wake_at) == (ExecutionStatus.FAILED, None)


def test_the_first_success_wins_whatever_its_attempt() -> None:
    run = Run({"id": "a", "retry": {"max_attempts": 3, "backoff": 5}})
    run.tell(run.start)
    run.result("a", error="Timeout")
    assert run.result("a", "late but right").ended
    assert run.result("a", "second").events == []
    assert run.state.step("a").output == "late but right"


def test_a_failure_counts_only_for_the_current_attempt() -> None:
    run = Run({"id": "a", "retry": {"max_attempts": 3, "backoff": 0, "jitter": 0}})
    run.tell(run.start)
    assert sent(run.result("a", error="One")) == [("a", 2)]
    assert run.result("a", error="One").events == []
    assert run.state.step("a").attempt == 2


def test_only_the_listed_errors_are_retried() -> None:
    retry = {"max_attempts": 3, "backoff": 1, "on": ["Busy"]}
    run = Run({"id": "a", "retry": retry}, {"id": "b", "retry": retry})
    run.tell(run.start)
    run.result("a", error="Busy")
    run.result("b", error="Broken")
    assert (run.status("a"), run.status("b")) == (StepStatus.WAITING, StepStatus.FAILED)


def test_a_false_condition_skips_the_step_and_what_needs_it_unless_it_says_otherwise() -> None:
    run = Run(
        {"id": "a"},
        {"id": "b", "when": "steps.a.output > 5"},
        {"id": "c", "depends_on": ["b"]},
        {"id": "d", "inputs": {"b": "b.output", "deep": "b.output.x.y"}, "on_skipped": "run"},
    )
    run.tell(run.start)
    decision = run.result("a", 3)
    assert (run.status("b"), run.status("c")) == (StepStatus.SKIPPED, StepStatus.SKIPPED)
    assert decision.commands[0].command.inputs == {"b": None, "deep": None}
    assert run.result("d").ended
    assert run.state.status is ExecutionStatus.COMPLETED


def test_a_failed_step_fails_the_execution_but_not_what_does_not_need_it() -> None:
    run = Run({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["a"]}, {"id": "d", "depends_on": ["b"]})
    run.tell(run.start)
    run.result("a", error="Oops")
    assert sent(run.result("b")) == [("d", 1)]
    run.result("d")
    assert run.state.status is ExecutionStatus.FAILED
    assert [run.status(step).value for step in "abcd"] == ["failed", "succeeded", "skipped", "succeeded"]


def test_a_reference_that_leads_nowhere_fails_the_step_with_its_reason() -> None:
    run = Run({"id": "a"}, {"id": "b", "inputs": {"x": "a.output.missing"}})
    run.tell(run.start)
    run.result("a", {"present": 1})
    error = run.state.step("b").error
    assert error is not None
    assert error.type == "UnresolvedReference"
    assert "missing" in error.message
    assert run.state.status is ExecutionStatus.FAILED


def test_a_lease_is_sent_once_more_then_fails() -> None:
    run = Run({"id": "a"})
    run.tell(run.start)
    assert run.state.wake_at == 110
    assert run.tell(WakeUp(execution_id="e", due=110)).events == []  # too early by this replica's clock
    run.now = 110
    assert sent(run.tell(WakeUp(execution_id="e", due=110))) == [("a", 1)]
    run.now = 220
    run.tell(WakeUp(execution_id="e", due=220))
    assert run.state.step("a").error is not None
    assert run.state.step("a").error.type == "LeaseExpired"


def test_a_restart_sends_running_steps_again_and_the_third_time_alone() -> None:
    run = Run({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    first = run.tell(WakeUp(execution_id="e", due=1, restart=True))
    assert sent(first) == [("a", 1)]
    assert not first.commands[0].quarantine
    assert run.tell(WakeUp(execution_id="e", due=1, restart=True)).events == []
    second = run.tell(WakeUp(execution_id="e", due=2, restart=True))
    assert second.commands[0].quarantine


def test_a_lease_that_ran_out_while_nobody_was_there_is_not_held_against_the_host() -> None:
    run = Run({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    run.now = 110
    run.tell(WakeUp(execution_id="e", due=110))
    run.now = 10_000
    again = run.tell(WakeUp(execution_id="e", due=-9_000, restart=True))
    assert sent(again) == [("a", 1)]
    assert [event.kind for event in again.events] == ["step_resent"]
    replayed = run.tell(WakeUp(execution_id="e", due=-9_000, restart=True))
    assert (replayed.events, sent(replayed)) == ([], [("a", 1)])


@pytest.mark.parametrize("due", [-9_000.0, 9_000.0], ids=["restored", "restarted"])
def test_a_restart_told_twice_sends_nothing_again_that_went_out_since(due: float) -> None:
    """Two replicas find one header due: the second message may come when the execution has gone on."""
    run = Run({"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c"})
    run.tell(run.start)
    restart = WakeUp(execution_id="e", due=due, restart=True)
    assert sent(run.tell(restart)) == [("a", 1), ("c", 1)]
    run.result("a")
    again = run.tell(restart)
    assert (again.events, sent(again)) == ([], [("c", 1)])
    assert run.state.step("b").restarts == 0
    assert sent(run.tell(WakeUp(execution_id="e", due=due + 1, restart=True))) == [("c", 1), ("b", 1)]


@pytest.mark.parametrize("restart", [False, True])
def test_a_wake_up_that_finds_more_to_do_when_it_is_replayed_sends_what_it_caused_before(restart: bool) -> None:
    retry = {"max_attempts": 2, "backoff": 150, "max_backoff": 150, "jitter": 0}
    run = Run({"id": "a"}, {"id": "b", "retry": retry})
    run.tell(run.start)
    run.result("b", error="Oops")
    wake_up = WakeUp(execution_id="e", due=110, restart=restart)
    run.now = 110
    assert sent(run.tell(wake_up)) == [("a", 1)]
    run.now = 150
    # Nobody knows whether what was decided the first time was sent.
    again = run.tell(wake_up)
    assert [event.kind for event in again.events] == ["step_dispatched"]
    assert sorted(sent(again)) == [("a", 1), ("b", 2)]


def test_a_replay_sends_again_what_it_caused_with_the_same_ids_and_inputs() -> None:
    run = Run({"id": "a"}, {"id": "b", "inputs": {"n": "a.output"}}, {"id": "c", "depends_on": ["b"]})
    run.tell(run.start)
    message = StepResult(result_id="r", execution_id="e", step="a", attempt=1, ok=True, output=7)
    first = run.tell(message)
    again = run.tell(message)
    assert again.events == []
    assert [c.command for c in again.commands] == [c.command for c in first.commands]
    run.result("b")
    assert run.tell(message).commands == []


def test_cancel_ends_everything_open_and_nothing_changes_it_afterwards() -> None:
    run = Run({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": ["b"]})
    run.tell(run.start)
    run.result("a")
    assert run.tell(Cancel("enough")).ended
    assert [run.status(step).value for step in "abc"] == ["succeeded", "cancelled", "cancelled"]
    assert run.result("b").events == []
    assert run.tell(Cancel()).ended  # told again, in case nobody heard it
    assert run.state.status is ExecutionStatus.CANCELLED


def test_the_same_start_again_is_a_replay_and_another_body_a_conflict() -> None:
    run = Run({"id": "a"})
    run.tell(run.start)
    assert sent(run.tell(run.start)) == [("a", 1)]
    assert run.tell(Start(run.plan.definition_hash, "another body", "w")).conflict


def test_a_message_for_an_execution_that_never_started_is_refused_by_name() -> None:
    run = Run({"id": "a"})
    with pytest.raises(UnknownExecution, match="'e'"):
        run.tell(Cancel())


def test_the_same_state_and_message_give_the_same_decision_and_the_same_state() -> None:
    run = Run({"id": "a"}, {"id": "b", "depends_on": ["a"]})
    run.tell(run.start)
    result = StepResult(result_id="r", execution_id="e", step="a", attempt=1, ok=True, output=1)
    states = [folded(run.plan, run.log) for _ in range(2)]
    first, second = (advance(state, result, 1.0) for state in states)
    assert first == second
    assert len({repr([state.step(step) for step in "ab"]) for state in states}) == 1
    assert len({(state.wake_at, state.unfinished) for state in states}) == 1


def test_a_step_costs_the_same_in_a_small_workflow_and_in_a_large_one() -> None:
    """Counted, not timed: how often a result makes the engine look at a step."""
    looks = {steps: looks_for_one_result(steps) for steps in (10, 400)}
    assert looks[10] == looks[400] < 30


def looks_for_one_result(steps: int) -> int:
    class Counting(ExecutionState):
        looks = 0

        def step(self, step_id: str) -> StepState:
            self.looks += 1
            return super().step(step_id)

    chain = [{"id": "s0"}, *({"id": f"s{i}", "depends_on": [f"s{i - 1}"]} for i in range(1, steps))]
    run = Run(*chain)
    state = Counting("e", run.plan)
    advance(state, run.start, 0.0)
    before = state.looks
    result = StepResult(result_id="r", execution_id="e", step="s0", attempt=1, ok=True, output=1)
    assert len(advance(state, result, 1.0).events) == 2
    return state.looks - before


def folded(plan: Plan, log: list[LogEntry]) -> ExecutionState:
    state = ExecutionState("e", plan)
    for entry in log:
        fold_entry(state, entry)
    return state
