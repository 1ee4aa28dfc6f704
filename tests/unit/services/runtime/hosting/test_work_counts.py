"""What a host counts of its agents' attempts and mail."""

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from contracts.execution import RunSteps, StepResult
from contracts.history import StepError
from services.runtime.agent import BaseAgent, capability
from services.runtime.hosting.counting import WorkCounts, outcome_of
from services.runtime.telemetry.agent_metrics import ActionOutcome, AgentMetrics, MailOutcome


class Nothing(BaseModel):
    pass


class Typist(BaseAgent):
    agent_type = "typist"

    @capability("type")
    async def type(self, nothing: Nothing) -> Nothing:
        return nothing


class Counted:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.agent = Typist("typist")
        self.counts = WorkCounts(AgentMetrics(self.registry), {"typist": self.agent})

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and sample.value
        }


def test_every_action_counts_from_0_on_before_there_is_any_work() -> None:
    """Or the first attempts, if they end between two scrapes, would be no increase."""
    registry = Counted().registry
    for outcome in ActionOutcome:
        labels = {"agent_type": "typist", "action": "type", "outcome": outcome.value}
        assert registry.get_sample_value("conclave_agent_actions_total", labels) == 0.0
    of_action = {"agent_type": "typist", "action": "type"}
    assert registry.get_sample_value("conclave_agent_actions_in_progress", of_action) == 0.0
    assert registry.get_sample_value("conclave_agent_action_duration_seconds_count", of_action) == 0.0


def result(error: str = "", *, cached: bool = False, seconds: float | None = 2.0) -> StepResult:
    return StepResult(
        result_id="r",
        execution_id="e",
        step="s",
        attempt=1,
        ok=not error,
        error=StepError(type=error, message="no") if error else None,
        cached=cached,
        started_at=None if seconds is None else 10.0,
        finished_at=None if seconds is None else 10.0 + seconds,
    )


def message(agent_type: str = "typist", action: str = "type") -> RunSteps:
    return RunSteps(agent_type=agent_type, action=action, commands=())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("", "succeeded"),
        ("Broken", "failed"),
        ("InvalidOutput", "failed"),
        ("CapabilityError", "failed"),
        ("Timeout", "timeout"),
        ("Cancelled", "cancelled"),
        ("AgentCrashed", "crashed"),
        ("AgentStopped", "refused"),
        ("UnknownAgent", "refused"),
        ("UnknownAction", "refused"),
        ("NotGranted", "refused"),
        ("InvalidInputs", "refused"),
        ("InputTooLarge", "refused"),
    ],
)
def test_the_outcome_of_an_attempt_is_by_its_error(error: str, outcome: str) -> None:
    assert outcome_of(result(error)).value == outcome


def test_time_is_counted_of_work_that_was_done() -> None:
    counted = Counted()
    for error in ("", "Broken", "Timeout", "AgentCrashed", "Cancelled", "InvalidInputs"):
        counted.counts.ended(message(), counted.agent, result(error))
    counted.counts.ended(message(), counted.agent, result(cached=True))
    counted.counts.ended(message(), None, result("UnknownAgent", seconds=None))
    assert counted.samples("conclave_agent_actions_total") == {
        ("typist", "type", outcome.value): 2 if outcome is ActionOutcome.REFUSED else 1 for outcome in ActionOutcome
    }
    assert counted.samples("conclave_agent_action_duration_seconds_count") == {("typist", "type"): 4}
    assert counted.samples("conclave_agent_action_duration_seconds_sum") == {("typist", "type"): 8}


def test_what_anybody_may_name_is_unknown() -> None:
    counted = Counted()
    for number in range(100):
        counted.counts.ended(message(action=f"made_up_{number}"), counted.agent, result("UnknownAction"))
        counted.counts.ended(message(agent_type=f"made_up_{number}"), None, result("UnknownAgent"))
        counted.counts.of(counted.agent, f"made_up_{number}").begun()
        counted.counts.mail(f"made_up_{number}", MailOutcome.FAILED)
    counted.counts.mail("typist", MailOutcome.ANSWERED)
    assert counted.samples("conclave_agent_actions_total") == {
        ("typist", "unknown", "refused"): 100,
        ("unknown", "unknown", "refused"): 100,
    }
    assert counted.samples("conclave_agent_actions_in_progress") == {("typist", "unknown"): 100}
    assert counted.samples("conclave_agent_messages_total") == {("unknown", "failed"): 100, ("typist", "answered"): 1}


def test_in_progress_is_between_begin_and_end() -> None:
    counted = Counted()
    counts = counted.counts.of(counted.agent, "type")
    counts.begun()
    counts.begun()
    counts.left()
    assert counted.samples("conclave_agent_actions_in_progress") == {("typist", "type"): 1}


def test_an_action_that_was_added_while_it_runs_has_its_name() -> None:
    counted = Counted()
    counted.agent.register_capability("print", counted.agent.type)
    counted.counts.ended(message(action="print"), counted.agent, result())
    assert counted.samples("conclave_agent_actions_total") == {("typist", "print", "succeeded"): 1}
