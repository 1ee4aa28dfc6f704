"""Every agent that one host runs: the default agent of each of its types, and instances."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from services.runtime.agent import BaseAgent
from services.runtime.agent.error_text import text_of
from services.runtime.hosting.granted_messenger import MessengerOf

log = structlog.get_logger(__name__)

LONGEST_STOP = 10.0  # seconds that an agent has to give its resources back


async def stop_in_time(agent: BaseAgent) -> None:
    """Stop an agent, whatever its ``on_stop`` does about it."""
    try:
        async with asyncio.timeout(LONGEST_STOP):
            await agent.stop()
    except Exception:
        log.exception("agent did not stop in good order", agent_id=agent.agent_id, agent_type=agent.agent_type)


class Agents:
    """The agents by id. A resource: default agents live as long as the host, and whoever is left stops with it.

    Args:
        start_timeout: seconds that each default agent may take to start. Where it is given, one that cannot start
            leaves the others as they are: it stands in error, and ``failures`` says why. Otherwise the host does not
            start without it.
    """

    def __init__(
        self, defaults: Iterable[BaseAgent], messenger_of: MessengerOf, *, start_timeout: float | None = None
    ) -> None:
        self.defaults: Mapping[str, BaseAgent] = {agent.agent_type: agent for agent in defaults}
        self._instances: dict[str, BaseAgent] = {}
        self.failures: dict[str, str] = {}
        self._messenger_of = messenger_of
        self._start_timeout = start_timeout
        self._arrived = asyncio.Event()

    async def start(self) -> None:
        for agent in self.defaults.values():
            try:
                async with asyncio.timeout(self._start_timeout):
                    await agent.start(self._messenger_of(agent.agent_type))
            except Exception as error:
                if self._start_timeout is None:
                    raise
                self.failures[agent.agent_type] = f"{type(error).__name__}: {text_of(error)}"
                log.exception("default agent could not start", agent_type=agent.agent_type)

    async def stop(self) -> None:
        for agent in (*self._instances.values(), *self.defaults.values()):
            await stop_in_time(agent)
        self._instances.clear()

    def get(self, agent_id: str) -> BaseAgent | None:
        """The agent of that id, if this host runs it; a default agent's is its type."""
        return self._instances.get(agent_id) or self.defaults.get(agent_id)

    def find(self, agent_type: str, agent_id: str | None) -> BaseAgent | None:
        """The agent of that type and id, the type's default agent for no id, None if this host does not run it."""
        if agent_id is None or agent_id == agent_type:
            return self.defaults.get(agent_type)
        agent = self._instances.get(agent_id)
        return agent if agent is not None and agent.agent_type == agent_type else None

    async def find_soon(self, agent_type: str, agent_id: str | None, patience: float) -> BaseAgent | None:
        """The same, waiting up to ``patience`` seconds for an instance: a host that has just started is not told at
        once which instances it runs."""
        agent = self.find(agent_type, agent_id)
        if agent is not None or agent_id is None:
            return agent
        try:
            async with asyncio.timeout(patience):
                while (agent := self.find(agent_type, agent_id)) is None:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return None
        return agent

    def add(self, agent: BaseAgent) -> None:
        self._instances[agent.agent_id] = agent
        self._arrived.set()

    def remove(self, agent_id: str) -> None:
        self._instances.pop(agent_id, None)
