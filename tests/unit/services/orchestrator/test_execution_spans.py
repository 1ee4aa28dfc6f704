"""Which spans the log of an execution makes, recorded by a real committer and delivered to a real collector."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings

from contracts.execution import RunSteps, StepCommand, StepResult, WakeUp
from contracts.history import AttemptFailed, ExecutionEnded, StepDispatched, StepError, StepFailed
from contracts.workflow import WorkflowDefinition
from services.orchestrator.committer import Committer
from services.orchestrator.engine import Cancel, Limits, Plan, Start, execution_plan
from services.orchestrator.mailbox import Item
from services.orchestrator.spans import ExecutionSpans, OpenAttempts, follow, started_under, traceparent_of
from services.orchestrator.states import States
from services.runtime.bus.base import Frame
from services.runtime.service import Outbox
from services.runtime.settings import Settings
from services.runtime.telemetry.trace_context import attempt_span_id, execution_root, execution_span_id, read
from services.runtime.telemetry.tracing import Tracing, open_tracing
from tests.support.committing import Desk
from tests.support.engine_logs import Made, logs
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan

TRACE, CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CLIENT}-01"
CHAIN: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]
RETRIED = {"max_attempts": 3, "backoff": 5.0, "jitter": 0.0}


class TracedDesk(Desk):
    """A desk with a committer, or several, that trace to a collector."""

    def __init__(self, tracing: Tracing) -> None:
        super().__init__(Limits(default_timeout=10, lease=20))
        self._tracing = tracing
        self.committer = self.replica(self.states)

    def replica(self, states: States | None = None) -> Committer:
        """An orchestrator of the same store; with states of its own, so that it reads the log."""
        return Committer(
            self.store,
            states or States(self.store, self.plans),  # type: ignore[arg-type]
            Outbox(self.bus, "test"),  # type: ignore[arg-type]
            clock=lambda: self.now,
            sleep=lambda _: asyncio.sleep(0),
            spans=ExecutionSpans(self._tracing),
        )

    def planned(self, steps: list[dict[str, Any]]) -> Plan:
        whole = [{"agent_type": "desk", "action": "work", **step} for step in steps]
        plan = execution_plan(WorkflowDefinition.model_validate({"name": "w", "steps": whole}), self.limits)
        self.plans[plan.definition_hash] = plan
        return plan

    async def start(self, steps: list[dict[str, Any]], traceparent: str = SAMPLED) -> None:
        plan = self.planned(steps)
        start = Start(plan.definition_hash, "r", "w", workflow_id="wf", correlation_id="c", traceparent=traceparent)
        await self.committer.commit([Item("e", start, plan=plan)])

    async def tell(self, message: Any, by: Committer | None = None, after: float = 1.0) -> None:
        """A message comes, ``after`` seconds."""
        self.now += after
        await (by or self.committer).commit([Item("e", message)])

    def commands(self) -> list[StepCommand]:
        return [command for run in self.bus.messages if isinstance(run, RunSteps) for command in run.commands]


def done(step: str, attempt: int = 1, **more: Any) -> StepResult:
    result_id = f"{step}{attempt}{sorted(more)}"
    fields = {"ok": True, "agent_id": "desk-7", **more}
    return StepResult(result_id=result_id, execution_id="e", step=step, attempt=attempt, **fields)


def failed(step: str, attempt: int = 1, *, retryable: bool = True) -> StepResult:
    error = StepError(type="Told", message="token=abcdefgh12345678 to fail", retryable=retryable)
    return done(step, attempt, ok=False, error=error)


class Traced:
    """A desk, and the spans that have arrived once ``spans`` is asked for them."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        wanted = {"otlp_endpoint": receiver.endpoint, "communication_protocol": "rabbitmq"}
        tracing = open_tracing(Settings.model_validate(wanted), "orchestrator")
        assert tracing is not None
        self._tracing, self._receiver = tracing, receiver
        self.desk = TracedDesk(tracing)

    async def spans(self) -> list[ReceivedSpan]:
        await self._tracing.stop()
        return sorted(self._receiver.spans, key=lambda span: (span.start, span.name, span.span_id))

    async def attempts(self) -> list[tuple[str, int, str, float, float]]:
        """Step, attempt, outcome, and when it was sent and ended, in seconds after 1,000."""
        attributes = [(span.attributes, span) for span in await self.spans() if span.name == "step desk.work"]
        return [
            (
                found["conclave.step"],
                found["conclave.attempt"],
                found.get("conclave.outcome", "failed" if span.failed else "succeeded"),
                span.start / 1e9 - 1_000,
                span.end / 1e9 - 1_000,
            )
            for found, span in attributes
        ]


