"""Requests that wait for an agent or a host: as long as their client does, and no longer than this edge serves."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query
from starlette.requests import ClientDisconnect, Request

from services.edge.gate import bytes_of
from services.edge.pressure import Pressure
from services.edge.problems import Problem, unavailable
from services.runtime.settings import Settings

T = TypeVar("T")

SHORTEST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 300.0

Timeout = Annotated[
    float | None,
    Query(
        ge=SHORTEST_WAIT,
        le=LONGEST_WAIT,
        description="Seconds to wait at most; the setting AGENT_TIMEOUT if not given.",
    ),
]


class Waiting:
    """What is waited for here. ``end`` lets nobody wait any longer: the edge is about to stop."""

    def __init__(self, pressure: Pressure) -> None:
        self._pressure = pressure
        self._keys: set[str] = set()
        self._ending = asyncio.Event()

    async def wait(self, request: Request, key: str, answer: Coroutine[Any, Any, T]) -> T:
        """The ``answer``, whose waiting is given up when the client has gone. The request's body has been read by now.

        ``key`` is the id of the question: two cannot wait for the answer to one.

        Raises:
            ClientDisconnect: nobody is there any more to be answered.
            Problem: one more cannot wait here, a request with this key does already, or the edge is about to stop.
        """
        if key in self._keys:
            answer.close()
            raise Problem("conflict", "a request with this Idempotency-Key waits for its answer now")
        try:
            with self._pressure.waiting_with(bytes_of(request)):
                self._keys.add(key)
                try:
                    return await self._first_of(request, answer)
                finally:
                    self._keys.discard(key)
        finally:
            answer.close()

    def end(self) -> None:
        self._ending.set()

    async def _first_of(self, request: Request, answer: Coroutine[Any, Any, T]) -> T:
        asking = asyncio.create_task(answer)
        gone = asyncio.create_task(_gone(request))
        ending = asyncio.create_task(self._ending.wait())
        tasks: tuple[asyncio.Task[Any], ...] = (asking, gone, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            if gone.done():
                gone.result()
                raise ClientDisconnect
            raise unavailable("this edge is stopping and waits no longer; what was sent may still be handled")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def seconds_to_wait(settings: Settings, wanted: float | None) -> float:
    """How long a client waits who said, or did not say, how long it wants to."""
    return min(settings.agent_timeout, LONGEST_WAIT) if wanted is None else wanted
