"""AgentHost: the service that runs the agents of one type. Every agent service is one of these."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from contracts import topology
from contracts.agents import AgentAnnounced, AgentMail, AgentReply, AgentStatus
from contracts.envelope import new_id
from contracts.execution import RunSteps, StepCommand
from services.runtime.agent import BaseAgent
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Bus, BusError
from services.runtime.capability import CapabilityError
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.performer import Performer
from services.runtime.hosting.quarantine import Quarantine
from services.runtime.hosting.results import Finished, ResultSender, Work
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Received, Resource, Route, Service
from services.runtime.settings import Settings

log = structlog.get_logger(__name__)

HEARTBEAT = 5.0


class BusMessenger:
    """How the agents of a host reach other agents: over the bus."""

    def __init__(self, outbox: Outbox, requests: Requests) -> None:
        self._outbox = outbox
        self._requests = requests

    async def send(self, sender_id: str, agent_id: str, body: dict[str, Any]) -> str:
        message_id = new_id()
        await self._outbox.send([Outgoing(AgentMail(agent_id=agent_id, body=body), message_id=message_id)])
        return message_id

    async def ask(self, sender_id: str, agent_id: str, body: dict[str, Any], timeout: float) -> dict[str, Any]:
        answer = await self._requests.ask(Outgoing(AgentMail(agent_id=agent_id, body=body)), timeout)
        if not isinstance(answer, AgentReply) or answer.error is not None:
            reason = answer.error if isinstance(answer, AgentReply) else f"it answered with {answer.TYPE}"
            raise CapabilityError(f"agent {agent_id} could not answer: {reason}", code="AgentRefused")
        return answer.body or {}


class Agents:
    """The agents of one host: one without a name, which takes whatever any agent of the type may do, and those that
    were named."""

    def __init__(self, agent_class: type[BaseAgent], named: Sequence[str], config: Mapping[str, Any]) -> None:
        self.host_id = f"{agent_class.agent_type}-{new_id()[:8]}"
        self.any = agent_class(self.host_id, config)
        self.named = {agent_id: agent_class(agent_id, config) for agent_id in named}
        self._messenger: BusMessenger | None = None

    def connect(self, messenger: BusMessenger) -> None:
        self._messenger = messenger

    async def start(self) -> None:
        for agent in (self.any, *self.named.values()):
            await agent.start(self._messenger)

    async def stop(self) -> None:
        for agent in (self.any, *self.named.values()):
            await agent.stop()

    def of(self, agent_id: str | None) -> BaseAgent:
        return self.any if agent_id is None else self.named.get(agent_id, self.any)

    @property
    def status(self) -> AgentStatus:
        everyone = {agent.status for agent in (self.any, *self.named.values())}
        for status in (AgentStatus.ERROR, AgentStatus.PROCESSING, AgentStatus.IDLE):
            if status in everyone:
                return status
        return AgentStatus.STOPPED


class Worker:
    """Runs commands side by side, as many as the host's concurrency allows."""

    def __init__(self, agents: Agents, performer: Performer, sender: ResultSender, settings: Settings) -> None:
        self._agents = agents
        self._performer = performer
        self._sender = sender
        self._places = asyncio.Semaphore(settings.agent_concurrency)
        self._drain_timeout = settings.shutdown_timeout
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing: work comes by message."""

    async def stop(self) -> None:
        """Let what is in hand end; what does not end in time goes back to the broker with the connection."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=self._drain_timeout)
            for task in unfinished:
                task.cancel()

    async def run(self, received: Received[RunSteps]) -> None:
        """Take over a message of commands; its results are sent as they come."""
        message = received.message
        if not message.commands:
            await received.delivery.ack()
        work = Work(received, len(message.commands))
        for command in message.commands:
            task = asyncio.create_task(self._one(message, command, work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, message: RunSteps, command: StepCommand, work: Work) -> None:
        async with self._places:
            agent = self._agents.of(message.agent_id)
            result, size = await self._performer.perform(agent, message.action, command, alone=message.quarantine)
        self._sender.put(Finished(result, command.reply_key, message.action, size, work))


class Announcer:
    """Says what this host offers, at once and then with every heartbeat."""

    def __init__(self, agents: Agents, outbox: Outbox) -> None:
        self._agents = agents
        self._outbox = outbox
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "announcer")

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self) -> None:
        descriptor = self._agents.any.describe()
        while True:
            announcement = AgentAnnounced(
                host_id=self._agents.host_id,
                descriptor=descriptor,
                agent_ids=tuple(self._agents.named),
                status=self._agents.status,
                heartbeat_seconds=HEARTBEAT,
            )
            try:
                await self._outbox.send([Outgoing(announcement)])
            except BusError as error:
                log.debug("announcement put off", error=str(error))
                await asyncio.sleep(0.2)
            else:
                await asyncio.sleep(HEARTBEAT)


def agent_service(
    agent_class: type[BaseAgent], settings: Settings, bus: Bus, config: Mapping[str, Any] | None = None
) -> Service:
    """A service that runs agents of ``agent_class``: its table, and what it holds open.

    ``AGENT_IDS`` names agents as ``type/id``; those of this type get a queue of their own here.
    """
    agent_type = agent_class.agent_type
    named = [
        agent_id for kind, _, agent_id in (entry.partition("/") for entry in settings.agent_ids) if kind == agent_type
    ]
    agents = Agents(agent_class, named, config or {})
    outbox = Outbox(bus, agents.host_id)
    requests = Requests(bus, agents.host_id)
    agents.connect(BusMessenger(outbox, requests))
    quarantine = Quarantine()
    sender = ResultSender(outbox, agent_type, settings.shutdown_timeout)
    worker = Worker(agents, Performer(agent_type, quarantine), sender, settings)

    async def mail(received: Received[AgentMail]) -> Sequence[Outgoing[Any]]:
        agent_id = received.message.agent_id
        try:
            async with asyncio.timeout(settings.agent_timeout):
                body = await agents.of(agent_id).process_message(received.message.body)
            reply = AgentReply(agent_id=agent_id, body=body)
        except Exception as error:
            log.warning("mail failed", agent=agent_id, error=repr(error))
            reply = AgentReply(agent_id=agent_id, error=f"{type(error).__name__}: {error}")
        return [received.reply(reply)] if received.wants_reply else []

    routes = [
        Route(
            topology.agent_type_queue(agent_type), intakes={RunSteps: worker.run}, prefetch=settings.agent_concurrency
        ),
        Route(topology.agent_quarantine_queue(agent_type), intakes={RunSteps: worker.run}, prefetch=1),
        *(
            Route(
                topology.agent_queue(agent_type, agent_id),
                handlers={AgentMail: mail},
                intakes={RunSteps: worker.run},
                prefetch=settings.agent_concurrency,
            )
            for agent_id in named
        ),
    ]
    resources: list[Resource] = [agents, quarantine, requests, sender, worker, Announcer(agents, outbox)]
    # A command over its delivery limit goes there; with nobody bound the broker would drop it.
    declares = [topology.orchestrator_crashed()]
    return Service(agent_type, bus, routes=routes, resources=resources, declares=declares)
