"""Agent hosts on any bus, and somebody who tells them what to run as the registry would."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from contracts import topology
from contracts.agents import AgentSpec, AgentState, AgentStatus
from contracts.catalog import MESSAGES
from contracts.envelope import Message, new_id
from contracts.execution import RunSteps, StepCommand, StepResult, StepResults
from contracts.hosts import AgentReleased, AgentTaken, HostAnnounced, HostAssignment, HostHeartbeat
from contracts.registry import AgentMail, AgentReply
from contracts.topology import QueueKind
from services.runtime.agent import BaseAgent, CapabilityError, Mail, capability, on_message
from services.runtime.bus.base import Bus, Delivery
from services.runtime.bus.delivering import DETAIL, QUEUE, REASON
from services.runtime.envelope_codec import Outgoing, decode
from services.runtime.hosting.host import agent_service
from services.runtime.requests import Requests
from services.runtime.service import Outbox, Service
from services.runtime.settings import Protocol, Settings
from tests.support.buses import PATIENCE, Inbox, World

M = TypeVar("M", bound=Message)


class Text(BaseModel):
    text: str = ""


class ClerkConfig(BaseModel):
    desk: int = 0
    safe: str = ""
    refuses_to_start: bool = False


@dataclass
class Office:
    """What every clerk of a test did (``agent@host`` and a word), and gates at which they wait."""

    done: list[tuple[str, str]] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, who: str, what: str) -> None:
        async with self.changed:
            self.done.append((who, what))
            self.changed.notify_all()
            await self.changed.wait_for(lambda: what not in self.closed and who not in self.closed)

    async def close(self, *gates: str) -> None:
        """Whoever does this, or is this, waits until it is opened."""
        self.closed.update(gates)

    async def open(self, *gates: str) -> None:
        async with self.changed:
            self.closed.difference_update(gates)
            self.changed.notify_all()

    async def until(self, reached: Callable[[list[tuple[str, str]]], bool]) -> list[tuple[str, str]]:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: reached(self.done))
            return list(self.done)

    def counts(self) -> Counter[str]:
        return Counter(what for _, what in self.done)

    def who_did(self, what: str) -> list[str]:
        return [who for who, did in self.done if did == what]


class Clerk(BaseAgent):
    """Notes what it is told in the office's book, and waits where a gate is closed."""

    agent_type = "clerk"
    config_model = ClerkConfig
    fixed_config = frozenset({"safe"})
    office: Office
    host: str = ""

    async def on_start(self) -> None:
        if self.settings.refuses_to_start and self.host not in self.office.closed:
            raise OSError("the desk is locked")

    async def on_stop(self) -> None:
        await self.office.note(self.me, "stopped")

    @property
    def name(self) -> str:
        return self.agent_id.partition("-")[0]

    @property
    def me(self) -> str:
        return f"{self.name}@{self.host}"

    @capability("write")
    async def write(self, request: Text) -> Text:
        await self.office.note(self.me, request.text)
        return Text(text=f"{self.name}: {request.text} at desk {self.settings.desk}")

    @on_message("note")
    async def take_note(self, mail: Mail) -> dict[str, Any]:
        await self.office.note(self.me, str(mail.body["text"]))
        return {"by": self.name, "from": mail.sender_id, "retries": mail.retry_count}

    @on_message("fails")
    async def fail(self, mail: Mail) -> dict[str, Any]:
        """Fails ``times`` times, in the way that the message says."""
        await self.office.note(self.me, f"try {mail.retry_count}")
        if mail.retry_count < mail.body["times"]:
            if mail.body.get("refuse"):
                raise CapabilityError("not my business", code="NotMine")
            raise LookupError("the file is missing")
        return {"retries": mail.retry_count, "id": mail.message_id}

    @on_message("nan")
    def give_nan(self, mail: Mail) -> dict[str, Any]:
        return {"value": float("nan")}


@dataclass
class Hosted:
    """One host that runs."""

    host_id: str
    service: Service
    bus: Bus

    async def die(self) -> None:
        """Its connection goes, as when its process is killed: what it holds goes back."""
        await self.bus.close()


