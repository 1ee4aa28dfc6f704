"""Copies from their queue into the log: what waits is taken, recorded, written in one go, and only then acked.

Delivered again, a copy becomes the same record, which is in the log already or is not.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from contracts import topology
from contracts.audit import AuditRecord
from services.auditor import recording
from services.auditor.appending import ChainEnd
from services.auditor.checkpoints import Checkpoints
from services.auditor.copies import Copy
from services.auditor.opening import OpenCopy, copy_of
from services.auditor.questions import Questions
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import Bus, Delivery
from services.runtime.repeated import Repeated
from services.runtime.store.base import Store, StoreError

log = structlog.get_logger(__name__)

PREFETCH: Final = 500
BATCH: Final = 500  # copies
BATCH_BYTES: Final = 8 * 1024 * 1024
GATHERED_SECONDS: Final = 0.1  # nobody waits for an entry, and each write costs the store as much as many entries do
ENOUGH: Final = 200  # copies that are not kept waiting for more
HELD_SECONDS: Final = 60.0  # while the store is away; then the copies go back to wait in the broker
STOP_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0


class Writing:
    """To be made before its bus starts, and given to the service as a resource after its store."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        open_copy: OpenCopy,
        checkpoints: Checkpoints,
        *,
        clock: Callable[[], float] = time.time,
        held_seconds: float = HELD_SECONDS,
    ) -> None:
        self._open_copy = open_copy
        self._clock = clock
        self._held_seconds = held_seconds
        self._end = ChainEnd(store, checkpoints, clock)
        self._questions = Questions(store)
        self._waiting: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._trouble = Repeated(log, "audit log cannot be written now")
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        bus.subscribe(topology.auditor_queue(), self.take, prefetch=PREFETCH)

    async def start(self) -> None:
        self._stopping = False
        self._task = in_background(self._run(), "audit-log")

    async def stop(self) -> None:
        """Write what was taken, if the store lets it; the rest goes back to its queue when the bus closes."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
        await stopped(self._task)
        self._waiting.clear()

    async def take(self, delivery: Delivery) -> None:
        self._waiting.append(delivery)
        self._wake.set()

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            if self._waiting:
                await self._gather()
                await self._write(self._next_batch())
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _gather(self) -> None:
        """Wait a moment for more, but not while it stops."""
        until = time.monotonic() + GATHERED_SECONDS
        while len(self._waiting) < ENOUGH and not self._stopping and (left := until - time.monotonic()) > 0:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    def _next_batch(self) -> list[Delivery]:
        batch: list[Delivery] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].body)
        return batch

    async def _write(self, batch: Sequence[Delivery]) -> None:
        """Until it is in the log, or the store was away so long that the copies had better wait in the broker."""
        copies = [self._opened(delivery) for delivery in batch]
        deadline = time.monotonic() + self._held_seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._end.append(await self._records(copies))
                self._trouble.worked()
                break
            except StoreError as error:
                self._trouble.failed(error, copies=len(batch))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            if self._stopping:
                return  # unsettled, so it goes back
            if time.monotonic() >= deadline:
                await asyncio.gather(*(delivery.retry() for delivery in batch))
                return
        await asyncio.gather(*(delivery.ack() for delivery in batch))

    async def _records(self, copies: Sequence[Copy]) -> list[AuditRecord]:
        records: list[AuditRecord] = []
        looked_up = False
        for copy in copies:
            question = recording.question_of(copy)
            if question and not looked_up and self._questions.of(question) is None:
                await self._questions.look_up()
                looked_up = True
            made = self._recorded(copy)
            self._questions.learn(made)
            records += made
        return records

    def _opened(self, delivery: Delivery) -> Copy:
        try:
            return self._open_copy(delivery)
        except Exception as error:
            log.exception("copy cannot be opened", type=delivery.type, message_id=delivery.message_id)
            return copy_of(delivery, fault=f"cannot be opened: {type(error).__name__}")

    def _recorded(self, copy: Copy) -> list[AuditRecord]:
        try:
            return _logged(recording.records_of(copy, self._clock(), self._questions.of))
        except Exception as error:
            log.exception("copy cannot be recorded", type=copy.type, message_id=copy.message_id)
            return [recording.unrecordable(copy, self._clock(), error)]


def _logged(records: list[AuditRecord]) -> list[AuditRecord]:
    for record in records:
        log.debug(
            "recorded",
            correlation_id=record.correlation_id,
            action=record.action,
            subject=record.subject,
            result=record.result,
        )
    return records
