"""Executions followed live: one subscription for the whole process, handed out to every client that follows one.

A client reads the log first and then what the orchestrator broadcasts. Log entries are numbered densely, so a lost,
late or reordered broadcast shows as a gap and the log fills it; a look at the log every few seconds finds what nothing
came after. What waits for a slow client is bounded: beyond that, it is read from the log once the client is ready.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from contracts.execution import ExecutionsAdvanced
from contracts.history import ExecutionEnded, LogEntry
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received
from services.runtime.store.base import Store, StoreUnavailable

log = structlog.get_logger(__name__)

POLL_SECONDS = 3.0
READ_SECONDS = 10.0
WAITING_ENTRIES = 64
WAITING_BYTES = 1024 * 1024


class Follower:
    """One client's place in one execution's log: ``position`` is the last entry that it was given."""

    def __init__(self, execution_id: str, position: int) -> None:
        self.execution_id = execution_id
        self.position = position
        self.idle = False
        self._waiting: dict[int, LogEntry] = {}
        self._waiting_bytes = 0
        self._behind = False
        self._news = asyncio.Event()

    def offer(self, entry: LogEntry, size: int) -> None:
        """A broadcast entry of about ``size`` bytes, in whatever order broadcasts come."""
        if entry.n <= self.position or entry.n in self._waiting:
            return
        if len(self._waiting) < WAITING_ENTRIES and self._waiting_bytes + size <= WAITING_BYTES:
            self._waiting[entry.n] = entry
            self._waiting_bytes += size
        else:
            self._behind = True
        self._news.set()

    def fall_behind(self) -> None:
        """The log has what no broadcast brought."""
        self._behind = True
        self._news.set()

    def wake(self) -> None:
        self._news.set()

    async def news(self) -> None:
        """Wait until there is something to take, or a wake-up."""
        self.idle = True
        try:
            await self._news.wait()
        finally:
            self.idle = False
        self._news.clear()

    def take(self) -> list[LogEntry] | None:
        """What follows ``position`` without a gap, or None where the log has to be read."""
        waiting = sorted(n for n in self._waiting if n > self.position)
        entries = [self._waiting[n] for i, n in enumerate(waiting) if n == self.position + 1 + i]
        incomplete = self._behind or len(entries) < len(waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._behind = False
        return None if incomplete else entries


class LiveFeed:
    """Hands the broadcast of new log entries out to followers. A resource of the edge's service."""

    def __init__(self, store: Store, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._store = store
        self._poll_seconds = poll_seconds
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._poll: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def start(self) -> None:
        self._poll = asyncio.create_task(self._keep_polling(), name="live-poll")

    async def stop(self) -> None:
        self.end_streams()
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)

    def end_streams(self) -> None:
        """End every stream as soon as it has nothing in hand: clients come back, and find another edge."""
        self._closing.set()
        for follower in self._all():
            follower.wake()

    @property
    def followers(self) -> int:
        """How many streams are open."""
        return sum(len(group) for group in self._followers.values())

    async def advanced(self, received: Received[ExecutionsAdvanced]) -> Iterable[Outgoing[Any]]:
        """The handler of the broadcast."""
        entries = received.message.entries
        size = len(received.delivery.body) // max(1, len(entries))
        for entry in entries:
            for follower in self._followers.get(entry.execution_id, ()):
                follower.offer(entry, size)
        return ()

    @contextmanager
    def following(self, execution_id: str, position: int) -> Iterator[Follower]:
        """Take part in the broadcast. Read the log only afterwards, so that nothing falls in between."""
        follower = Follower(execution_id, position)
        self._followers[execution_id].add(follower)
        try:
            yield follower
        finally:
            self._followers[execution_id].discard(follower)
            if not self._followers[execution_id]:
                del self._followers[execution_id]

    async def entries(self, follower: Follower, first: Sequence[LogEntry]) -> AsyncIterator[LogEntry]:
        """Every entry after the follower's position, in order: ``first``, which was read from the log, then live.
        Ends after the execution's last entry, or when the feed stops."""
        batch: Sequence[LogEntry] | None = first
        while True:
            for entry in batch if batch is not None else await self._read_patiently(follower):
                follower.position = entry.n
                yield entry
                if is_last(entry):
                    return
            if self._closing.is_set():
                return
            await follower.news()
            batch = follower.take()

    async def _read_patiently(self, follower: Follower) -> Sequence[LogEntry]:
        """The log after the follower's position. A store that is away is waited for: the client is told nothing
        wrong meanwhile, and has nothing better to do."""
        while not self._closing.is_set():
            try:
                async with asyncio.timeout(READ_SECONDS):
                    logs = await self._store.read_log({follower.execution_id: follower.position})
                return logs.get(follower.execution_id, [])
            except (StoreUnavailable, TimeoutError) as error:
                log.warning("stream waits for the store", execution_id=follower.execution_id, error=str(error))
                await self._pause()
        return []

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await self._find_missed()
            except (StoreUnavailable, TimeoutError) as error:
                log.warning("the store is away, streams live on broadcasts alone", error=str(error))
            except Exception:
                # One bad log must not end the polling for everyone else.
                log.exception("poll of followed executions failed")

    async def _find_missed(self) -> None:
        """Look in the log, in one read, for what the broadcast did not bring to idle followers."""
        positions: dict[str, int] = {}
        for follower in self._all():
            if follower.idle:
                known = positions.get(follower.execution_id, follower.position)
                positions[follower.execution_id] = min(known, follower.position)
        if not positions:
            return
        logs = await self._store.read_log(positions)
        for execution_id, entries in logs.items():
            for follower in self._followers.get(execution_id, ()):
                if entries and entries[-1].n > follower.position:
                    follower.fall_behind()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._closing.wait()
        except TimeoutError:
            pass

    def _all(self) -> list[Follower]:
        return [follower for group in self._followers.values() for follower in group]


def is_last(entry: LogEntry) -> bool:
    """Whether nothing more will be said of the execution."""
    return any(isinstance(event, ExecutionEnded) for event in entry.events)
