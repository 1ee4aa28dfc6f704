"""Executions that do not go on: overdue, by their headers, and stuck, by their logs too. Times are epoch seconds.

Overdue: the header's ``wake_at`` passed long ago, so timers do not fire or the shard's queue is not served. Stuck: it
is open, and all that its header and the end of its log said was to happen should have happened long ago, or nothing
was: no timer will save it. Only those that are overdue or have no ``wake_at`` can be stuck, since ``wake_at`` is never
late; so few logs are read, and of each what came after its header.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from contracts.history import (
    AttemptFailed,
    ExecutionEnded,
    Header,
    LogEntry,
    StepDispatched,
    StepProgressed,
    StepResent,
)
from contracts.monitoring_health import OpenExecution
from services.runtime.store.base import Page, Store, Unreadable

log = structlog.get_logger(__name__)

OVERDUE_LIMIT = 200
STUCK_LIMIT = 100
SHOWN = 20

_LOGS_AT_ONCE = 20
_HEADERS_AT_ONCE = 500
_SUSPECTS = 1_000  # remembered; others are come across again


@dataclass(frozen=True, slots=True)
class Halted:
    """Executions that do not go on, those first that should have long ago; as many as were looked for."""

    open: int
    overdue: tuple[OpenExecution, ...] = ()
    stuck: tuple[OpenExecution, ...] = ()


class HaltedWatch:
    """Looks at a bounded number of headers and logs each time; a look goes on where the last one ended.

    Args:
        open_limit: up to which open executions are counted.
    """

    def __init__(self, store: Store, *, overdue_after: float, stuck_after: float, open_limit: int) -> None:
        self._store = store
        self._overdue_after = overdue_after
        self._stuck_after = stuck_after
        self._open_limit = open_limit
        self._stuck: dict[str, OpenExecution] = {}
        self._cursor: str | None = None
        self._suspects: dict[str, None] = {}

    async def look(self, now: float) -> Halted:
        """
        Raises:
            StoreUnavailable: the store is away.
        """
        overdue_from = now - self._overdue_after
        found = await self._store.due_headers(overdue_from, OVERDUE_LIMIT)
        # What was restored is found whenever that was: it is due before everything else.
        due = [header for header in found if header.due_at is not None and header.due_at <= overdue_from]
        some, self._cursor = await self._store.open_headers(Page(_HEADERS_AT_ONCE, self._cursor))
        without_timer = (header.execution_id for header in some if header.wake_at is None)
        longest_due = (header.execution_id for header in due if _waits_for(header, now) >= self._stuck_after)
        for key in (*longest_due, *without_timer):
            if len(self._suspects) < _SUSPECTS:
                self._suspects[key] = None
        await self._look_at(self._next(), now)
        return Halted(
            open=await self._store.count_open(self._open_limit),
            overdue=tuple(_open(header, now) for header in due),
            stuck=tuple(sorted(self._stuck.values(), key=lambda one: one.last_at or 0.0)),
        )

    def _next(self) -> list[str]:
        """Whom to look at: all that are stuck, as far as is known, and some of the suspects."""
        chosen = list(self._suspects)[:_LOGS_AT_ONCE]
        for execution_id in chosen:
            del self._suspects[execution_id]
        return [*self._stuck, *(one for one in chosen if one not in self._stuck)]

    async def _look_at(self, ids: Sequence[str], now: float) -> None:
        if not ids:
            return
        headers = dict(await self._store.read_headers(ids))
        for key in ids:
            if key not in headers or headers[key].status.ended:
                self._stuck.pop(key, None)
                headers.pop(key, None)
        for key, entries in (await self._ends_of(list(headers.values()))).items():
            last_at = stuck_since(headers[key], entries, now, self._stuck_after)
            if last_at is None:
                self._stuck.pop(key, None)
            elif key in self._stuck or len(self._stuck) < STUCK_LIMIT:
                self._stuck[key] = _open(headers[key], now, last_at)

    async def _ends_of(self, headers: Collection[Header]) -> dict[str, list[LogEntry]]:
        """What was appended from each header's entry on."""
        after = {header.execution_id: header.n - 1 for header in headers}
        if not after:
            return {}
        try:
            return await self._store.read_log(after)
        except Unreadable:
            return {key: found for key, n in after.items() if (found := await self._end_of(key, n)) is not None}

    async def _end_of(self, execution_id: str, n: int) -> list[LogEntry] | None:
        try:
            return (await self._store.read_log({execution_id: n}))[execution_id]
        except Unreadable as error:
            log.warning("log cannot be read", execution_id=execution_id, error=str(error))
            return None


def stuck_since(header: Header, entries: Iterable[LogEntry], now: float, stuck_after: float) -> float | None:
    """When the log of a stuck execution was last appended to; None if it is not stuck.

    ``entries`` are those from the header's on.
    """
    last_at = header.started_at
    expected = header.due_at or 0.0
    for entry in entries:
        last_at = max(last_at, entry.at)
        for event in entry.events:
            if isinstance(event, ExecutionEnded):
                return None  # its header is behind
            if isinstance(event, StepDispatched | StepResent | StepProgressed):
                expected = max(expected, event.deadline)
            elif isinstance(event, AttemptFailed):
                expected = max(expected, event.retry_at)
    return last_at if now - max(expected, last_at) > stuck_after else None


def _waits_for(header: Header, now: float) -> float:
    return 0.0 if header.due_at is None else now - header.due_at


def _open(header: Header, now: float, last_at: float | None = None) -> OpenExecution:
    return OpenExecution(
        execution_id=header.execution_id,
        workflow_id=header.workflow_id,
        workflow_name=header.workflow_name,
        started_at=header.started_at,
        overdue_by=None if header.due_at is None else max(0.0, now - header.due_at),
        last_at=last_at,
    )
