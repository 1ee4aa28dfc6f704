"""Progress: what commits have stored, told as events. They may be lost (docs/decisions/0002), so no commit waits for
them: whoever misses one sees the gap in the numbers and reads the log."""

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from contracts.execution import ExecutionsAdvanced
from contracts.history import LogEntry
from services.orchestrator.work import Work
from services.runtime.background import stopped
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox

log = structlog.get_logger(__name__)

ENTRIES_PER_EVENT = 256
BYTES_PER_EVENT = 4 * 1024 * 1024
BYTES_WAITING = 32 * 1024 * 1024


class Progress:
    """Publishes entries in the order of their commits, in the background; what gathers meanwhile goes together. What a
    broker that is away or slow has no room for is dropped, the oldest first."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: deque[tuple[LogEntry, int]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, works: Iterable[Work]) -> None:
        """Take over the entries of these works."""
        for work in works:
            if work.entry is not None:
                self._waiting.append((work.entry, work.size))
                self._bytes += work.size
        dropped = 0
        while self._bytes > BYTES_WAITING and len(self._waiting) > 1:
            self._take()
            dropped += 1
        if dropped:
            log.warning("progress not told, the broker is behind", entries=dropped)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="progress")

    async def drain(self) -> None:
        """Wait until everything has been told, or dropped."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self) -> None:
        while self._waiting:
            entries: list[LogEntry] = []
            size = 0
            while self._waiting and len(entries) < ENTRIES_PER_EVENT:
                if entries and size + self._waiting[0][1] > BYTES_PER_EVENT:
                    break
                size += self._waiting[0][1]
                entries.append(self._take())
            try:
                await self._outbox.send([Outgoing(ExecutionsAdvanced(entries=tuple(entries)))])
            except BusError as error:
                log.debug("progress not told", error=str(error), entries=len(entries))

    def _take(self) -> LogEntry:
        entry, size = self._waiting.popleft()
        self._bytes -= size
        return entry