@pytest.fixture
def traced() -> Any:
    with OtlpReceiver() as receiver:
        yield Traced(receiver)


async def test_the_tree_of_a_chain(traced: Traced) -> None:
    desk = traced.desk
    await desk.start(CHAIN)
    await desk.tell(done("a"))
    await desk.tell(done("b"))
    spans = await traced.spans()
    assert {span.trace_id for span in spans} == {TRACE}
    execution, first, second = spans
    assert execution.kind_and_name == ("CONSUMER", "execution")
    assert (execution.span_id, execution.parent_id) == (execution_span_id("e"), CLIENT)
    assert [one.kind_and_name for one in (first, second)] == [("PRODUCER", "step desk.work")] * 2
    assert [one.parent_id for one in (first, second)] == [execution.span_id] * 2
    assert [one.span_id for one in (first, second)] == [attempt_span_id("e", step, 1) for step in "ab"]
    assert not any(span.failed for span in spans)
    assert all(execution.covers(span) for span in spans)
    assert execution.attributes == {
        "conclave.execution.id": "e",
        "conclave.workflow.name": "w",
        "conclave.workflow.id": "wf",
        "conclave.outcome": "completed",
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.message.conversation_id": "c",
    }
    assert first.attributes == {
        "conclave.execution.id": "e",
        "conclave.workflow.name": "w",
        "conclave.step": "a",
        "conclave.attempt": 1,
        "conclave.agent.type": "desk",
        "conclave.agent.id": "desk-7",
        "conclave.action": "work",
    }


async def test_commands_are_sent_under_the_spans_that_are_recorded(traced: Traced) -> None:
    desk = traced.desk
    await desk.start([{"id": "a", "retry": RETRIED}])
    await desk.tell(failed("a"))
    await desk.tell(WakeUp(execution_id="e", due=desk.now + 5), after=5)
    await desk.tell(done("a", 2))
    sent = [read(command.traceparent) for command in desk.commands()]
    recorded = [span.span_id for span in await traced.spans() if span.name == "step desk.work"]
    assert [f"{one.span_id:016x}" for one in sent if one is not None] == recorded
    assert {f"{one.trace_id:032x}" for one in sent if one is not None} == {TRACE}
    assert len(recorded) == 2


async def test_messages_have_the_span_that_they_are_about_as_a_header(traced: Traced) -> None:
    desk = traced.desk
    frames: list[Frame] = []
    publish = desk.bus.publish

    async def publish_and_note(some: Sequence[Frame]) -> None:
        frames.extend(some)
        await publish(some)

    desk.bus.publish = publish_and_note  # type: ignore[method-assign]
    await desk.start([{"id": "a"}])
    await desk.tell(done("a"))
    said = {frame.type: frame.headers.get("traceparent") for frame in frames}
    assert said["step.run.v1"] == f"00-{TRACE}-{attempt_span_id('e', 'a', 1)}-01"
    assert said["execution.completed.v1"] == f"00-{TRACE}-{execution_span_id('e')}-01"


