"""Agents that message each other over the bus, from host to host, with a registry that knows them all."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.agents import AgentStatus
from contracts.execution import Refused
from contracts.registry import AgentCreated, AgentMail, CreateAgent
from services.dead_letters.app import build as build_dead_letters
from services.runtime.agent import BaseAgent, CapabilityError, CommandRefused, Mail, capability, on_message
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.hosting.host import agent_service
from services.runtime.service import Service
from services.runtime.settings import Protocol, Settings
from services.runtime.store.base import DeadLetterFilter, Page
from tests.support.memory_store import MemoryStore
from tests.support.running import Running, running, start

SETTINGS = Settings(
    communication_protocol=Protocol.DIRECT,
    agent_heartbeat=0.2,
    agent_timeout=10.0,
    max_message_retries=2,
    agent_ids=("parrot/polly", "parrot/coco"),
)


class Text(BaseModel):
    text: str = ""


class Names(BaseModel):
    names: list[str]


class Wanted(BaseModel):
    """Which agents are meant."""

    agent_type: str | None = None
    capability: str | None = None
    statuses: tuple[AgentStatus, ...] | None = None


class Heard(BaseAgent):
    """What every agent of this test heard stands in ``heard``."""

    agent_type = "heard"
    heard: list[str] = []  # noqa: RUF012 - shared by all of them

    @on_message("news")
    async def hear(self, mail: Mail) -> None:
        self.heard.append(f"{self.agent_id}: {mail.body['text']} from {mail.sender_id}")


class Parrot(Heard):
    """Says what it is told, or has another say it."""

    agent_type = "parrot"

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

    @capability("provoke")
    async def provoke(self, request: Text) -> Text:
        """Have polly handle a message of this type, and say how that went."""
        try:
            return Text(text=str(await self.ask("polly", {}, message_type=request.text)))
        except Exception as error:
            return Text(text=f"{type(error).__name__}: {error}")

    @capability("tell")
    async def tell(self, wanted: Wanted) -> Names:
        sent = await self.broadcast({"text": "storm"}, message_type="news", **wanted.model_dump())
        return Names(names=list(sent.agent_ids))

    @capability("look_for")
    async def look_for(self, wanted: Wanted) -> Names:
        return Names(names=[agent.agent_id for agent in await self.find_agents(**wanted.model_dump())])

    @capability("hatch")
    async def hatch(self, request: Text) -> Text:
        created = await self.request(CreateAgent(agent_type="parrot", agent_id=request.text), AgentCreated)
        return Text(text=created.agent.agent_id)

    @on_message("stumble")
    async def stumble(self, mail: Mail) -> dict[str, Any]:
        self.heard.append(f"{self.agent_id}: try {mail.retry_count}")
        if mail.retry_count < 2:
            raise OSError("fell off the perch")
        return {"tries": mail.retry_count + 1}

    @on_message("fall")
    async def fall(self, mail: Mail) -> None:
        self.heard.append(f"{self.agent_id}: try {mail.retry_count}")
        raise OSError("fell off the perch")

    @on_message("refuse")
    async def refuse(self, mail: Mail) -> None:
        raise CapabilityError("no biscuits", code="NoBiscuits")


class Owl(Heard):
    """Hears."""

    agent_type = "owl"

    @capability("hoot")
    def hoot(self, request: Text) -> Text:
        return request


def host(agent_class: type[BaseAgent]) -> Callable[[DirectBroker], Service]:
    return lambda broker: agent_service(agent_class, SETTINGS, DirectBus(broker))


@pytest.fixture
async def system() -> AsyncIterator[Running]:
    Heard.heard.clear()
    store = MemoryStore()

    def dead_letters(broker: DirectBroker) -> Service:
        return build_dead_letters(SETTINGS, DirectBus(broker), store)

    hosts = [host(Parrot), host(Parrot), host(Owl)]
    async with running(store, SETTINGS, hosts) as system:
        letters = dead_letters(system.broker)
        await letters.start()

        async def named() -> bool:
            found = [await store.get_agent(name) for name in ("polly", "coco")]
            return all(agent is not None and agent.status is AgentStatus.IDLE for agent in found)

        await system.until(named)
        yield system
        await letters.stop()


async def step(system: Running, action: str, agent_id: str, **inputs: Any) -> Any:
    """How one step of an agent ends, and what it gives."""
    one = {"id": "s", "agent_type": "parrot", "action": action, "agent_id": agent_id, "inputs": inputs}
    message = start({"name": "n", "steps": [one]})
    answer = await system.ask(message)
    if isinstance(answer, Refused):
        return "refused", answer
    return await system.ended(message.execution_id), (await system.outputs(message.execution_id)).get("s")


async def heard(system: Running, *lines: str) -> list[str]:
    async def all_of_them() -> bool:
        return set(lines) <= set(Heard.heard)

    await system.until(all_of_them)
    return Heard.heard


async def test_inter_agent_communication(system: Running) -> None:
    """A named agent asks another, and tells it something without waiting, whichever hosts they are on."""
    assert await step(system, "pass_on", "coco", text="hello") == ("completed", {"text": "HELLO"})
    assert await step(system, "say", "parrot", text="all") == ("completed", {"text": "ALL"})
    assert Heard.heard == ["polly: hello", "parrot: all"]
    status, _ = await step(system, "whisper", "coco", text="psst")
    assert status == "completed"
    assert (await heard(system, "polly: psst")).count("polly: psst") == 1


async def test_communication_failure_handling(system: Running) -> None:
    """A failure is tried again and counted, a refusal is told at once, and the limit ends in a dead letter."""
    assert await step(system, "provoke", "coco", text="stumble") == ("completed", {"text": "{'tries': 3}"})
    assert Heard.heard == ["polly: try 0", "polly: try 1", "polly: try 2"]
    _, refused = await step(system, "provoke", "coco", text="refuse")
    assert refused == {"text": "AgentFailed: agent polly could not answer: no biscuits"}
    _, unknown = await step(system, "provoke", "coco", text="sing")
    assert "no handler for messages of type 'sing'" in unknown["text"]
    assert await system.store.list_dead_letters(DeadLetterFilter(), Page()) == ([], None)
    Heard.heard.clear()
    _, failed = await step(system, "provoke", "coco", text="fall")
    assert failed == {"text": "AgentFailed: agent polly could not answer: fell off the perch"}
    assert Heard.heard == ["polly: try 0", "polly: try 1", "polly: try 2"]

    async def letters() -> list[Any]:
        return (await system.store.list_dead_letters(DeadLetterFilter(), Page()))[0]

    (letter,) = await system.until(letters)
    assert (letter.reason, letter.type, letter.queue) == ("agent-failed", AgentMail.TYPE, "parrot.agent.polly")
    assert letter.detail == "OSError: fell off the perch (after 2 retries)"


async def test_message_broadcasting(system: Running) -> None:
    """A broadcast reaches every agent that its filter matches, once, and not its sender."""
    everyone = ["coco", "coordinator_agent", "data_agent", "decision_agent", "owl", "parrot", "polly"]
    _, matching = await step(system, "look_for", "coco")
    assert matching == {"names": everyone}
    _, sent = await step(system, "tell", "coco", agent_type="parrot")
    assert sorted(sent["names"]) == ["parrot", "polly"]
    assert sorted(await heard(system, "parrot: storm from coco", "polly: storm from coco")) == [
        "parrot: storm from coco",
        "polly: storm from coco",
    ]
    Heard.heard.clear()
    _, sent = await step(system, "tell", "coco", capability="hoot")
    assert sent == {"names": ["owl"]}
    _, sent = await step(system, "tell", "coco", capability="say", statuses=["unavailable"])
    assert sent == {"names": []}
    assert await heard(system, "owl: storm from coco") == ["owl: storm from coco"]


async def test_an_agent_commands_the_system_and_hears_a_refusal(system: Running) -> None:
    assert await step(system, "hatch", "coco", text="chick") == ("completed", {"text": "chick"})
    assert await step(system, "say", "chick", text="peep") == ("completed", {"text": "PEEP"})
    one = {"id": "s", "agent_type": "parrot", "action": "hatch", "agent_id": "coco", "inputs": {"text": "chick"}}
    message = start({"name": "n", "steps": [one]})
    await system.ask(message)
    assert await system.ended(message.execution_id) == "failed"
    entries = (await system.store.read_log({message.execution_id: 0}))[message.execution_id]
    (failed,) = [event for entry in entries for event in entry.events if event.kind == "step_failed"]
    assert failed.error.type == CommandRefused.__name__
    assert "chick" in failed.error.message


async def test_work_for_an_agent_that_is_not_there_is_refused_by_name(system: Running) -> None:
    status, refused = await step(system, "say", "ghost", text="boo")
    assert status == "refused"
    assert [fault.path for fault in refused.faults] == ["steps[0].agent_id"]
    assert "'ghost'" in refused.faults[0].message