class HostWorld:
    """Hosts of one agent type that no other test has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.office = Office()
        self.agent_type = f"{world.prefix}_clerk"
        self.hosts: list[Hosted] = []
        self.heard: list[Message] = []
        self.graves = Inbox()
        self._heard_more = asyncio.Condition()

    async def start(self) -> None:
        self.bus = self.world.bus()
        self._requests = Requests(self.bus, self.world.name("client"))
        self._outbox = Outbox(self.bus, self.world.name("client"))
        await self.bus.start()
        for queue in (
            topology.agent_type_queue(self.agent_type),
            topology.agent_quarantine_queue(self.agent_type),
            topology.orchestrator_crashed(),
            topology.registry_queue(),
        ):
            self.world.queues.append(queue)
        hosts = self.world.queue("hosts", topology.event("host.*"), kind=QueueKind.BROADCAST, delivery_limit=None)
        reasons = [topology.dead(reason) for reason in topology.DEAD_LETTER_REASONS]
        graves = self.world.queue("graves", *reasons, kind=QueueKind.BROADCAST, delivery_limit=None)
        results = self.world.queue("results", topology.shard(self.reply_key), delivery_limit=None)
        await self.bus.subscribe(hosts, self._hear, prefetch=500).start()
        await self.bus.subscribe(graves, self.graves, prefetch=500).start()
        await self.bus.subscribe(results, self._hear, prefetch=500).start()

    async def stop(self) -> None:
        await self.office.open(*self.office.closed)
        for host in self.hosts:
            await host.service.stop()
        await self._requests.stop()

    @property
    def reply_key(self) -> str:
        return f"shard.{self.world.prefix}"

    # ---- hosts

    async def host(self, **settings: Any) -> Hosted:
        """A host that runs and has been heard of."""
        bus = self.world.bus()
        defaults = {"communication_protocol": Protocol.DIRECT, "agent_heartbeat": 0.2, "shutdown_timeout": 5.0}
        name = f"h{len(self.hosts) + 1}"
        clerk = type("Clerk", (Clerk,), {"agent_type": self.agent_type, "office": self.office, "host": name})
        service = agent_service(clerk, Settings(**{**defaults, **settings}), bus, {"safe": "locked"})
        known = {one.host_id for one in self.of(HostAnnounced)}
        await service.start()
        await self.until(lambda: {one.host_id for one in self.of(HostAnnounced)} > known)
        (host_id,) = {one.host_id for one in self.of(HostAnnounced)} - known
        self.hosts.append(Hosted(host_id, service, bus))
        return self.hosts[-1]

    async def _hear(self, delivery: Delivery) -> None:
        message = decode(delivery, MESSAGES).payload
        async with self._heard_more:
            if getattr(message, "host_id", self.agent_type).startswith(self.agent_type):
                self.heard.append(message)
            self._heard_more.notify_all()
        await delivery.ack()

    def of(self, message_class: type[M]) -> list[M]:
        return [message for message in self.heard if isinstance(message, message_class)]

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE), self._heard_more:
            await self._heard_more.wait_for(reached)

    # ---- instances

    def id_of(self, name: str) -> str:
        """The id of an instance of that name, which no other test has: its mail's address is of the whole broker."""
        return name if name == self.agent_type else f"{name}-{self.world.prefix}"

    def spec(self, name: str, **fields: Any) -> AgentSpec:
        agent_id = self.id_of(name)
        queue = topology.agent_queue(self.agent_type, agent_id)
        if queue not in self.world.queues:
            self.world.queues.append(queue)
        return AgentSpec(agent_id=agent_id, agent_type=self.agent_type, **fields)

    async def assign(self, host: Hosted, *run: AgentSpec, stop: tuple[str, ...] = (), announce: bool = False) -> None:
        ids = tuple(self.id_of(name) for name in stop)
        await self.send(HostAssignment(host_id=host.host_id, run=run, stop=ids, announce=announce))

    async def run(self, name: str, *hosts: Hosted, **fields: Any) -> None:
        """Have an instance run on these hosts."""
        for count, host in enumerate(hosts, len(self.taken(name)) + 1):
            await self.assign(host, self.spec(name, **fields))
            await self.until(lambda count=count: len(self.taken(name)) >= count)

    def taken(self, name: str) -> list[AgentTaken]:
        return [one for one in self.of(AgentTaken) if one.agent_id == self.id_of(name)]

    def released(self, name: str) -> list[AgentReleased]:
        return [one for one in self.of(AgentReleased) if one.agent_id == self.id_of(name)]

    def state(self, host: Hosted, name: str) -> AgentState | None:
        """What the host's latest heartbeat says of an agent."""
        beats = [beat for beat in self.of(HostHeartbeat) if beat.host_id == host.host_id]
        states = beats[-1].agents if beats else ()
        return next((state for state in states if state.agent_id == self.id_of(name)), None)

    async def until_state(self, host: Hosted, name: str, status: AgentStatus | None) -> None:
        def reached() -> bool:
            state = self.state(host, name)
            return status is None if state is None else state.status is status

        await self.until(reached)

    # ---- messages

    async def send(self, message: Message, **fields: Any) -> str:
        message_id = str(fields.pop("message_id", new_id()))
        await self._outbox.send([Outgoing(message, message_id=message_id, **fields)])
        return message_id

    async def mail(self, name: str, body: dict[str, Any], message_type: str = "", **fields: Any) -> str:
        mail = AgentMail(agent_id=self.id_of(name), body=body, message_type=message_type, sender_id="client")
        return await self.send(mail, **fields)

    async def ask(self, name: str, body: dict[str, Any], message_type: str = "") -> AgentReply:
        mail = AgentMail(agent_id=self.id_of(name), body=body, message_type=message_type, sender_id="client")
        reply = await self._requests.ask(Outgoing(mail), PATIENCE)
        assert isinstance(reply, AgentReply)
        return reply

    async def step(self, text: str, name: str | None = None, **fields: Any) -> str:
        """Send a command to write; its id."""
        limits = {"timeout": PATIENCE, "attempt": 1, **fields}
        quarantine = bool(limits.pop("quarantine", False))
        command = StepCommand(
            execution_id=f"e-{new_id()}", step="s", inputs={"text": text}, reply_key=self.reply_key, **limits
        )
        message = RunSteps(
            agent_type=self.agent_type,
            action="write",
            agent_id=None if name is None else self.id_of(name),
            commands=(command,),
            quarantine=quarantine,
        )
        await self.send(message)
        return command.id

    def results(self) -> list[StepResult]:
        return [result for message in self.of(StepResults) for result in message.results]

    async def results_of(self, count: int) -> list[StepResult]:
        await self.until(lambda: len(self.results()) >= count)
        return self.results()

    def stories(self) -> list[tuple[str, str]]:
        """Reason and detail of every dead letter of this type's queues."""
        letters = self.graves.deliveries
        ours = [letter for letter in letters if letter.headers.get(QUEUE, "").startswith(self.agent_type)]
        return [(letter.headers[REASON], letter.headers[DETAIL]) for letter in ours]


@asynccontextmanager
async def host_world(world: World) -> AsyncIterator[HostWorld]:
    hosts = HostWorld(world)
    await hosts.start()
    try:
        yield hosts
    finally:
        await hosts.stop()