async def test_retries_stand_side_by_side(traced: Traced) -> None:
    desk = traced.desk
    await desk.start([{"id": "a", "retry": RETRIED}])
    await desk.tell(failed("a"))
    await desk.tell(WakeUp(execution_id="e", due=1_006.0), after=5)
    await desk.tell(done("a", 2))
    assert await traced.attempts() == [("a", 1, "failed", 0, 1), ("a", 2, "succeeded", 6, 7)]
    execution, *attempts = await traced.spans()
    assert {span.parent_id for span in attempts} == {execution.span_id}
    assert [span.failed for span in (execution, *attempts)] == [False, True, False]


async def test_a_failure_says_what_it_was_and_no_secret(traced: Traced) -> None:
    desk = traced.desk
    await desk.start([*CHAIN, {"id": "c"}])
    await desk.tell(failed("a", retryable=False))
    await desk.tell(done("c"))
    spans = {span.attributes.get("conclave.step", ""): span for span in await traced.spans()}
    assert set(spans) == {"", "a", "c"}  # b was skipped
    assert (spans["a"].failed, spans["a"].error) == (True, "Told: token=*** to fail")
    assert (spans[""].failed, spans[""].error) == (True, "a: Told: token=*** to fail")
    assert spans[""].attributes["error.type"] == spans["a"].attributes["error.type"] == "Told"
    assert spans[""].attributes["conclave.outcome"] == "failed"
    assert not spans["c"].failed


async def test_a_step_that_never_ran_is_a_span_without_time(traced: Traced) -> None:
    desk = traced.desk
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "inputs": {"x": "a.output.not_there"}}]
    await desk.start(steps)
    await desk.tell(done("a", output={}))
    assert await traced.attempts() == [("a", 1, "succeeded", 0, 1), ("b", 0, "failed", 1, 1)]


async def test_open_attempts_end_with_a_cancelled_execution(traced: Traced) -> None:
    desk = traced.desk
    await desk.start([*CHAIN, {"id": "c"}])
    await desk.tell(done("c"))
    await desk.tell(Cancel("enough"))
    assert await traced.attempts() == [("a", 1, "cancelled", 0, 2), ("c", 1, "succeeded", 0, 1)]
    execution = (await traced.spans())[0]
    assert execution.attributes["conclave.outcome"] == "cancelled"
    assert not execution.failed


async def test_a_first_attempt_that_succeeds_after_all_ends_the_second(traced: Traced) -> None:
    desk = traced.desk
    await desk.start([{"id": "a", "retry": {**RETRIED, "backoff": 0.0}}])
    await desk.tell(WakeUp(execution_id="e", due=1_030.0), after=30)  # sent again
    await desk.tell(WakeUp(execution_id="e", due=1_060.0), after=30)  # given up, and the second attempt
    await desk.tell(done("a", 1))
    assert await traced.attempts() == [("a", 1, "failed", 0, 60), ("a", 2, "superseded", 60, 61)]


async def test_of_two_orchestrators_with_the_same_result_one_records_it(traced: Traced) -> None:
    desk = traced.desk
    other = desk.replica()
    await desk.start(CHAIN)
    await desk.tell(done("a"), other)
    await desk.tell(done("a"))  # its cache is stale: it loses the race, reads on and finds nothing to do
    await asyncio.gather(desk.committer.commit([Item("e", done("b"))]), other.commit([Item("e", done("b"))]))
    await desk.tell(done("b"))
    counted = Counter(span.span_id for span in await traced.spans())
    assert counted == {execution_span_id("e"): 1, attempt_span_id("e", "a", 1): 1, attempt_span_id("e", "b", 1): 1}


async def test_whoever_takes_an_execution_over_knows_its_span_and_its_times(traced: Traced) -> None:
    desk = traced.desk
    await desk.start(CHAIN)
    await desk.tell(done("a"))
    await desk.tell(done("b"), desk.replica())
    assert await traced.attempts() == [("a", 1, "succeeded", 0, 1), ("b", 1, "succeeded", 1, 2)]
    execution = (await traced.spans())[0]
    assert (execution.span_id, execution.parent_id) == (execution_span_id("e"), CLIENT)
    assert (execution.start / 1e9, execution.end / 1e9) == (1_000, 1_002)


