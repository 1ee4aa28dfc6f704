"""What definitions are checked against: the agent types and agents that are registered now."""

from typing import Any

import pytest

from contracts.agents import AgentDescriptor, AgentRecord, Capability
from contracts.hosts import HostAnnounced, PluginFault
from contracts.topology import Queue
from services.orchestrator.catalogue import Catalogue
from services.orchestrator.definitions import Definitions
from services.orchestrator.engine import Limits
from services.runtime.known_types import KNOWN_FOR
from services.runtime.security.policy import BUILT_IN
from services.runtime.service import Refusal
from services.runtime.store.base import Host
from tests.support.memory_store import MemoryStore


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class World:
    """Definitions over a store in memory, into which the registry would write."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = Clock()
        self.catalogue = Catalogue(self.store, self.clock)
        self.declared: list[Queue] = []
        self.definitions = Definitions(self.store, self.catalogue, Limits(30.0, 300.0), self._declare)

    async def _declare(self, queue: Queue) -> None:
        self.declared.append(queue)

    async def host(self, *types: str, seen: float | None = None, available: bool = True) -> None:
        capability = Capability(name="write", input_schema={"type": "object"}, output_schema={})
        descriptors = tuple(AgentDescriptor(agent_type=kind, capabilities=(capability,)) for kind in types)
        announced = HostAnnounced(host_id=types[0], service="s", descriptors=descriptors, heartbeat_seconds=5)
        await self.store.put_host(Host(announced, self.clock() if seen is None else seen, available))

    async def agent(self, agent_id: str, agent_type: str = "clerk", **fields: Any) -> None:
        record = AgentRecord(agent_id=agent_id, agent_type=agent_type, created_at=1.0, **fields)
        assert await self.store.add_agent(record)

    async def faults(self, *steps: dict[str, Any]) -> list[tuple[str, str, str]]:
        with pytest.raises(Refusal) as caught:
            await self.definitions.accept(definition(*steps))
        return [(fault.path, fault.code, fault.message) for fault in caught.value.refused.faults]


def definition(*steps: dict[str, Any]) -> dict[str, Any]:
    filled = [{"id": f"s{i}", "agent_type": "clerk", "action": "write", **step} for i, step in enumerate(steps)]
    return {"name": "n", "steps": filled}


@pytest.fixture
async def world() -> World:
    world = World()
    await world.host("clerk", "cook")
    return world


async def test_a_type_is_known_for_a_day_after_its_last_host(world: World) -> None:
    await world.host("old", seen=world.clock() - KNOWN_FOR, available=False)
    await world.host("older", seen=world.clock() - KNOWN_FOR - 1, available=False)
    assert set(await world.catalogue.agents()) == {"clerk", "cook", "old"}
    await world.definitions.accept(definition({"agent_type": "old"}))
    assert [fault[1] for fault in await world.faults({"agent_type": "older"})] == ["unknown_agent_type"]


async def test_what_has_just_announced_itself_is_found_by_a_second_look(world: World) -> None:
    await world.catalogue.agents()
    await world.host("new")
    assert set(await world.catalogue.agents()) == {"clerk", "cook"}
    await world.definitions.accept(definition({"agent_type": "new"}))
    reads = world.store.calls["list_hosts"]
    await world.catalogue.agents()
    assert world.store.calls["list_hosts"] == reads
    world.clock.now += 2.1
    await world.catalogue.agents()
    assert world.store.calls["list_hosts"] == reads + 1


async def test_a_step_may_name_a_registered_agent_of_its_type(world: World) -> None:
    await world.agent("ann")
    plan = await world.definitions.accept(definition({"agent_id": "ann"}, {}))
    assert [step.agent_id for step in plan.definition.steps] == ["ann", None]


async def test_an_agent_that_is_not_registered_is_a_fault_that_names_those_that_are(world: World) -> None:
    for i in range(12):
        await world.agent(f"ann{i:02}")
    await world.agent("carl", "cook")
    await world.agent("clerk", default=True)
    faults = await world.faults({}, {"agent_id": "bob"}, {"agent_id": "carl"}, {"agent_type": "cook", "agent_id": "x"})
    assert [fault[:2] for fault in faults] == [(f"steps[{i}].agent_id", "unknown_agent") for i in (1, 2, 3)]
    assert faults[0][2].startswith("there is no agent 'bob'; agents of type 'clerk' with an id of their own: ann00, ")
    assert faults[0][2].endswith("ann09")
    assert faults[1][2].startswith("agent 'carl' is of type 'cook'; ")
    assert faults[2][2].endswith("carl")
    assert [fault[1] for fault in await world.faults({"agent_id": "any"})] == ["unknown_agent"]


async def test_the_default_agent_of_a_type_is_whichever_is_free(world: World) -> None:
    named = await world.definitions.accept(definition({"agent_id": "clerk"}))
    free = await world.definitions.accept(definition({}))
    assert named.definition.steps[0].agent_id is None
    assert named.definition_hash == free.definition_hash


async def test_what_was_accepted_is_not_judged_again(world: World) -> None:
    await world.agent("ann")
    plan = await world.definitions.accept(definition({"agent_id": "ann"}))
    await world.store.delete_agent("ann")
    assert await world.definitions.accept(definition({"agent_id": "ann"})) is plan
    other = Definitions(world.store, world.catalogue, Limits(30.0, 300.0), world._declare)
    assert (await other.plan(plan.definition_hash)).definition == plan.definition


async def test_agents_are_not_looked_up_for_definitions_that_name_none(world: World) -> None:
    await world.definitions.accept(definition({}, {"id": "other"}))
    assert world.store.calls["list_agents"] == 0
    faults = await world.faults({"agent_id": 7}, {"agent_id": "bad id"})
    assert [fault[0] for fault in faults] == ["steps[0].agent_id", "steps[1].agent_id"]


async def test_a_large_definition_is_checked_all_the_same(world: World) -> None:
    faults = await world.faults(*({"agent_id": f"nobody{i}"} for i in range(150)))
    assert [fault[:2] for fault in faults] == [(f"steps[{i}].agent_id", "unknown_agent") for i in range(150)]


async def test_who_forgot_the_policy_is_told_so(world: World) -> None:
    await world.host("clerk")
    left_out = BUILT_IN.left_out("tamer")
    faults = (
        PluginFault(plugin="tamer", source="s", error=left_out),
        PluginFault(plugin="clerk", source="s", error=BUILT_IN.why_not("clerk", "sign")),
    )
    announced = HostAnnounced(host_id="tamers", service="s", descriptors=(), faults=faults, heartbeat_seconds=5)
    await world.store.put_host(Host(announced, world.clock()))
    found = await world.faults({"agent_type": "tamer"}, {"action": "sign"}, {"action": "sing"}, {"agent_type": "x"})
    assert [(path, code) for path, code, _ in found] == [
        ("steps[0].agent_type", "unknown_agent_type"),
        ("steps[1].action", "unknown_action"),
        ("steps[2].action", "unknown_action"),
        ("steps[3].agent_type", "unknown_agent_type"),
    ]
    assert "[agents.tamer]" in found[0][2]
    assert "AGENT_POLICY is not set" in found[0][2]
    assert "is not granted" in found[1][2]
    assert not any("grant" in message for _, _, message in found[2:])
