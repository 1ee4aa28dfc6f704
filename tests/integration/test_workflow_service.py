"""The orchestrator with the real agents, spoken to over the bus: what a workflow service promises."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.envelope import Message
from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    DescribeExecution,
    ExecutionAccepted,
    ExecutionDescribed,
    Refused,
)
from contracts.workflow import CreateWorkflow, DeleteWorkflow, WorkflowCreated, WorkflowDeleted
from services.runtime.settings import Protocol, Settings
from tests.support.memory_store import MemoryStore
from tests.support.running import Running, running, start

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"

# The specification's own example, word for word.
TEST_WORKFLOW: dict[str, Any] = {
    "name": "test_workflow",
    "steps": [
        {
            "id": "step1",
            "agent_type": "data_agent",
            "action": "process_data",
            "inputs": {"data_source": "test_data"},
        },
        {
            "id": "step2",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {"data": "step1.output"},
            "depends_on": ["step1"],
        },
    ],
}


@pytest.fixture
async def system() -> AsyncIterator[Running]:
    settings = Settings(communication_protocol=Protocol.DIRECT, data_folder=EXAMPLES)
    async with running(MemoryStore(), settings) as system:
        yield system


def refused(answer: Message, code: str) -> Refused:
    assert isinstance(answer, Refused), answer
    assert answer.code == code, answer
    return answer


async def test_workflow_execution_success(system: Running) -> None:
    message = start(TEST_WORKFLOW)
    accepted = await system.ask(message)
    assert accepted == ExecutionAccepted(execution_id=message.execution_id)
    assert await system.ended(message.execution_id) == "completed"
    outputs = await system.outputs(message.execution_id)
    assert outputs["step1"]["row_count"] == len(outputs["step1"]["records"]) > 0
    assert outputs["step2"]["winner"] in {row["name"] for row in outputs["step1"]["records"]}


async def test_the_form_with_agents_and_dependencies_at_the_top_gives_the_same(system: Running) -> None:
    steps = [{key: value for key, value in step.items() if key != "depends_on"} for step in TEST_WORKFLOW["steps"]]
    other = {
        "name": "test_workflow",
        "agents": ["data_agent", "decision_agent"],
        "dependencies": {"step2": ["step1"]},
        "steps": steps,
    }
    messages = [start(TEST_WORKFLOW), start(other)]
    for message in messages:
        await system.ask(message)
        assert await system.ended(message.execution_id) == "completed"
    first, second = [await system.outputs(message.execution_id) for message in messages]
    assert first["step2"] == second["step2"]


async def test_workflow_service_operations(system: Running) -> None:
    """Create, execute, cancel, delete, and what is refused along the way."""
    created = await system.ask(CreateWorkflow(workflow_id="w", definition=TEST_WORKFLOW))
    assert isinstance(created, WorkflowCreated)
    assert (created.workflow.name, created.workflow.steps) == ("test_workflow", 2)
    again = await system.ask(CreateWorkflow(workflow_id="w", definition=TEST_WORKFLOW))
    assert isinstance(again, WorkflowCreated)
    other = await system.ask(CreateWorkflow(workflow_id="w", definition={**TEST_WORKFLOW, "name": "other"}))
    refused(other, "already_exists")
    message = start(workflow_id="w")
    assert await system.ask(message) == ExecutionAccepted(execution_id=message.execution_id, workflow_id="w")
    assert await system.ended(message.execution_id) == "completed"
    late = await system.ask(CancelExecution(execution_id=message.execution_id))
    assert isinstance(late, CancelAccepted)
    assert late.status.value == "completed"
    assert await system.ask(DeleteWorkflow(workflow_id="w")) == WorkflowDeleted(workflow_id="w")
    refused(await system.ask(DeleteWorkflow(workflow_id="w")), "not_found")
    refused(await system.ask(start(workflow_id="w")), "not_found")
    refused(await system.ask(CancelExecution(execution_id="never-started")), "not_found")
    refused(await system.ask(start()), "invalid")


async def test_workflow_execution(system: Running) -> None:
    """The same start again is the same execution; the same id with another body is refused."""
    message = start(TEST_WORKFLOW, inputs={"a": 1})
    await system.ask(message)
    await system.ended(message.execution_id)
    entries = await system.store.read_log({message.execution_id: 0})
    repeated = await system.ask(message)
    assert repeated == ExecutionAccepted(execution_id=message.execution_id, repeated=True)
    refused(await system.ask(message.model_copy(update={"inputs": {"a": 2}})), "conflict")
    assert await system.store.read_log({message.execution_id: 0}) == entries


async def test_every_fault_of_a_definition_is_listed_and_nothing_is_stored(system: Running) -> None:
    bad = {
        "name": "bad",
        "steps": [
            {"id": "a", "agent_type": "data_agent", "action": "no_such_action", "depends_on": ["nowhere"]},
            {"id": "b", "agent_type": "no_such_agent", "action": "x", "inputs": {"x": "misspelt.output"}},
            {"id": "c", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": "d.output"}},
            {"id": "d", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": "c.output"}},
            {
                "id": "e",
                "agent_type": "data_agent",
                "action": "query",
                "inputs": {"sql": 7},
                "when": "steps.a.output >",
            },
        ],
    }
    message = start(bad)
    answer = refused(await system.ask(message), "invalid")
    paths = {fault.path for fault in answer.faults}
    assert {
        "steps[0].action",
        "steps[0].depends_on[0]",
        "steps[1].agent_type",
        "steps[1].inputs.x",
        "steps[4].inputs.sql",
        "steps[4].when",
    } <= paths
    assert any("c" in fault.message and "d" in fault.message for fault in answer.faults if "cycle" in fault.code)
    assert (await system.store.read_log({message.execution_id: 0}))[message.execution_id] == []


async def test_inputs_of_an_execution_nest_64_levels_and_no_deeper(system: Running) -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(levels - 1):
            value = {"x": value}
        return value

    assert isinstance(await system.ask(start(TEST_WORKFLOW, inputs=nested(64))), ExecutionAccepted)
    answer = refused(await system.ask(start(TEST_WORKFLOW, inputs=nested(65))), "invalid")
    assert [fault.code for fault in answer.faults] == ["too_deep"]


async def test_large_outputs_stand_outside_the_log(system: Running) -> None:
    rows = [{"name": f"row {i}", "text": "x" * 200, "value": i} for i in range(1_000)]
    definition = {
        "name": "large",
        "steps": [
            {"id": "a", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": "inputs.rows"}},
            {
                "id": "b",
                "agent_type": "data_agent",
                "action": "process_data",
                "inputs": {"data_source": "a.output", "operations": [{"op": "limit", "count": 3}]},
            },
        ],
    }
    message = start(definition, inputs={"rows": rows})
    await system.ask(message)
    assert await system.ended(message.execution_id) == "completed"
    entries = (await system.store.read_log({message.execution_id: 0}))[message.execution_id]
    events = [event for entry in entries for event in entry.events]
    large = next(event for event in events if event.kind == "step_succeeded" and event.step == "a")
    assert large.output is None
    assert large.output_ref is not None
    payload = await system.store.get_payloads([large.output_ref.payload_id])
    assert payload[large.output_ref.payload_id]["row_count"] == 1_000
    assert (await system.outputs(message.execution_id))["b"]["records"][2]["name"] == "row 2"


async def test_cache_answers_the_same_inputs_without_running_again(system: Running) -> None:
    step = {
        "agent_type": "data_agent",
        "action": "profile",
        "cache": {"ttl": 60},
        "inputs": {"data_source": [{"x": 1}]},
    }
    first, second = (
        start({"name": "n", "steps": [{"id": "a", **step}]}),
        start({"name": "n", "steps": [{"id": "a", **step}]}),
    )
    marks = []
    for message in (first, second):
        await system.ask(message)
        await system.ended(message.execution_id)
        entries = (await system.store.read_log({message.execution_id: 0}))[message.execution_id]
        marks += [event.cached for entry in entries for event in entry.events if event.kind == "step_succeeded"]
    assert marks == [False, True]


async def test_an_execution_is_described_to_whoever_asks(system: Running) -> None:
    message = start(TEST_WORKFLOW)
    await system.ask(message)
    await system.ended(message.execution_id)
    answer = await system.ask(DescribeExecution(execution_id=message.execution_id))
    assert isinstance(answer, ExecutionDescribed)
    assert (answer.status.value, answer.done, answer.steps) == ("completed", 2, 2)
    assert answer.outputs == {"step2": (await system.outputs(message.execution_id))["step2"]}
    refused(await system.ask(DescribeExecution(execution_id="never-started")), "not_found")
