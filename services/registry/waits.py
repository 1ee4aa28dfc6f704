"""Those who wait for something to become of an agent. All that the registry keeps in memory alone: a command that
waits here is not acked, so it comes again if this process dies."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from services.runtime.bus.base import BusUnavailable

T = TypeVar("T")


class Waits(Generic[T]):
    """Any number of waiters for each agent id."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[T]]] = defaultdict(set)

    def __contains__(self, agent_id: str) -> bool:
        return agent_id in self._waiting

    @contextmanager
    def expecting(self, agent_id: str) -> Iterator[asyncio.Future[T]]:
        """A future for what becomes of an agent; what is told while the context lasts is not missed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[agent_id].add(future)
        try:
            yield future
        finally:
            future.cancel()
            self._waiting[agent_id].discard(future)
            if not self._waiting[agent_id]:
                del self._waiting[agent_id]

    def tell(self, agent_id: str, outcome: T) -> None:
        for future in self._waiting.get(agent_id, ()):
            if not future.done():
                future.set_result(outcome)

    def give_up(self) -> None:
        """Let every waiter fail with ``BusUnavailable``, so that its command goes back to the queue."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(BusUnavailable("the registry is stopping"))


async def outcome_of(future: asyncio.Future[T], timeout: float) -> T | None:
    """What was told within ``timeout`` seconds; None if nothing was."""
    done, _ = await asyncio.wait({future}, timeout=timeout)
    return future.result() if done else None
