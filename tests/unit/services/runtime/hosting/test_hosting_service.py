"""A host as a service: what it says of itself, several types in one process, and the agents that AGENT_IDS names."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from contracts import topology
from contracts.agents import AgentLimits, AgentRecord, AgentSpec, AgentStatus, CapabilityLimits
from contracts.execution import Refused, RunSteps, StepCommand, StepResult, StepResults
from contracts.hosts import HostAnnounced, HostAssignment, HostHeartbeat, HostStopped, PluginFault
from contracts.registry import AgentCreated, AgentMail, AgentReply, CreateAgent
from services.runtime.agent.base import BaseAgent
from services.runtime.agent.capability import capability
from services.runtime.bus.base import Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.envelope_codec import Outgoing, decode
from services.runtime.hosting.host import HostedType, agent_service, hosting_service
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Received, Refusal, Route, Service
from services.runtime.settings import Protocol, Settings
from tests.support.buses import PATIENCE


class Text(BaseModel):
    text: str


class Upper(BaseAgent):
    """Shouts."""

    agent_type = "upper"

    @capability("say")
    def say(self, request: Text) -> Text:
        return Text(text=request.text.upper())


class Lower(BaseAgent):
    """Whispers."""

    agent_type = "lower"
    limits = AgentLimits(rate=100, capabilities={"say": CapabilityLimits(concurrency=3)})

    @capability("say")
    def say(self, request: Text) -> Text:
        return Text(text=request.text.lower())

    @capability("have_said", waits=True)
    async def have_said(self, request: Text) -> Text:
        answer = await self.ask("upper", {"action": "say", "inputs": request.model_dump()})
        return Text.model_validate(answer)


class SignConfig(BaseModel):
    sign: str = "default"


class Signer(BaseAgent):
    agent_type = "signer"
    config_model = SignConfig

    @capability("sign")
    def sign(self, request: Text) -> Text:
        return Text(text=f"{request.text}, {self.settings.sign} {os.getpid()}")


class Listener:
    """A registry that hears hosts, and creates agents once it was asked ``refusals`` times."""

    def __init__(self, broker: DirectBroker, refusals: int = 0, code: str = "unavailable") -> None:
        self.heard: list[Any] = []
        self.created: list[CreateAgent] = []
        self._refusals, self._code = refusals, code
        self._changed = asyncio.Condition()
        handlers = dict.fromkeys((HostAnnounced, HostHeartbeat, HostStopped), self._hear)
        route = Route(topology.registry_queue(), handlers={**handlers, CreateAgent: self._create})
        self.service = Service("registry", DirectBus(broker), routes=[route])

    async def _hear(self, received: Received[Any]) -> Iterable[Outgoing[Any]]:
        async with self._changed:
            self.heard.append(received.message)
            self._changed.notify_all()
        return ()

    async def _create(self, received: Received[CreateAgent]) -> Iterable[Outgoing[Any]]:
        self._refusals -= 1
        if self._refusals >= 0:
            raise Refusal(Refused(code=self._code, message="not now"))  # type: ignore[arg-type]
        message = received.message
        async with self._changed:
            self.created.append(message)
            self._changed.notify_all()
        record = AgentRecord(agent_id=message.agent_id or "", agent_type=message.agent_type, created_at=0)
        return [received.reply(AgentCreated(agent=record))]

    async def until(self, count: int, *kinds: type[Any]) -> list[Any]:
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.of(*kinds)) >= count)
            return self.of(*kinds)

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [one for one in [*self.heard, *self.created] if isinstance(one, kinds)]


@pytest.fixture
def broker() -> DirectBroker:
    return DirectBroker()


@pytest.fixture
async def listener(broker: DirectBroker) -> AsyncIterator[Listener]:
    listener = Listener(broker)
    await listener.service.start()
    yield listener
    await listener.service.stop()


def settings(**fields: Any) -> Settings:
    return Settings(**{"communication_protocol": Protocol.DIRECT, "agent_heartbeat": 0.1, **fields})


async def ask(broker: DirectBroker, agent_id: str, body: dict[str, Any]) -> AgentReply:
    bus = DirectBus(broker)
    requests = Requests(bus, "client")
    await bus.start()
    try:
        reply = await requests.ask(Outgoing(AgentMail(agent_id=agent_id, body=body)), PATIENCE)
        assert isinstance(reply, AgentReply)
        return reply
    finally:
        await requests.stop()
        await bus.close()


async def test_a_host_says_what_it_offers_that_it_lives_and_that_it_ends(
    broker: DirectBroker, listener: Listener
) -> None:
    service = agent_service(Lower, settings(), DirectBus(broker))
    await service.start()
    await listener.until(3, HostHeartbeat)
    await service.stop()
    (stopped,) = await listener.until(1, HostStopped)
    (announced,) = listener.of(HostAnnounced)
    assert announced.host_id.startswith("lower-")
    assert {announced.host_id, stopped.host_id} == {one.host_id for one in listener.heard}
    assert (announced.service, announced.heartbeat_seconds) == ("lower", 0.1)
    (descriptor,) = announced.descriptors
    assert (descriptor.agent_type, descriptor.description) == ("lower", "Whispers.")
    assert [one.name for one in descriptor.capabilities] == ["have_said", "say"]
    assert descriptor.limits == Lower.limits
    (state,) = listener.of(HostHeartbeat)[0].agents
    assert (state.agent_id, state.status) == ("lower", AgentStatus.IDLE)
    assert isinstance(listener.heard[0], HostAnnounced)
    assert isinstance(listener.heard[-1], HostStopped)


async def test_one_process_hosts_several_types(broker: DirectBroker, listener: Listener) -> None:
    fault = PluginFault(plugin="broken", source="broken.py", error="ImportError: no", traceback="...")
    hosted = [HostedType(Upper), HostedType(Lower)]
    service = hosting_service("plugins", hosted, settings(), DirectBus(broker), [fault])
    await service.start()
    try:
        (announced,) = await listener.until(1, HostAnnounced)
        assert [descriptor.agent_type for descriptor in announced.descriptors] == ["upper", "lower"]
        assert (announced.faults, announced.service) == ((fault,), "plugins")
        order = {"action": "say", "inputs": {"text": "Hi"}}
        assert (await ask(broker, "upper", order)).body == {"text": "HI"}
        assert (await ask(broker, "lower", order)).body == {"text": "hi"}
        through = {"action": "have_said", "inputs": {"text": "Hi"}}
        assert (await ask(broker, "lower", through)).body == {"text": "HI"}
    finally:
        await service.stop()


async def test_a_host_of_nothing_but_faults_says_so(broker: DirectBroker, listener: Listener) -> None:
    fault = PluginFault(plugin="broken", source="broken.py", error="ImportError: no")
    service = hosting_service("plugins", [], settings(), DirectBus(broker), [fault])
    await service.start()
    (announced,) = await listener.until(1, HostAnnounced)
    await service.stop()
    assert (announced.descriptors, announced.faults) == ((), (fault,))


def test_two_classes_of_one_type_are_refused(broker: DirectBroker) -> None:
    with pytest.raises(ValueError, match="plugins cannot host two classes of one agent type: upper"):
        hosting_service("plugins", [HostedType(Upper), HostedType(Upper)], settings(), DirectBus(broker))


async def test_limits_of_the_settings_stand_over_those_of_the_class(broker: DirectBroker, listener: Listener) -> None:
    over = AgentLimits(rate=5, capabilities={"say": CapabilityLimits(max_input_bytes=10)})
    service = agent_service(Lower, settings(agent_limits={"lower": over, "upper": over}), DirectBus(broker))
    await service.start()
    try:
        (announced,) = await listener.until(1, HostAnnounced)
        limits = announced.descriptors[0].limits
        assert (limits.rate, limits.capabilities["say"]) == (5, CapabilityLimits(concurrency=3, max_input_bytes=10))
        reply = await ask(broker, "lower", {"action": "say", "inputs": {"text": "too long"}})
        assert (reply.code, reply.error) == (
            "InputTooLarge",
            "the inputs of say are 19 bytes; at most 10 are allowed",
        )
    finally:
        await service.stop()


async def test_what_is_not_granted_is_refused_by_name_and_logged_at_start(
    broker: DirectBroker, listener: Listener, tmp_path: Path
) -> None:
    """``lower`` may say what it says, and neither ask others nor do what it would ask them for; ``upper`` is not there
    at all."""
    policy = tmp_path / "policy.toml"
    policy.write_text('[agents.lower]\ncapabilities = ["have_*"]\n', encoding="utf-8")
    hosted = [HostedType(Upper), HostedType(Lower)]
    with capture_logs() as logs:
        service = hosting_service("plugins", hosted, settings(agent_policy=policy), DirectBus(broker))
    said = {(one["event"], one["agent_type"], one.get("capability")) for one in logs if one["log_level"] == "error"}
    assert said == {
        ("agent type is not granted", "upper", None),
        ("capability is not granted", "lower", "say"),
    }
    await service.start()
    try:
        say, ask_to = {"action": "say", "inputs": {"text": "Hi"}}, {"action": "have_said", "inputs": {"text": "Hi"}}
        for agent_id, order, entry in (
            ("lower", say, '[agents.lower] say capabilities = [..., "say"]'),
            ("upper", say, "[agents.upper]"),
            ("lower", ask_to, '[agents.lower] message = [..., "upper"]'),
        ):
            reply = await ask(broker, agent_id, order)
            assert (reply.code, reply.body) == ("NotGranted", None)
            assert entry in str(reply.error)
        run = Outgoing(RunSteps(agent_type="lower", action="say", commands=commands("A")))
        alone = Outgoing(RunSteps(agent_type="lower", action="say", commands=commands("B"), quarantine=True))
        for result in await results_of(broker, run, alone):
            assert (result.ok, result.error and result.error.type) == (False, "NotGranted")
    finally:
        await service.stop()


def commands(*texts: str) -> tuple[StepCommand, ...]:
    return tuple(
        StepCommand(execution_id="e", step=text, attempt=1, inputs={"text": text}, timeout=30, reply_key="shard.0")
        for text in texts
    )


async def results_of(broker: DirectBroker, *runs: Outgoing[RunSteps]) -> list[StepResult]:
    """What comes of these commands, one each."""
    bus, found, done = DirectBus(broker), list[StepResult](), asyncio.Event()

    async def hear(delivery: Delivery) -> None:
        found.extend(decode(delivery, {StepResults.TYPE: StepResults}).payload.results)  # type: ignore[attr-defined]
        if len(found) == len(runs):
            done.set()
        await delivery.ack()

    bus.subscribe(topology.orchestrator_shards()[0], hear, prefetch=10)
    await bus.start()
    try:
        await Outbox(bus, "client").send(runs)
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        return found
    finally:
        await bus.close()


def test_types_that_wait_for_others_hold_more_messages(broker: DirectBroker) -> None:
    services = [agent_service(one, settings(agent_concurrency=4), DirectBus(broker)) for one in (Upper, Lower)]
    prefetch = {route.queue.name: route.prefetch for service in services for route in service.routes}
    assert (prefetch["upper"], prefetch["lower"], prefetch["lower.quarantine"]) == (4, 500, 1)


async def test_agents_that_are_named_are_created_as_soon_as_there_is_a_registry(broker: DirectBroker) -> None:
    listener = Listener(broker, refusals=2)
    named = ("upper/una", "lower/leo", "upper/ulf")
    service = agent_service(Upper, settings(agent_ids=named), DirectBus(broker))
    await service.start()
    await asyncio.sleep(0.3)  # nobody takes such commands yet
    await listener.service.start()
    created = await listener.until(2, CreateAgent)
    await service.stop()
    await listener.service.stop()
    assert [(one.agent_type, one.agent_id, one.if_absent) for one in created] == [
        ("upper", "una", True),
        ("upper", "ulf", True),
    ]
    assert len({one.request_id for one in created}) == 2


async def test_a_named_agent_that_is_refused_for_good_is_not_asked_for_again(broker: DirectBroker) -> None:
    listener = Listener(broker, refusals=1, code="limit_reached")
    await listener.service.start()
    service = agent_service(Upper, settings(agent_ids=("upper/una", "upper/ulf")), DirectBus(broker))
    await service.start()
    created = await listener.until(1, CreateAgent)
    await service.stop()
    await listener.service.stop()
    assert [one.agent_id for one in created] == ["ulf"]


async def test_a_host_that_stops_ends_its_work_before_it_says_so(broker: DirectBroker, listener: Listener) -> None:
    order: list[str] = []

    class Slow(Upper):
        agent_type = "slow"

        @capability("wait")
        async def wait(self, request: Text) -> Text:
            order.append("begun")
            await asyncio.sleep(0.2)
            order.append("done")
            return request

    async def told(_: Any) -> Iterable[Outgoing[Any]]:
        order.append("told")
        return ()

    feed = topology.events_feed("told", "host.stopped")
    teller = Service("teller", DirectBus(broker), routes=[Route(feed, handlers={HostStopped: told})])
    await teller.start()
    service = agent_service(Slow, settings(), DirectBus(broker))
    await service.start()
    asking = asyncio.create_task(ask(broker, "slow", {"action": "wait", "inputs": {"text": "x"}}))
    while not order:
        await asyncio.sleep(0.01)
    await service.stop()
    assert (await asking).body == {"text": "x"}
    await listener.until(1, HostStopped)
    await teller.stop()
    assert order == ["begun", "done", "told"]


async def test_in_quarantine_an_instance_works_by_its_own_configuration_and_limits(
    broker: DirectBroker, listener: Listener
) -> None:
    service = agent_service(Signer, settings(), DirectBus(broker))
    results: list[StepResult] = []

    async def take(received: Received[StepResults]) -> Iterable[Outgoing[Any]]:
        results.extend(received.message.results)
        return ()

    queue = topology.Queue("results", (topology.shard("shard.0"),))
    client = Service("client", DirectBus(broker), routes=[Route(queue, handlers={StepResults: take})])
    await client.start()
    await service.start()
    (announced,) = await listener.until(1, HostAnnounced)
    spec = AgentSpec(
        agent_id="sue", agent_type="signer", config={"sign": "Sue"}, limits=AgentLimits(max_input_bytes=20)
    )
    commands = [
        StepCommand(execution_id="e", step=text, attempt=1, inputs={"text": text}, timeout=30, reply_key="shard.0")
        for text in ("yours", "yours sincerely")
    ]
    outbox = Outbox(client.bus, "client")
    await outbox.send([Outgoing(HostAssignment(host_id=announced.host_id, run=(spec,)))])
    await outbox.send(
        Outgoing(RunSteps(agent_type="signer", action="sign", agent_id="sue", commands=(one,), quarantine=True))
        for one in commands
    )
    async with asyncio.timeout(PATIENCE):
        while len(results) < 2:
            await asyncio.sleep(0.01)
    await service.stop()
    await client.stop()
    signed, refused = results
    assert (signed.agent_id, signed.ok) == ("sue", True)
    text, _, pid = signed.output["text"].rpartition(" ")
    assert text == "yours, Sue"
    assert int(pid) != os.getpid()
    assert refused.error is not None
    assert refused.error.type == "InputTooLarge"
