"""What a host says of itself: what it offers, that it lives, how its agents do, and that it ends."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from contracts.agents import AgentDescriptor, AgentState
from contracts.envelope import Message
from contracts.hosts import HostAnnounced, HostHeartbeat, HostStopped, PluginFault
from contracts.registry import AgentCreated, CreateAgent
from services.runtime.agent.messenger import CommandRefused, Messenger
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.requests import ReplyTimeout
from services.runtime.service import Outbox

log = structlog.get_logger(__name__)

_PAUSE = 0.2  # seconds
_LONGEST_PAUSE = 30.0
_ANSWER_TIMEOUT = 10.0


class Announcer:
    """Announces the host once it listens and whenever it is asked, and then sends heartbeats.

    Args:
        describe: the agent types of this host, in full.
        states: how all its agents do.
        listening: set while the host hears what the registry tells it.
        heartbeat: seconds between two signs of life.
    """

    def __init__(
        self,
        host_id: str,
        service: str,
        outbox: Outbox,
        *,
        describe: Callable[[], tuple[AgentDescriptor, ...]],
        states: Callable[[], tuple[AgentState, ...]],
        faults: Sequence[PluginFault],
        listening: asyncio.Event,
        heartbeat: float,
    ) -> None:
        self._host_id = host_id
        self._service = service
        self._outbox = outbox
        self._describe = describe
        self._states = states
        self._faults = tuple(faults)
        self._listening = listening
        self._heartbeat = heartbeat
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        """Say once more what this host offers."""
        self._asked.set()

    async def start(self) -> None:
        self._asked.set()
        self._task = in_background(self._run(), "announcer")

    async def stop(self) -> None:
        await stopped(self._task)
        self._task = None
        try:
            await self._outbox.send([Outgoing(HostStopped(host_id=self._host_id))])
        except BusError as error:
            log.debug("nobody was told that the host stops", host_id=self._host_id, error=str(error))

    async def _run(self) -> None:
        await self._listening.wait()
        pause = 0.0
        while True:
            asked = self._asked.is_set()
            self._asked.clear()
            if asked:
                await self._say(self._announcement())
                pause = min(max(2 * pause, _PAUSE), _LONGEST_PAUSE)
            await self._say(HostHeartbeat(host_id=self._host_id, agents=self._states()))
            try:
                async with asyncio.timeout(self._heartbeat):
                    await self._asked.wait()
            except TimeoutError:
                pause = 0.0  # heard, or nobody is there
            else:
                # A registry that refuses what is announced (its signer may not say it) asks again at every heartbeat.
                await asyncio.sleep(pause)

    def _announcement(self) -> HostAnnounced:
        return HostAnnounced(
            host_id=self._host_id,
            service=self._service,
            descriptors=self._describe(),
            faults=self._faults,
            heartbeat_seconds=self._heartbeat,
        )

    async def _say(self, message: Message) -> None:
        while True:
            try:
                await self._outbox.send([Outgoing(message)])
                return
            except BusError as error:
                log.debug("announcement put off", type=message.TYPE, error=str(error))
                await asyncio.sleep(_PAUSE)


class NamedAgents:
    """Creates the agents that AGENT_IDS names, once there is a registry that can: whoever comes second finds them
    there."""

    def __init__(self, named: Sequence[tuple[str, str]], messenger: Messenger, listening: asyncio.Event) -> None:
        self._named = tuple(named)
        self._messenger = messenger
        self._listening = listening
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._named:
            self._task = in_background(self._run(), "named agents")

    async def stop(self) -> None:
        await stopped(self._task)
        self._task = None

    async def _run(self) -> None:
        await self._listening.wait()
        for agent_type, agent_id in self._named:
            command = CreateAgent(
                agent_type=agent_type,
                agent_id=agent_id,
                request_id=f"AGENT_IDS/{agent_type}/{agent_id}",
                if_absent=True,
            )
            try:
                await self._create(command)
            except CommandRefused as error:
                log.error("agent of AGENT_IDS was refused", agent_id=agent_id, agent_type=agent_type, error=str(error))

    async def _create(self, command: CreateAgent) -> None:
        """
        Raises:
            CommandRefused: it is refused for good.
        """
        while True:
            try:
                await self._messenger.request(command, AgentCreated, _ANSWER_TIMEOUT)
                return
            except (BusError, ReplyTimeout) as error:
                log.debug("no registry yet", error=str(error))
            except CommandRefused as error:
                if error.refused.code not in ("unavailable", "overloaded"):
                    raise
                log.debug("agent not created yet", agent_id=command.agent_id, error=str(error))
            await asyncio.sleep(_PAUSE)
