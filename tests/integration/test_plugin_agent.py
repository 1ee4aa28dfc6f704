"""Plugins in a running system over the direct bus: announced with their faults, run in a workflow, messaged."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.agents import AgentRecord, AgentStatus
from contracts.registry import AgentCreated, AgentFilter, AgentMail, AgentReply, CreateAgent
from services.plugin_agent.app import build
from services.plugin_agent.new_agent import create_agent
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from services.runtime.store.base import Host, Page
from tests.support.memory_store import MemoryStore
from tests.support.running import Running, running, start

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plugins"


def host(folder: Path | None) -> Callable[[DirectBroker], Service]:
    settings = Settings(communication_protocol=Protocol.DIRECT, plugin_folder=folder)
    return lambda broker: build(settings, DirectBus(broker))


@asynccontextmanager
async def system_with(*folders: Path | None) -> AsyncIterator[Running]:
    """One plugin agent for each folder."""
    settings = Settings(communication_protocol=Protocol.DIRECT)
    async with running(MemoryStore(), settings, [host(folder) for folder in folders]) as system:
        yield system


async def plugin_hosts(system: Running) -> list[Host]:
    return [one for one in await system.store.list_hosts() if one.announced.service == "plugin_agent"]


def types_of(host: Host) -> list[str]:
    return [descriptor.agent_type for descriptor in host.announced.descriptors]


async def run_step(system: Running, agent_type: str, action: str, inputs: dict[str, Any], **more: Any) -> Any:
    step = {"id": "s", "agent_type": agent_type, "action": action, "inputs": inputs, **more}
    message = start({"name": "one step", "steps": [step]})
    await system.ask(message)
    assert await system.ended(message.execution_id) == "completed"
    return (await system.outputs(message.execution_id))["s"]


async def test_the_example_folder_works_in_a_workflow_and_by_message() -> None:
    async with system_with(EXAMPLES / "folder") as system:
        inputs = {"quantities": [{"value": 1, "unit": "mi"}, {"value": 5280, "unit": "ft"}], "to": "m"}
        assert await run_step(system, "unit_converter", "convert", inputs) == {
            "values": [1609.344, 1609.344],
            "unit": "m",
            "dimension": "length",
        }
        mail = AgentMail(agent_id="unit_converter", message_type="units", body={"dimension": "mass"})
        reply = await system.ask(mail)
        assert isinstance(reply, AgentReply)
        assert reply.body == {"units": {"mass": ["kg", "g", "t", "lb", "oz"]}}


async def test_a_new_agent_runs_in_a_workflow_and_its_instances_have_their_own_configuration(tmp_path: Path) -> None:
    create_agent("stock_level", tmp_path)
    async with system_with(tmp_path / "stock_level" / "src") as system:
        values = {"values": [50, 150, 250]}
        assert (await run_step(system, "stock_level", "check", values))["above"] == [150, 250]
        created = await system.ask(CreateAgent(agent_type="stock_level", agent_id="strict", config={"limit": 200}))
        assert isinstance(created, AgentCreated), created
        assert (await run_step(system, "stock_level", "check", values, agent_id="strict"))["above"] == [250]
        reply = await system.ask(AgentMail(agent_id="strict", message_type="is_above", body={"value": 150}))
        assert isinstance(reply, AgentReply)
        assert reply.body == {"above": False}
        refused = await system.ask(CreateAgent(agent_type="stock_level", agent_id="odd", config={"limit": "low"}))
        assert [fault.path for fault in getattr(refused, "faults", ())] == ["config.limit"]


async def test_what_cannot_be_loaded_is_announced_beside_what_can(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    (tmp_path / "fine.py").write_text((EXAMPLES / "folder" / "unit_converter.py").read_text("utf-8"), encoding="utf-8")
    async with system_with(tmp_path) as system:
        (host,) = await plugin_hosts(system)
        assert types_of(host) == ["unit_converter"]
        (fault,) = host.announced.faults
        assert (fault.plugin, fault.source) == ("broken", str(tmp_path / "broken.py"))
        assert "ModuleNotFoundError" in fault.traceback


NEVER_UP = """
from pydantic import BaseModel

from services.runtime.agent import BaseAgent, capability


class Nothing(BaseModel):
    pass


class NeverUp(BaseAgent):
    agent_type = "never_up"

    async def on_start(self) -> None:
        raise OSError("its database is away")

    @capability("do")
    def do(self, request: Nothing) -> Nothing:
        return request
"""


async def test_a_plugin_that_cannot_start_stands_in_error_and_the_others_work(tmp_path: Path) -> None:
    (tmp_path / "never_up.py").write_text(NEVER_UP, encoding="utf-8")
    (tmp_path / "units.py").write_text((EXAMPLES / "folder" / "unit_converter.py").read_text("utf-8"), encoding="utf-8")
    async with system_with(tmp_path) as system:
        inputs = {"quantities": [{"value": 1, "unit": "kg"}], "to": "g"}
        assert (await run_step(system, "unit_converter", "convert", inputs))["values"] == [1000]
        shown = await system.until(lambda: in_error(system, "never_up"))
        assert shown.error == "OSError: its database is away"
        message = start({"name": "n", "steps": [{"id": "s", "agent_type": "never_up", "action": "do"}]})
        await system.ask(message)
        assert await system.ended(message.execution_id) == "failed"


async def in_error(system: Running, agent_id: str) -> AgentRecord | None:
    agent = await system.store.get_agent(agent_id)
    return agent if agent is not None and agent.status is AgentStatus.ERROR else None


@pytest.mark.parametrize("folder", [None, Path("not there")])
async def test_without_plugins_the_host_runs_and_offers_nothing(folder: Path | None) -> None:
    async with system_with(folder) as system:
        (host,) = await plugin_hosts(system)
        assert types_of(host) == []
        assert len(host.announced.faults) == (folder is not None)


async def test_two_hosts_have_plugins_of_their_own(tmp_path: Path) -> None:
    create_agent("other", tmp_path)
    async with system_with(EXAMPLES / "folder", tmp_path / "other" / "src") as system:
        assert sorted(types_of(host)[0] for host in await plugin_hosts(system)) == ["other", "unit_converter"]
        agents, _ = await system.store.list_agents(AgentFilter(statuses=(AgentStatus.IDLE,)), Page(100, None))
        assert {"other", "unit_converter"} <= {agent.agent_id for agent in agents}
