"""Announcements of agent hosts, written to the ``agents`` collection. Nobody else writes it."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from contracts.agents import AgentAnnounced
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received
from services.runtime.store.base import AgentHost, Store


class Announcements:
    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def record(self, received: Received[AgentAnnounced]) -> Iterable[Outgoing[Any]]:
        """Write down what a host offers and that it was heard of now."""
        await self._store.put_agent_host(AgentHost(received.message, self._clock()))
        return []
