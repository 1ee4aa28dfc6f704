"""What the edge puts on record, on its way to the auditor: sent behind the requests' backs, several in a message, so
that no request waits for it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from contracts.audit import AccessRecorded, AuditRecord, AuditResult
from contracts.envelope import new_id
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError, BusUnavailable
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 20_000  # records; about 20 MB
AT_ONCE: Final = 200
GATHERED_SECONDS: Final = 0.1  # how long others are waited for that can go in the same message
PAUSE: Final = 0.5  # seconds before it is tried again while the broker is away
STOP_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Lost:
    """Requests for whose records there was no room."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0

    def add(self, at: float) -> None:
        self.first = self.first or at
        self.last = at
        self.count += 1


class AuditTrail:
    """Records on their way to the auditor. ``clock``: epoch seconds."""

    def __init__(
        self, outbox: Outbox, service: str, *, most: int = MOST_WAITING, clock: Callable[[], float] = time.time
    ) -> None:
        self._outbox = outbox
        self._actor = f"service:{service}"
        self._most = most
        self._clock = clock
        self._waiting: deque[AuditRecord] = deque()
        self._lost = _Lost()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, record: AuditRecord) -> None:
        if len(self._waiting) >= self._most:
            self._lost.add(record.at)
        else:
            self._waiting.append(record)
        self._wake.set()

    async def start(self) -> None:
        self._stopping.clear()
        self._task = in_background(self._run(), "audit-trail")

    async def stop(self) -> None:
        """Send what waits, if the broker is there."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
        await stopped(self._task)
        if missing := len(self._waiting) + self._lost.count:
            log.error("requests that are not on record, because the broker was away", requests=missing)

    async def _run(self) -> None:
        while self._waiting or self._lost.count or not self._stopping.is_set():
            if not self._waiting and not self._lost.count:
                self._wake.clear()
                await self._wake.wait()
            elif not await self._sent() and self._stopping.is_set():
                return

    async def _sent(self) -> bool:
        """Send some; False if that is not possible now."""
        await self._pause(GATHERED_SECONDS)
        lost, self._lost = self._lost, _Lost()
        told = [self._loss(lost)] if lost.count else []
        records = [*told, *(self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting))))]
        message_id = new_id()
        while records:
            try:
                await self._outbox.send([Outgoing(AccessRecorded(records=tuple(records)), message_id=message_id)])
                break
            except BusUnavailable as error:
                log.debug("records wait, the broker is away", records=len(records), error=str(error))
            except BusError as error:
                log.error("records cannot be sent", records=len(records), error=str(error))
            if self._stopping.is_set():
                self._waiting.extendleft(reversed(records))
                return False
            await self._pause(PAUSE)
        return True

    async def _pause(self, seconds: float) -> None:
        """But not while it stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _loss(self, lost: _Lost) -> AuditRecord:
        between = f"{lost.first:.3f} and {lost.last:.3f}"
        return AuditRecord(
            id=f"access/{new_id()}",
            at=self._clock(),
            actor=self._actor,
            action="audit.lost",
            result=AuditResult.FAILED,
            detail=f"{lost.count} requests between {between} (epoch seconds) are not on record: the broker was away",
        )
