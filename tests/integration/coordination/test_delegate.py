"""Workflows that delegate to others, over a bus."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from contracts.execution import CancelAccepted, CancelExecution, DescribeExecution, ExecutionDescribed
from contracts.history import ExecutionStatus
from contracts.workflow import CreateWorkflow, DeleteWorkflow
from services.coordinator_agent import delegation
from services.coordinator_agent.delegate_models import DelegateInputs
from services.coordinator_agent.delegation import MAX_DEPTH, child_of, delegate
from services.runtime.agent import BaseAgent
from services.runtime.agent.step_context import StepContext, working_on
from services.runtime.bus.direct import DirectBus
from services.runtime.hosting.bus_messenger import BusMessenger
from services.runtime.requests import Requests
from services.runtime.service import Outbox
from tests.support.memory_store import MemoryStore
from tests.support.negotiators import SETTINGS, Toiler, begin, begin_anew, coordinate, errors, host
from tests.support.running import Running, running, start


def toil(step_id: str, key: str, **inputs: Any) -> dict[str, Any]:
    return {"id": step_id, "agent_type": "toiler", "action": "toil", "inputs": {"key": key, **inputs}}


def chain(*steps: dict[str, Any]) -> dict[str, Any]:
    """Steps that follow one another."""
    after = [{**step, "depends_on": [before["id"]]} for before, step in pairwise(steps)]
    return {"name": "child", "steps": [steps[0], *after]}


def child_id(parent: str, step: str = "s") -> str:
    return child_of(StepContext(parent, step, 1))[0]


async def stored(system: Running, workflow_id: str, definition: dict[str, Any]) -> None:
    created = await system.ask(CreateWorkflow(workflow_id=workflow_id, definition=definition))
    assert created.TYPE == "workflow.created.v1", created


async def described(system: Running, execution_id: str) -> ExecutionDescribed | None:
    answer = await system.ask(DescribeExecution(execution_id=execution_id))
    return answer if isinstance(answer, ExecutionDescribed) else None


async def begun(key: str) -> bool:
    return any(one.endswith(f"/{key}") for one in Toiler.begun)


async def reports(system: Running, execution_id: str) -> list[tuple[float, str]]:
    entries = (await system.store.read_log({execution_id: 0}))[execution_id]
    events = [event for entry in entries for event in entry.events]
    return [(event.fraction, event.note) for event in events if event.kind == "step_progressed"]


async def test_a_workflow_is_started_and_waited_for(system: Running) -> None:
    await stored(system, "child", chain(toil("one", "a"), toil("two", "inputs.key")))
    execution_id = await begin(system, "delegate", {"workflow_id": "child", "inputs": {"key": "b"}})
    assert await system.ended(execution_id) == "completed"
    answer = (await system.outputs(execution_id))["s"]
    child = child_id(execution_id)
    assert answer == {
        "execution_id": child,
        "status": "completed",
        "completed": True,
        "outputs": {"two": {"key": "b"}},
        "errors": {},
        "reason": "",
        "steps": 2,
        "depth": 1,
    }
    assert Toiler.begun == [f"{child}/one", f"{child}/two"]
    log = (await system.store.read_log({child: 0}))[child]
    assert log[0].events[0].client == f"delegate:1:{execution_id}"  # type: ignore[union-attr]


async def test_the_childs_progress_is_the_steps(system: Running) -> None:
    definition = chain(toil("one", "a"), toil("two", "held", hold=True))
    execution_id = await begin(system, "delegate", {"definition": definition})
    child = child_id(execution_id)

    async def half() -> bool:
        return (0.5, f"1 of 2 steps of {child}") in await reports(system, execution_id)

    await system.until(half)
    Toiler.let_go.add("held")
    assert await system.ended(execution_id) == "completed"
    assert (await reports(system, execution_id))[0] == (0.0, f"started {child}")


async def test_a_cancelled_step_cancels_its_child(system: Running) -> None:
    execution_id = await begin(system, "delegate", {"definition": chain(toil("one", "held", hold=True))})
    child = child_id(execution_id)
    await system.until(lambda: begun("one"))
    answer = await system.ask(CancelExecution(execution_id=execution_id))
    assert isinstance(answer, CancelAccepted)
    assert await system.ended(child) == "cancelled"

    async def stopped() -> bool:
        return Toiler.cancelled == [f"{child}/one"]

    await system.until(stopped)
    how = await described(system, child)
    assert how is not None
    assert how.reason == "its parent was cancelled"


async def test_a_childs_failure_is_an_error_by_name_or_an_answer(system: Running) -> None:
    failing = {"definition": chain(toil("one", "a"), toil("two", "b", fail=True))}
    execution_id = await begin(system, "delegate", failing)
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert (error.type, error.retryable) == ("DelegateFailed", False)
    assert error.message == f"execution {child_id(execution_id)} failed: two: ToldToFail: b is to fail"
    assert error.details["errors"]["two"]["type"] == "ToldToFail"
    answer = await coordinate(system, "delegate", {**failing, "on_failure": "answer"})
    assert (answer["completed"], answer["status"], list(answer["errors"])) == (False, "failed", ["two"])


async def test_a_child_that_is_cancelled_from_outside_fails_the_step(system: Running) -> None:
    execution_id = await begin(system, "delegate", {"definition": chain(toil("one", "held", hold=True))})
    await system.until(lambda: begun("one"))
    await system.ask(CancelExecution(execution_id=child_id(execution_id), reason="no budget"))
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert error.message == f"execution {child_id(execution_id)} was cancelled (no budget)"


async def test_a_child_over_its_time_limit_is_cancelled(system: Running) -> None:
    inputs = {"definition": chain(toil("one", "held", hold=True)), "time_limit": 0.5}
    execution_id = await begin(system, "delegate", inputs)
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert "(it took longer than its time_limit of 0.5 s)" in error.message
    assert await system.ended(child_id(execution_id)) == "cancelled"


async def test_a_missing_workflow_and_a_bad_definition_say_what_is_wrong(system: Running) -> None:
    execution_id = await begin(system, "delegate", {"workflow_id": "nowhere"})
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert (error.type, error.details["code"]) == ("DelegateRefused", "not_found")
    bad = {"name": "bad", "steps": [{"id": "one", "agent_type": "toiler", "action": "rest"}]}
    execution_id = await begin(system, "delegate", {"definition": bad})
    assert await system.ended(execution_id) == "failed"
    error = (await errors(system, execution_id))["s"]
    assert error.type == "DelegateRefused"
    assert [(fault["path"], fault["code"]) for fault in error.details["faults"]] == [
        ("steps[0].action", "unknown_action")
    ]
    assert "steps[0].action" in error.message


async def test_a_workflow_that_delegates_to_itself_comes_to_an_end(system: Running) -> None:
    again = {"id": "s", "agent_type": "coordinator_agent", "action": "delegate", "inputs": {"workflow_id": "loop"}}
    await stored(system, "loop", {"name": "loop", "steps": [again]})
    execution_id = await begin(system, "delegate", {"workflow_id": "loop"})
    assert await system.ended(execution_id) == "failed"
    deepest = execution_id
    for _ in range(MAX_DEPTH):
        deepest = child_id(deepest)
    assert await system.ended(deepest) == "failed"
    assert (await errors(system, deepest))["s"].type == "TooDeep"
    assert await described(system, f"delegate-{MAX_DEPTH + 1}-{'0' * 32}") is None


# ---- a step that runs again


class Asker(BaseAgent):
    agent_type = "asker"


class Client:
    """An agent of a host of its own, which a test can stop while it waits."""

    def __init__(self, system: Running) -> None:
        self._bus = DirectBus(system.broker)
        self.requests = Requests(self._bus, "asker")
        self.agent = Asker("asker")

    async def __aenter__(self) -> BaseAgent:
        await self._bus.start()
        await self.agent.start(BusMessenger(Outbox(self._bus, "asker"), self.requests, 10.0))
        return self.agent

    async def __aexit__(self, *_: object) -> None:
        await self.requests.stop()
        await self._bus.close()


def run(agent: BaseAgent, request: DelegateInputs, step: StepContext) -> asyncio.Task[Any]:
    async def work() -> Any:
        with working_on(step):
            return await delegate(agent, request)

    return asyncio.create_task(work())


async def test_a_step_that_runs_again_finds_the_child_it_had_started(system: Running) -> None:
    """Its host goes; the next attempt runs elsewhere, and its workflow has been deleted meanwhile."""
    await stored(system, "child", chain(toil("one", "held", hold=True)))
    request = DelegateInputs(workflow_id="child")
    async with Client(system) as agent:
        first = run(agent, request, StepContext("parent", "s", 1))
        await system.until(lambda: begun("one"))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    await system.ask(DeleteWorkflow(workflow_id="child"))
    how = await described(system, child_id("parent"))
    assert how is not None
    assert how.status is ExecutionStatus.RUNNING
    async with Client(system) as agent:
        second = run(agent, request, StepContext("parent", "s", 2))
        Toiler.let_go.add("held")
        answer = await second
    assert (answer.execution_id, answer.outputs) == (child_id("parent"), {"one": {"key": "held"}})
    assert Toiler.begun == [f"{child_id('parent')}/one"]


async def test_a_start_that_finds_no_room_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegation, "LONGEST_WAIT", 0.05)
    begin_anew()
    crowded = SETTINGS.model_copy(update={"max_open_executions": 1})
    async with running(MemoryStore(), crowded, [host(Toiler)]) as system, Client(system) as agent:
        first = start(chain(toil("one", "held", hold=True)))
        assert (await system.ask(first)).TYPE == "execution.accepted.v1"
        child = run(agent, DelegateInputs(definition=chain(toil("two", "a"))), StepContext("parent", "s", 1))
        await system.until(lambda: begun("one"))
        with capture_logs() as said:
            await system.until(lambda: _waits(said))
        assert await described(system, child_id("parent")) is None
        Toiler.let_go.add("held")
        assert (await child).completed
    assert Toiler.begun == [f"{first.execution_id}/one", f"{child_id('parent')}/two"]


async def _waits(said: Sequence[Mapping[str, Any]]) -> bool:
    return any(line["event"] == "a start waits for room" for line in said)
