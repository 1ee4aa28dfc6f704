"""The instances of a host: run and given up as the registry says."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog
from pydantic import ValidationError

from contracts import topology
from contracts.agents import AgentSpec, AgentState, AgentStatus
from contracts.envelope import Message
from contracts.hosts import AgentReleased, AgentTaken, HostAssignment
from contracts.workflow import Fault
from services.runtime.added_route import AddedRoute
from services.runtime.agent import BaseAgent, CapabilityError
from services.runtime.agent.config import config_faults
from services.runtime.agent.error_text import sendable, text_of
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Bus, BusError, BusUnavailable
from services.runtime.envelope_codec import Outgoing
from services.runtime.hosting.agents import Agents, stop_in_time
from services.runtime.hosting.granted_messenger import MessengerOf
from services.runtime.hosting.hosted import AgentFactory, instance_prefetch
from services.runtime.hosting.outcomes import is_ours_to_obey
from services.runtime.service import Intake, Outbox, Received, Receiver, Route

log = structlog.get_logger(__name__)

LONGEST_STANDBY = 0.1  # seconds: who subscribes first is active, and a host that waits less gets the instance
_PAUSE = 0.2


class CannotStart(Exception):
    """An instance could not be started on this host."""

    def __init__(self, error: str, faults: Sequence[Fault]) -> None:
        super().__init__(error)
        self.error = error
        self.faults = tuple(faults)


class Instance:
    """One instance: what it should be (``wanted``; None: gone), what it is, and the task that makes it so."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.wanted: AgentSpec | None = None
        self.spec: AgentSpec | None = None  # what ``agent`` was made from
        self.agent: BaseAgent | None = None
        self.route: AddedRoute | None = None
        self.failed: CannotStart | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self.agent is not None and self.spec == self.wanted

    @property
    def state(self) -> AgentState:
        if self.wanted is None:
            status = AgentStatus.STOPPING
        elif self.failed is not None:
            return AgentState(agent_id=self.agent_id, status=AgentStatus.ERROR, error=self.failed.error)
        elif self.agent is None or not self.runs:
            status = AgentStatus.STARTING
        else:
            status = self.agent.status
        return AgentState(agent_id=self.agent_id, status=status)


