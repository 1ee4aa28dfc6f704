"""Reads from the store, none of which may keep a client waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Final, TypeVar

from fastapi import Query

from contracts.history import LogEntry
from services.runtime.store.base import Store, StoreUnavailable

T = TypeVar("T")

LONG_LOG_SECONDS: Final = 15.0  # that reading the longest log may take
LONG_LOG: Final = 50  # entries, or steps
_SHORT_LOG_SECONDS = 0.5  # that reading any other takes

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str | None, Query(description="The `next` of the page before.")]


@asynccontextmanager
async def reading(seconds: float) -> AsyncIterator[None]:
    """All the reads of one answer.

    Raises:
        StoreUnavailable: they took longer than ``seconds``, or the store says so itself.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"no answer from the store within {seconds:g} s") from None


class Reads:
    """What the edge reads to answer a request.

    Args:
        seconds: that the reads of one answer may take, but for the longest logs.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    def in_time(self) -> AbstractAsyncContextManager[None]:
        """A block with all the reads of one answer.

        Raises:
            StoreUnavailable: the store is away, or does not answer in time.
        """
        return reading(self._seconds)

    def of_a_long_log(self) -> AbstractAsyncContextManager[None]:
        """The same with time for what a long log has to do with."""
        return reading(max(LONG_LOG_SECONDS, self._seconds))

    async def log_of(self, execution_id: str, after: int = 0) -> list[LogEntry]:
        """The entries of an execution's log after that one. The longest take seconds to read; a store that is away is
        found out as soon as anywhere else.

        Raises:
            StoreUnavailable: it is away, or takes longer than a long log may.
        """
        logs = asyncio.create_task(self._store.read_log({execution_id: after}))
        logs.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # which may come when nobody waits
        try:
            async with self.of_a_long_log():
                short = min(_SHORT_LOG_SECONDS, self._seconds / 2)
                done, _ = await asyncio.wait([logs], timeout=short)
                if not done:
                    async with reading(self._seconds - short):
                        await self._store.ping()
                return (await logs).get(execution_id, [])
        finally:
            logs.cancel()


async def beside_others(size: int, make: Callable[[], T]) -> T:
    """What is made of more than LONG_LOG entries or steps is made in a thread, so that others need not wait."""
    return await asyncio.to_thread(make) if size > LONG_LOG else make()
