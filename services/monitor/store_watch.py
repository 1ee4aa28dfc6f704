"""What the store says of hosts, agents, executions and dead letters, read anew at each look and never in whole."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from contracts.agents import AgentRecord
from contracts.history import ExecutionStatus, Header, StepFailed
from contracts.registry import AgentFilter
from services.monitor.pace import Pace
from services.monitor.stuck import Halted, HaltedWatch
from services.runtime.store.base import HeaderFilter, Host, Page, Store, StoreError, StoreUnavailable

log = structlog.get_logger(__name__)

DEAD_LETTERS_LIMIT = 1_000

_ROWS_AT_ONCE = 500
_MOST_AGENTS = 5_000
_MOST_ENDS = 2_000
_MOST_LOGS = 50
_LATEST_ENTRIES = 20  # of a log


@dataclass(slots=True)
class StoreSeen:
    """What cannot be read stays as it was; ``faults`` says why, by what it is: ``store`` where the store does not
    answer at all, else ``agents``, ``executions`` or ``dead_letters``."""

    faults: dict[str, str] = field(default_factory=dict)
    hosts: tuple[Host, ...] = ()
    agents: tuple[AgentRecord, ...] = ()
    all_agents: bool = True
    halted: Halted | None = None
    stored_letters: int | None = None
    arrived_letters: int | None = None


class StoreWatch:
    """
    Args:
        patience: seconds that a look may take.
    """

    def __init__(
        self,
        store: Store,
        pace: Pace,
        *,
        open_limit: int,
        clock: Callable[[], float] = time.time,
        patience: float = 20.0,
    ) -> None:
        self._store = store
        self._patience = patience
        self._pace = pace
        self._clock = clock
        self._halted = HaltedWatch(
            store, overdue_after=pace.overdue_after, stuck_after=pace.stuck_after, open_limit=open_limit
        )
        self.seen = StoreSeen()

    async def look(self) -> None:
        """In bounded time: what else there is to look at does not wait for a store that answers ever so slowly."""
        faults: dict[str, str] = {}
        try:
            async with asyncio.timeout(self._patience):
                await self._look(faults)
        except TimeoutError:
            faults["store"] = f"it did not answer everything within {self._patience:g} s"
        self.seen.faults = faults  # not before: until then those of the last look hold

    async def _look(self, faults: dict[str, str]) -> None:
        await self._try("store", self._store.ping, faults)
        if not faults:
            await self._try("agents", self._look_at_agents, faults)
            await self._try("executions", self._look_at_executions, faults)
            await self._try("dead_letters", self._look_at_letters, faults)

    async def ends(self) -> list[Header]:
        """Of the executions that were started lately and have ended, as far as they are needed to know what is usual;
        the earliest end first.

        Raises:
            StoreError: they cannot be read.
        """
        found: list[Header] = []
        started_after = self._clock() - self._pace.usual
        cursor: str | None = None
        while len(found) < _MOST_ENDS:
            page = Page(_ROWS_AT_ONCE, cursor)
            headers, cursor = await self._store.list_headers(HeaderFilter(started_after=started_after), page)
            found += headers
            if cursor is None:
                break
        ended = [(header.ended_at, header) for header in found if header.ended_at is not None]
        return [header for _, header in sorted(ended, key=lambda one: one[0])]

    async def errors_of(self, headers: Sequence[Header]) -> dict[str, dict[str, str]]:
        """The type of each failed step's error by step, of those of these executions that failed last; few, since the
        ends of their logs are read.

        Raises:
            StoreError: they cannot be read.
        """
        failed = [header for header in headers if header.status is ExecutionStatus.FAILED][-_MOST_LOGS:]
        if not failed:
            return {}
        after = {header.execution_id: max(0, header.n - _LATEST_ENTRIES) for header in failed}
        logs = await self._store.read_log(after)
        return {
            key: {
                event.step: event.error.type
                for entry in entries
                for event in entry.events
                if isinstance(event, StepFailed)
            }
            for key, entries in logs.items()
        }

    async def _try(self, what: str, look: Callable[[], Awaitable[None]], faults: dict[str, str]) -> None:
        try:
            await look()
        except StoreUnavailable as error:
            faults["store"] = str(error)
        except StoreError as error:
            if what not in self.seen.faults:  # at the last look it could be
                log.warning("cannot be read", what=what, error=str(error))
            faults[what] = str(error)

    async def _look_at_agents(self) -> None:
        self.seen.hosts = tuple(await self._store.list_hosts())
        agents: list[AgentRecord] = []
        cursor: str | None = None
        while len(agents) < _MOST_AGENTS:
            some, cursor = await self._store.list_agents(AgentFilter(), Page(_ROWS_AT_ONCE, cursor))
            agents += some
            if cursor is None:
                break
        self.seen.agents, self.seen.all_agents = tuple(agents), cursor is None

    async def _look_at_executions(self) -> None:
        self.seen.halted = await self._halted.look(self._clock())

    async def _look_at_letters(self) -> None:
        self.seen.stored_letters = await self._store.count_dead_letters(DEAD_LETTERS_LIMIT)
        since = self._clock() - self._pace.recent
        self.seen.arrived_letters = await self._store.count_dead_letters(DEAD_LETTERS_LIMIT, since)