async def test_an_execution_without_a_trace_is_the_root_of_its_own(traced: Traced) -> None:
    desk = traced.desk
    await desk.start(CHAIN, execution_root("e", 1.0).traceparent)
    await desk.tell(done("a"))
    await desk.tell(done("b"))
    execution, *attempts = await traced.spans()
    assert execution.parent_id == ""
    assert execution.trace_id == f"{execution_root('e', 1.0).trace_id:032x}"
    assert {span.parent_id for span in attempts} == {execution.span_id}


@pytest.mark.parametrize("traceparent", ["", f"00-{TRACE}-{CLIENT}-00"])
async def test_what_is_not_recorded_goes_on_as_it_came(traced: Traced, traceparent: str) -> None:
    desk = traced.desk
    await desk.start(CHAIN, traceparent)
    await desk.tell(done("a"))
    await desk.tell(done("b"))
    assert [command.traceparent for command in desk.commands()] == [traceparent] * 2
    assert await traced.spans() == []


async def test_an_orchestrator_that_does_not_trace_passes_on_what_came() -> None:
    desk = Desk()
    plan = desk.plan("s")
    start = Start(plan.definition_hash, "r", "w", traceparent=SAMPLED)
    await desk.committer.commit([Item("e", start, plan=plan)])
    (run,) = [message for message in desk.bus.messages if isinstance(message, RunSteps)]
    assert run.commands[0].traceparent == SAMPLED
    (held,) = (await desk.states.get(["e"], {})).values()
    assert traceparent_of(held.state) == SAMPLED


def test_a_start_is_stored_under_what_came_or_as_a_root() -> None:
    class Nowhere:
        def put(self, *_: object) -> None: ...

        async def stop(self) -> None: ...

    tracing, never = Tracing(Nowhere(), "o", ratio=1.0), Tracing(Nowhere(), "o", ratio=0.0)
    assert started_under(tracing, "e", SAMPLED) == started_under(None, "e", SAMPLED) == SAMPLED
    assert started_under(never, "e", SAMPLED) == SAMPLED  # decided by whoever began the trace
    assert started_under(None, "e", "") == ""
    assert started_under(tracing, "e", "") == execution_root("e", 1.0).traceparent
    assert started_under(never, "e", "").endswith("-00")


@given(logs())
@settings(deadline=None, max_examples=150)
def test_every_attempt_of_any_log_ends_once(made: Made) -> None:
    attempts: OpenAttempts = {}
    sent: list[tuple[str, int]] = []
    ended: list[tuple[str, int]] = []
    for entry in made.entries:
        sent += [(event.step, event.attempt) for event in entry.events if isinstance(event, StepDispatched)]
        ended += [(one.step, one.attempt) for one in follow(attempts, entry) if one.attempt]
    assert len(ended) == len(set(ended))
    still_open = {(step, one.attempt) for step, one in attempts.items()}
    assert set(sent) == set(ended) | still_open
    assert len(sent) == len(ended) + len(still_open)
    if isinstance(made.entries[-1].events[-1], ExecutionEnded):
        assert not still_open


@given(logs())
@settings(deadline=None, max_examples=100)
def test_every_failure_of_any_log_is_an_attempts(made: Made) -> None:
    attempts: OpenAttempts = {}
    failures = Counter(
        (event.step, event.attempt)
        for entry in made.entries
        for event in entry.events
        if isinstance(event, AttemptFailed | StepFailed)
    )
    found = Counter(
        (one.step, one.attempt) for entry in made.entries for one in follow(attempts, entry) if one.error is not None
    )
    assert found == failures