class Instances:
    """Runs what ``HostAssignment`` says, each instance in a task of its own: one that is slow to start or to end holds
    up no other. What the registry misses of this it learns from the heartbeats, and says again.

    A resource: it ends its tasks with the host; the agents themselves are ``Agents``'s to stop.

    Args:
        factories: by agent type.
        intakes: what commands and mail from an instance's queue meet.
        start_timeout: seconds that an instance may take to start.
        announce: called when the registry does not know this host.
    """

    def __init__(
        self,
        host_id: str,
        factories: Mapping[str, AgentFactory],
        agents: Agents,
        messenger_of: MessengerOf,
        bus: Bus,
        outbox: Outbox,
        intakes: Mapping[type[Message], Intake],
        *,
        concurrency: int,
        start_timeout: float,
        announce: Callable[[], None],
    ) -> None:
        self._host_id = host_id
        self._factories = factories
        self._agents = agents
        self._messenger_of = messenger_of
        self._bus = bus
        self._outbox = outbox
        self._receiver = Receiver(outbox)
        self._intakes = intakes
        self._concurrency = concurrency
        self._start_timeout = start_timeout
        self._announce = announce
        self._instances: dict[str, Instance] = {}

    async def start(self) -> None:
        """Nothing: the registry says which instances there are."""

    async def stop(self) -> None:
        for one in tuple(self._instances.values()):
            await stopped(one.task)

    @property
    def states(self) -> tuple[AgentState, ...]:
        return tuple(self._instances[agent_id].state for agent_id in sorted(self._instances))

    async def assigned(self, received: Received[HostAssignment]) -> Iterable[Outgoing[Any]]:
        """The handler of what the registry says."""
        assignment = received.message
        if assignment.announce:
            self._announce()
        for agent_id in assignment.stop:
            if agent_id in self._instances:
                self._want(self._instances[agent_id], None)
            else:
                await self._tell(AgentReleased(host_id=self._host_id, agent_id=agent_id))
        for spec in assignment.run:
            one = self._instances.setdefault(spec.agent_id, Instance(spec.agent_id))
            if one.runs and one.wanted == spec and one.agent is not None:
                await self._tell(self._taken(spec.agent_id, one.agent))
            else:
                self._want(one, spec)
        return ()

    def _want(self, one: Instance, spec: AgentSpec | None) -> None:
        one.wanted = spec
        if one.task is None or one.task.done():
            one.task = in_background(self._make_so(one), f"instance {one.agent_id}")

    async def _make_so(self, one: Instance) -> None:
        """Until the instance is what is wanted, which may change meanwhile; one that cannot start waits to be asked
        for again."""
        while True:
            wanted = one.wanted
            if one.agent is not None and one.spec != wanted:
                await self._take_down(one)
            if wanted is None:
                if one.wanted is None:
                    del self._instances[one.agent_id]
                    await self._tell(AgentReleased(host_id=self._host_id, agent_id=one.agent_id))
                    return
            elif one.agent is None:
                await self._try_to_bring_up(one, wanted)
            if one.wanted == wanted:
                return

    async def _try_to_bring_up(self, one: Instance, spec: AgentSpec) -> None:
        one.failed = None
        try:
            await self._bring_up(one, spec)
        except CannotStart as failure:
            one.failed = failure
            log.warning("instance could not be started", agent_id=spec.agent_id, error=failure.error)
            await self._take_down(one)
            await self._tell(
                AgentTaken(
                    host_id=self._host_id, agent_id=spec.agent_id, ok=False, error=failure.error, faults=failure.faults
                )
            )
        else:
            log.info("instance runs", agent_id=spec.agent_id, agent_type=spec.agent_type, host_id=self._host_id)

    async def _bring_up(self, one: Instance, spec: AgentSpec) -> None:
        agent = await self._started(spec)
        one.spec, one.agent = spec, agent
        queue = topology.agent_queue(spec.agent_type, spec.agent_id)
        route = Route(queue, intakes=self._intakes, prefetch=instance_prefetch(agent, self._concurrency))
        one.route = AddedRoute(self._bus, self._receiver, route)
        # Mail finds its queue from now on, also while every host still waits to take from it.
        await self._once_connected(lambda: self._bus.declare(queue))
        self._agents.add(agent)
        await self._tell(self._taken(spec.agent_id, agent))
        await asyncio.sleep(standby_delay(self._host_id, spec.agent_id))
        await self._once_connected(one.route.start)

    async def _started(self, spec: AgentSpec) -> BaseAgent:
        factory = self._factories.get(spec.agent_type)
        if factory is None:
            raise CannotStart(f"this host has no agents of type {spec.agent_type!r}", ())
        agent: BaseAgent | None = None
        try:
            agent = factory.instance(spec)
            async with asyncio.timeout(self._start_timeout):
                await agent.start(self._messenger_of(agent.agent_type))
        except BaseException as error:
            if is_ours_to_obey(error):
                raise
            if agent is not None:
                await stop_in_time(agent)  # it may have taken something before it failed
            raise self._why_not(error) from error
        return agent

    def _why_not(self, error: BaseException) -> CannotStart:
        if isinstance(error, TimeoutError) and not text_of(error):
            return CannotStart(f"it did not start within {self._start_timeout:g} s", ())
        faults = [fault.model_copy(update={"message": sendable(fault.message)}) for fault in config_faults(error)]
        if isinstance(error, ValidationError | CapabilityError):
            return CannotStart("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)
        log.error("an agent's start raised", exc_info=error)
        return CannotStart(f"{type(error).__name__}: {text_of(error)}", faults)

    async def _take_down(self, one: Instance) -> None:
        """Take nothing more, let what it works on end, and stop it."""
        agent, route = one.agent, one.route
        if route is not None:
            await route.drop()
        self._agents.remove(one.agent_id)
        one.agent = one.spec = one.route = None
        if agent is None:
            return
        await stop_in_time(agent)
        log.info("instance given up", agent_id=one.agent_id, agent_type=agent.agent_type, host_id=self._host_id)

    async def _once_connected(self, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await do()
                return
            except BusUnavailable as error:
                log.debug("instance waits for the broker", host_id=self._host_id, error=str(error))
                await asyncio.sleep(_PAUSE)
            except BusError as error:
                raise CannotStart(text_of(error), ()) from error

    async def _tell(self, message: Message) -> None:
        try:
            await self._outbox.send([Outgoing(message)])
        except BusError as error:
            log.debug("the registry was not told", type=message.TYPE, error=str(error))

    def _taken(self, agent_id: str, agent: BaseAgent) -> AgentTaken:
        capabilities = tuple(agent.capabilities)
        return AgentTaken(host_id=self._host_id, agent_id=agent_id, ok=True, capabilities=capabilities)


def standby_delay(host_id: str, agent_id: str) -> float:
    """Seconds that a host waits before it takes from an instance's queue. The first one there is active; who that is
    differs from instance to instance, so that they spread over the hosts."""
    digest = hashlib.blake2b(f"{host_id}/{agent_id}".encode(), digest_size=4).digest()
    return LONGEST_STANDBY * int.from_bytes(digest, "big") / 2**32
