"""Signatures required: whoever has a key of its own gets nowhere with what is not its own to send, and the rest works.

The policy is the built-in one: the tests' own, which allows everything, would show nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts import topology
from contracts.agents import AgentDescriptor
from contracts.envelope import Message, new_id
from contracts.execution import (
    CancelAccepted,
    CancelExecution,
    ExecutionAccepted,
    Refused,
    RunSteps,
    StartExecution,
    StepCommand,
    StepProgress,
    StepResult,
    StepResults,
    StepsProgressed,
)
from contracts.hosts import AgentTaken, HostAnnounced
from contracts.registry import (
    AgentCreated,
    AgentMail,
    AgentReply,
    BroadcastMail,
    BroadcastSent,
    CreateAgent,
    FindAgents,
)
from contracts.topology import QueueKind
from scripts.servers import Server
from services.coordinator_agent.app import build as build_coordinator
from services.data_agent.app import build as build_data
from services.decision_agent.app import build as build_decision
from services.orchestrator.app import build as build_orchestrator
from services.registry.app import build as build_registry
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.delivering import DETAIL
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import Requests
from services.runtime.security.principal import SenderKind
from services.runtime.service import Service
from services.runtime.settings import Protocol
from tests.support.buses import PATIENCE, Inbox, delete_queues
from tests.support.memory_store import MemoryStore
from tests.support.running import how_it_ended, outputs_of
from tests.support.signing import add_key, signing_bus, signing_settings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "data"
HOSTS = {"data_agent": build_data, "decision_agent": build_decision, "coordinator_agent": build_coordinator}
DATA = {"id": "load", "agent_type": "data_agent", "action": "process_data", "inputs": {"data_source": "test_data"}}
DECIDE = {
    "id": "decide",
    "agent_type": "decision_agent",
    "action": "make_decision",
    "inputs": {"data": "load.output"},
}
DEFINITION = {"name": "two steps", "steps": [DATA, DECIDE]}


class System:
    """Signed services in one process, each with its own key and its own connection; and somebody with a stolen one."""

    def __init__(self, make_bus: Callable[[], Bus], keys: Path) -> None:
        self._make_bus = make_bus
        self._keys = keys
        self._settings = signing_settings(
            keys,
            communication_protocol=Protocol.RABBITMQ,
            data_folder=EXAMPLES,
            agent_policy=None,
            agent_heartbeat=0.5,
            shutdown_timeout=5.0,
        )
        self.store = MemoryStore()
        self.graves = Inbox()
        self._services: dict[str, Service] = {}
        self._buses: list[Bus] = []

    async def start(self) -> None:
        for name in ("edge", "orchestrator", "registry"):
            add_key(self._keys, name)
        for name in HOSTS:
            add_key(self._keys, name, SenderKind.AGENT, [name])
        for name in ("shop", "thief"):
            add_key(self._keys, name, SenderKind.CLIENT)
        graves = topology.Queue(
            f"graves.{new_id()}",
            tuple(topology.dead(reason) for reason in topology.DEAD_LETTER_REASONS),
            QueueKind.BROADCAST,
            delivery_limit=None,
            sealed=True,
        )
        bus = await self.bus("edge")
        await bus.subscribe(graves, self.graves, prefetch=100).start()
        await self._run("orchestrator", build_orchestrator(self._settings, self._signed("orchestrator"), self.store))
        await self._run("registry", build_registry(self._settings, self._signed("registry"), self.store))

    async def stop(self) -> None:
        for name in reversed(list(self._services)):
            await self.end(name)
        for bus in self._buses:
            await bus.close()

    def _signed(self, name: str) -> Bus:
        return signing_bus(self._make_bus(), self._keys, name, agent_policy=None)

    async def bus(self, name: str) -> Bus:
        bus = self._signed(name)
        await bus.start()
        self._buses.append(bus)
        return bus

    async def _run(self, name: str, service: Service) -> None:
        await service.start()
        self._services[name] = service

    async def host(self, *names: str) -> None:
        for name in names:
            await self._run(name, HOSTS[name](self._settings, self._signed(name)))
            await self.until(lambda name=name: self.store.get_agent(name))  # type: ignore[misc]

    async def end(self, name: str) -> None:
        await self._services.pop(name).stop()

    # ---- what is sent and what comes of it

    async def send(self, key: str, message: Message, *, sender: str = "", **fields: Any) -> None:
        """Sign with the key of ``key``, whoever the message says that it is from."""
        bus = await self.bus(key)
        await bus.publish([encode(Outgoing(message, **fields), sender or f"{key}-0123abcd")])

    async def ask(self, key: str, message: Message) -> Message:
        bus = self._signed(key)
        requests = Requests(bus, key)
        await bus.start()
        try:
            return await requests.ask(Outgoing(message), PATIENCE)
        finally:
            await requests.stop()
            await bus.close()

    async def refused(self, count: int = 1) -> list[str]:
        """Why so many messages were refused, as their dead letters say."""
        found = await self.graves.wait_for(count)
        assert [reason_of(one) for one in found] == ["forbidden-sender"] * count
        return [one.headers[DETAIL] for one in found]

    async def until(self, question: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while not (answer := await question()):
                await asyncio.sleep(0.02)
        return answer

    async def ended(self, execution_id: str) -> str:
        return str(await self.until(lambda: how_it_ended(self.store, execution_id)))

    async def outputs(self, execution_id: str) -> dict[str, Any]:
        return await outputs_of(self.store, execution_id)


def reason_of(delivery: Delivery) -> str:
    return delivery.routing_key


def start(definition: dict[str, Any], client: str = "alice") -> StartExecution:
    return StartExecution(execution_id=f"exec-{new_id()}", definition=definition, client=client)


def result(execution_id: str, step: str = "load") -> StepResult:
    return StepResult(
        result_id=new_id(), execution_id=execution_id, step=step, attempt=1, ok=True, output={"forged": True}
    )


def results(execution_id: str, agent_type: str) -> StepResults:
    return StepResults(reply_key="shard.0", agent_type=agent_type, results=(result(execution_id),))


@pytest.fixture(params=["direct", "rabbitmq"])
async def system(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[System]:
    if request.param == "direct":
        broker = DirectBroker()
        system = System(lambda: DirectBus(broker), tmp_path / "keys")
        await system.start()
        yield system
        await system.stop()
        return
    server: Server = request.getfixturevalue("own_rabbit")
    await asyncio.to_thread(server.start)
    await delete_queues(server.url, durable_queues())
    system = System(lambda: RabbitBus(server.url, confirm_timeout=PATIENCE), tmp_path / "keys")
    try:
        await system.start()
        yield system
    finally:
        await system.stop()
        await delete_queues(server.url, durable_queues())


def durable_queues() -> list[str]:
    queues = [
        topology.orchestrator_commands(),
        topology.orchestrator_starts(),
        *topology.orchestrator_shards(),
        topology.orchestrator_crashed(),
        topology.registry_queue(),
        topology.dead_letters(),
        *(topology.agent_type_queue(name) for name in HOSTS),
        *(topology.agent_quarantine_queue(name) for name in HOSTS),
        topology.agent_queue("data_agent", "dora"),
    ]
    return [queue.name for queue in queues]


async def waiting_for_data(system: System) -> str:
    """An execution whose first step waits for a data agent, of which none runs."""
    await system.host(*HOSTS)
    await system.end("data_agent")
    message = start(DEFINITION)
    assert isinstance(await system.ask("edge", message), ExecutionAccepted)
    return message.execution_id


async def test_a_host_that_answers_for_another_type_is_refused_and_the_execution_goes_on(system: System) -> None:
    execution_id = await waiting_for_data(system)
    await system.send("decision_agent", results(execution_id, "data_agent"))
    (why,) = await system.refused()
    assert "agent decision_agent may not send this step.results.v1" in why
    report = StepProgress(execution_id=execution_id, step="load", attempt=1, run_id="r", number=1, fraction=0.9, at=1.0)
    await system.send(
        "decision_agent", StepsProgressed(reply_key="shard.0", agent_type="data_agent", reports=(report,))
    )
    # Under its own type, which its key is good for; the step is not of that type.
    await system.send("decision_agent", results(execution_id, "decision_agent"))
    assert "is for agent type 'data_agent'" in (await system.refused(3))[2]
    await system.host("data_agent")
    assert await system.ended(execution_id) == "completed"
    outputs = await system.outputs(execution_id)
    assert outputs["load"]["row_count"] > 0
    assert "forged" not in outputs["load"]


async def test_no_client_and_no_host_gives_orders_to_agents(system: System) -> None:
    await system.host("data_agent")
    command = StepCommand(execution_id="e", step="s", attempt=1, timeout=5, reply_key="shard.0", inputs={})
    run = RunSteps(agent_type="data_agent", action="process_data", commands=(command,))
    for quarantine in (False, True):
        forged = run.model_copy(update={"quarantine": quarantine})
        await system.send("shop", forged, sender="shop")
        await system.send("decision_agent", forged)
        await system.send("decision_agent", forged, sender="orchestrator")
    assert all("only orchestrator may" in why or "said to be" in why for why in await system.refused(6))


async def test_a_client_starts_and_cancels_in_its_own_name_only(system: System) -> None:
    await system.host(*HOSTS)
    await system.end("data_agent")
    mine = start(DEFINITION, client="shop")
    assert isinstance(await system.ask("shop", mine), ExecutionAccepted)
    for forged in (start(DEFINITION, client="alice"), start(DEFINITION, client="thief"), FindAgents()):
        await system.send("shop", forged, sender="shop")
    await system.refused(3)
    theirs = start(DEFINITION)
    assert isinstance(await system.ask("edge", theirs), ExecutionAccepted)
    answer = await system.ask("shop", CancelExecution(execution_id=theirs.execution_id))
    assert isinstance(answer, Refused)
    assert (answer.code, len(await system.refused(4))) == ("not_found", 4)
    assert isinstance(await system.ask("shop", CancelExecution(execution_id=mine.execution_id)), CancelAccepted)
    assert await system.ended(mine.execution_id) == "cancelled"


async def test_agents_do_only_what_the_policy_lets_them(system: System) -> None:
    await system.host(*HOSTS)
    delegated = StartExecution(execution_id="delegate-1-ab", definition=DEFINITION, client="delegate:1:x")
    for forged in (
        AgentMail(agent_id="decision_agent", body={"action": "make_decision"}, sender_id="coordinator_agent"),
        BroadcastMail(body={}),
        FindAgents(),
        delegated,
        CancelExecution(execution_id="delegate-1-ab"),
        CreateAgent(agent_type="decision_agent", agent_id="mine"),
    ):
        await system.send("data_agent", forged)
    await system.refused(6)
    assert await system.store.read_headers(["delegate-1-ab"]) == {}
    assert await system.store.get_agent("mine") is None


async def test_a_host_does_not_speak_for_another(system: System) -> None:
    await system.host("decision_agent")
    other = HostAnnounced(
        host_id="decision_agent-0123abcd", service="decision_agent", descriptors=(), heartbeat_seconds=5
    )
    more = HostAnnounced(
        host_id="data_agent-0123abcd",
        service="data_agent",
        descriptors=(AgentDescriptor(agent_type="decision_agent"),),
        heartbeat_seconds=5,
    )
    taken = AgentTaken(host_id="decision_agent-0123abcd", agent_id="x", ok=False)
    for forged in (other, more, taken):
        await system.send("data_agent", forged)
    await system.refused(3)


async def test_what_is_allowed_works_with_every_message_signed(system: System) -> None:
    """Steps, delegation, instances, mail with its answer, a broadcast and its copies."""
    await system.host(*HOSTS)
    delegate = {
        "id": "again",
        "agent_type": "coordinator_agent",
        "action": "delegate",
        "inputs": {"definition": {"name": "child", "steps": [DATA]}},
        "depends_on": ["decide"],
    }
    message = start({"name": "three steps", "steps": [DATA, DECIDE, delegate]})
    assert isinstance(await system.ask("edge", message), ExecutionAccepted)
    assert await system.ended(message.execution_id) == "completed"
    assert (await system.outputs(message.execution_id))["again"]["completed"] is True
    created = await system.ask("edge", CreateAgent(agent_type="data_agent", agent_id="dora"))
    assert isinstance(created, AgentCreated)
    order = {"action": "process_data", "inputs": {"data_source": "test_data"}}
    reply = await system.ask("edge", AgentMail(agent_id="dora", body=order, sender_id="key:alice"))
    assert isinstance(reply, AgentReply)
    assert reply.error is None
    told = await system.ask("edge", BroadcastMail(body=order))
    assert isinstance(told, BroadcastSent)
    assert sorted(told.agent_ids) == ["coordinator_agent", "data_agent", "decision_agent", "dora"]
    poll = {
        "id": "poll",
        "agent_type": "coordinator_agent",
        "action": "contract_net",
        "inputs": {"task": {"action": "process_data", "inputs": {"data_source": "test_data"}}},
    }
    message = start({"name": "net", "steps": [poll]})
    await system.ask("edge", message)
    ended = await system.ended(message.execution_id)
    # Copies of the broadcast that no agent has an action for are dead letters of those agents; none is forbidden.
    assert {reason_of(one) for one in system.graves.deliveries} <= {"agent-failed"}
    assert ended == "completed", await system.store.read_log({message.execution_id: 0})
