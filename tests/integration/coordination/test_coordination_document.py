"""The worked examples of docs/coordination.md and the example workflow do what they are said to do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.workflow import CreateWorkflow
from tests.support.memory_store import MemoryStore
from tests.support.negotiators import SETTINGS, create
from tests.support.running import Running, running, start

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def system() -> AsyncIterator[Running]:
    async with running(MemoryStore(), SETTINGS) as system:
        yield system


def blocks(action: str) -> list[Any]:
    """The JSON and YAML of an action's worked example, in order."""
    text = (ROOT / "docs" / "coordination.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"### Worked example: {action}\n")
    section = re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"```(json|yaml)\n(.*?)```", section, re.DOTALL)
    return [json.loads(body) if kind == "json" else yaml.safe_load(body) for kind, body in found]


def assert_has(actual: Any, said: Any, at: str = "$") -> None:
    """``said`` is a part of ``actual``: some of an object's fields, all of a list."""
    if isinstance(said, dict):
        for name, value in said.items():
            assert name in actual, f"{at} has no {name}"
            assert_has(actual[name], value, f"{at}.{name}")
    elif isinstance(said, list):
        assert len(actual) == len(said), at
        for i, value in enumerate(said):
            assert_has(actual[i], value, f"{at}[{i}]")
    else:
        assert actual == said, at


async def run(system: Running, definition: dict[str, Any]) -> dict[str, Any]:
    message = start(definition)
    await system.ask(message)
    assert await system.ended(message.execution_id) == "completed"
    return await system.outputs(message.execution_id)


async def create_all(system: Running, agents: dict[str, dict[str, Any]]) -> None:
    await asyncio.gather(*(create(system, one["agent_type"], {name: one["config"]}) for name, one in agents.items()))


@pytest.mark.parametrize(("action", "step"), [("contract_net", "choose"), ("consensus", "agree")])
async def test_the_worked_example_with_agents(system: Running, action: str, step: str) -> None:
    agents, definition, said = blocks(action)
    await create_all(system, agents)
    assert_has((await run(system, definition))[step], said)


async def test_the_worked_example_of_delegation(system: Running) -> None:
    child, parent, said = blocks("delegate")
    await system.ask(CreateWorkflow(workflow_id=child["name"], definition=child))
    outputs = await run(system, parent)
    assert_has(outputs["hotel"], said)
    assert outputs["report"]["value"] == {"hotel": "Bristol"}


def readers_agents() -> dict[str, dict[str, Any]]:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Do three points of view agree?\n")
    found = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    return {agent["agent_id"]: agent for agent in json.loads(found[0])}


async def test_the_example_of_a_consensus_on_airlines(system: Running) -> None:
    definition = yaml.safe_load((ROOT / "examples" / "airline_consensus.yaml").read_text(encoding="utf-8"))
    alone = (await run(system, definition))["consensus"]
    assert (alone["outcome"], alone["asked"]) == ("no_quorum", [])
    await create_all(system, readers_agents())
    answer = (await run(system, definition))["consensus"]
    assert (answer["outcome"], answer["answer"]) == ("consensus", "UA")
    assert [one["agent_id"] for one in answer["dissent"]] == ["passengers"]
