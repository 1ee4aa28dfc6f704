"""BaseAgent: lifecycle, capabilities, messages."""

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.agents import AgentStatus
from services.runtime.agent import AgentStopped, BaseAgent
from services.runtime.capability import CapabilityDeclarationError, CapabilityError, capability


class Numbers(BaseModel):
    values: list[float]


class Sum(BaseModel):
    total: float


class Calculator(BaseAgent):
    """Adds numbers."""

    agent_type = "calculator"

    def __init__(self, agent_id: str, config: dict[str, Any] | None = None) -> None:
        super().__init__(agent_id, config)
        self.opened = 0
        self.go_on = asyncio.Event()

    async def on_start(self) -> None:
        if self.config.get("broken"):
            raise OSError("no such resource")
        self.opened += 1

    async def on_stop(self) -> None:
        self.opened -= 1

    @capability("add")
    def add(self, request: Numbers) -> Sum:
        """Add numbers."""
        return Sum(total=sum(request.values))

    @capability("wait_and_add")
    async def wait_and_add(self, request: Numbers) -> Sum:
        await self.go_on.wait()
        return Sum(total=sum(request.values))


async def test_base_agent_lifecycle() -> None:
    agent = Calculator("c1", {"unit": "EUR"})
    assert (agent.agent_id, agent.config, agent.status) == ("c1", {"unit": "EUR"}, AgentStatus.STOPPED)
    await agent.start()
    assert agent.status is AgentStatus.IDLE
    work = asyncio.create_task(agent.perform("wait_and_add", {"values": [1, 2]}))
    await asyncio.sleep(0)
    assert agent.status is AgentStatus.PROCESSING
    agent.go_on.set()
    assert await work == {"total": 3}
    assert agent.status is AgentStatus.IDLE
    await agent.stop()
    assert agent.status is AgentStatus.STOPPED


async def test_agent_start_stop() -> None:
    agent = Calculator("c1")
    await agent.start()
    await agent.start()
    assert agent.opened == 1
    await agent.stop()
    await agent.stop()
    assert agent.opened == 0
    with pytest.raises(AgentStopped, match="c1"):
        await agent.perform("add", {"values": [1]})


async def test_an_agent_that_cannot_start_is_in_error() -> None:
    agent = Calculator("c1", {"broken": True})
    with pytest.raises(OSError, match="no such resource"):
        await agent.start()
    assert agent.status is AgentStatus.ERROR


async def test_stopping_wins_over_becoming_idle() -> None:
    agent = Calculator("c1")
    await agent.start()
    work = asyncio.create_task(agent.perform("wait_and_add", {"values": []}))
    await asyncio.sleep(0)
    await agent.stop()
    agent.go_on.set()
    await work
    assert agent.status is AgentStatus.STOPPED


async def test_agent_message_processing() -> None:
    agent = Calculator("c1")
    await agent.start()
    assert await agent.process_message({"action": "add", "inputs": {"values": [1, 2, 3]}}) == {"total": 6}
    with pytest.raises(CapabilityError, match="needs an 'action', one of: add, wait_and_add"):
        await agent.process_message({"hello": "world"})
    with pytest.raises(CapabilityError, match="has no action 'subtract'; it has add, wait_and_add"):
        await agent.process_message({"action": "subtract"})
    with pytest.raises(CapabilityError, match=r"inputs of add do not fit: values\.1") as refusal:
        await agent.process_message({"action": "add", "inputs": {"values": [1, "x"]}})
    assert (refusal.value.code, refusal.value.retryable) == ("InvalidInputs", False)


async def test_agent_capabilities() -> None:
    agent = Calculator("c1")
    assert agent.get_capabilities() == ["add", "wait_and_add"]

    def halve(request: Sum) -> Sum:
        return Sum(total=request.total / 2)

    agent.register_capability("halve", halve)
    await agent.start()
    assert agent.capabilities == ["add", "halve", "wait_and_add"]
    assert await agent.perform("halve", {"total": 8}) == {"total": 4}
    descriptor = agent.describe()
    assert (descriptor.agent_type, descriptor.description) == ("calculator", "Adds numbers.")
    add = descriptor.capability("add")
    assert add is not None
    assert add.description == "Add numbers."
    assert add.input_schema["required"] == ["values"]
    assert add.output_schema["properties"]["total"]["type"] == "number"


def test_a_capability_must_say_what_it_takes_and_gives() -> None:
    class Vague(BaseAgent):
        agent_type = "vague"

        @capability("guess")
        def guess(self, request: dict) -> Sum:  # type: ignore[type-arg]
            raise NotImplementedError

    with pytest.raises(CapabilityDeclarationError, match=r"Vague\.guess \(capability 'guess'\) must take exactly one"):
        Vague("v")


async def test_sending_without_a_connection_is_refused_by_name() -> None:
    with pytest.raises(AgentStopped, match="c1 is not connected"):
        await Calculator("c1").send_message("c2", {})
