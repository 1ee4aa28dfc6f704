"""Agents that message each other over the bus, from host to host."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from services.runtime.agent import BaseAgent
from services.runtime.bus.base import UnroutableMessage
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.capability import CapabilityError, capability
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from tests.support.memory_store import MemoryStore
from tests.support.running import Running, running, start


class Text(BaseModel):
    text: str


class Parrot(BaseAgent):
    """Says what it is told, or has another say it."""

    agent_type = "parrot"
    heard: list[str] = []  # noqa: RUF012 - what every parrot of this test heard

    @capability("say")
    def say(self, request: Text) -> Text:
        self.heard.append(f"{self.agent_id}: {request.text}")
        return Text(text=request.text.upper())

    @capability("pass_on")
    async def pass_on(self, request: Text) -> Text:
        answer = await self.ask("polly", {"action": "say", "inputs": {"text": request.text}})
        return Text.model_validate(answer)

    @capability("whisper")
    async def whisper(self, request: Text) -> Text:
        return Text(text=await self.send_message("polly", {"action": "say", "inputs": {"text": request.text}}))


def host(*agent_ids: str) -> Callable[[DirectBroker], Service]:
    settings = Settings(communication_protocol=Protocol.DIRECT, agent_ids=tuple(f"parrot/{one}" for one in agent_ids))
    return lambda broker: agent_service(Parrot, settings, DirectBus(broker))


@pytest.fixture
async def system() -> AsyncIterator[Running]:
    Parrot.heard.clear()
    settings = Settings(communication_protocol=Protocol.DIRECT)
    async with running(MemoryStore(), settings, [host("polly"), host("coco")]) as system:
        yield system


async def step(system: Running, action: str, agent_id: str, text: str) -> Any:
    one = {"id": "s", "agent_type": "parrot", "action": action, "agent_id": agent_id, "inputs": {"text": text}}
    message = start({"name": "n", "steps": [one]})
    await system.ask(message)
    return await system.ended(message.execution_id), (await system.outputs(message.execution_id)).get("s")


async def test_inter_agent_communication(system: Running) -> None:
    """A named agent on one host asks a named agent on another, and tells it something without waiting."""
    assert await step(system, "pass_on", "coco", "hello") == ("completed", {"text": "HELLO"})
    assert Parrot.heard == ["polly: hello"]
    status, _ = await step(system, "whisper", "coco", "psst")
    assert status == "completed"

    async def whispered() -> bool:
        return "polly: psst" in Parrot.heard

    await system.until(whispered)


async def test_an_agent_that_refuses_says_so_to_the_one_that_asked(system: Running) -> None:
    bus = DirectBus(system.broker)
    service = agent_service(Parrot, Settings(communication_protocol=Protocol.DIRECT), bus)
    await service.start()
    try:
        asker = next(resource for resource in service._resources if hasattr(resource, "any")).any
        with pytest.raises(CapabilityError, match="has no action 'sing'"):
            await asker.ask("polly", {"action": "sing"})
        with pytest.raises(UnroutableMessage):
            await asker.send_message("nobody", {})
    finally:
        await service.stop()


async def test_work_for_an_agent_that_nobody_runs_fails_by_name(system: Running) -> None:
    one = {"id": "s", "agent_type": "parrot", "action": "say", "agent_id": "ghost", "inputs": {"text": "boo"}}
    message = start({"name": "n", "steps": [one]})
    await system.ask(message)
    assert await system.ended(message.execution_id) == "failed"
    entries = (await system.store.read_log({message.execution_id: 0}))[message.execution_id]
    (failed,) = [event for entry in entries for event in entry.events if event.kind == "step_failed"]
    assert failed.error.type == "UnroutableMessage"
