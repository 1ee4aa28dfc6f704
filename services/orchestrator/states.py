"""The states of executions: cached, bounded by bytes, and folded from the log when they are not."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cachetools import LRUCache
from pydantic_core import to_json

from contracts.history import ExecutionStarted, ExecutionStatus, LogEntry
from services.orchestrator.definitions import Definitions
from services.orchestrator.engine import ExecutionState, Plan, fold_entry
from services.orchestrator.payloads import put_back, references
from services.orchestrator.spans import Trace, follow
from services.runtime.store.base import Store

CACHE_BYTES = 256 * 1024 * 1024
_BYTES_PER_STEP = 600


@dataclass(slots=True)
class Held:
    """A state with what this replica knows beside the log.

    ``fresh`` says it was read for the batch in hand; ``confirmed`` are the entries that this replica appended itself
    and saw published; ``header`` is the status and ``wake_at`` that the stored header is known to say; ``trace`` is
    for its spans, and kept up where this replica traces.
    """

    state: ExecutionState
    fresh: bool
    confirmed: set[int] = field(default_factory=set)
    header: tuple[ExecutionStatus | None, float | None] | None = None
    payload_bytes: int = 0
    trace: Trace = field(default_factory=Trace)

    @property
    def size(self) -> int:
        return self.payload_bytes + _BYTES_PER_STEP * len(self.state.plan.steps)


OnRead = Callable[[ExecutionState, Sequence[LogEntry]], None]
"""Told of every state that is read from its log, with the entries that it was folded from."""


class States:
    """Gives the committer the states it asks for."""

    def __init__(
        self,
        store: Store,
        definitions: Definitions,
        cache_bytes: int = CACHE_BYTES,
        *,
        on_read: OnRead = lambda state, entries: None,
    ) -> None:
        self._store = store
        self._on_read = on_read
        self._definitions = definitions
        self._cache: LRUCache[str, Held] = LRUCache(cache_bytes, getsizeof=lambda held: held.size)
        self._doubtful: set[str] = set()

    async def get(self, execution_ids: Iterable[str], starting: Mapping[str, Plan]) -> dict[str, Held]:
        """Cached states, and the others read from the log. One that is just being started is taken as new without
        a look: if it is not, its entry 1 loses the race and that shows (and it is read from then on). Unknown
        executions are left out."""
        found: dict[str, Held] = {}
        missing: list[str] = []
        for execution_id in execution_ids:
            held = self._cache.get(execution_id)
            if held is not None:
                held.fresh = False
                found[execution_id] = held
            elif execution_id in starting and execution_id not in self._doubtful:
                found[execution_id] = Held(ExecutionState(execution_id, starting[execution_id]), fresh=False)
            else:
                missing.append(execution_id)
        return {**found, **await self.read(missing, starting)}

    async def read(self, execution_ids: Collection[str], starting: Mapping[str, Plan]) -> dict[str, Held]:
        """States folded from the log as it is now."""
        if not execution_ids:
            return {}
        logs = await self._store.read_log(dict.fromkeys(execution_ids, 0))
        self._doubtful.difference_update(execution_ids)
        wanted = references(entry for entries in logs.values() for entry in entries)
        payloads = await self._store.get_payloads(wanted) if wanted else {}
        found: dict[str, Held] = {}
        for execution_id in execution_ids:
            entries = [put_back(entry, payloads) for entry in logs.get(execution_id, [])]
            plan = await self._plan(entries) if entries else starting.get(execution_id)
            if plan is not None:
                found[execution_id] = _folded(execution_id, plan, entries)
                self._on_read(found[execution_id].state, entries)
        return found

    async def read_again(self, stale: Sequence[Held], starting: Mapping[str, Plan]) -> dict[str, Held]:
        """States as the log has them now, instead of those that may be behind it. What this replica saw published
        stays so: a wake-up that came twice, or a result that is delivered again, sends nothing again."""
        self.forget(held.state.execution_id for held in stale)
        found = await self.read([held.state.execution_id for held in stale], starting)
        for held in stale:
            if (again := found.get(held.state.execution_id)) is not None:
                again.confirmed = held.confirmed
        return found

    def keep(self, held: Held) -> None:
        """Cache a state that the log is known to agree with. One that has ended is not: whatever still comes for it
        changes nothing, and that is said only of a fresh read."""
        if held.state.ended:
            self._cache.pop(held.state.execution_id, None)
        elif held.size <= self._cache.maxsize:
            self._cache[held.state.execution_id] = held

    def forget(self, execution_ids: Iterable[str]) -> None:
        """Drop states that may be behind the log or ahead of it."""
        for execution_id in execution_ids:
            self._cache.pop(execution_id, None)
            self._doubtful.add(execution_id)

    async def _plan(self, entries: list[LogEntry]) -> Plan:
        started = entries[0].events[0]
        assert isinstance(started, ExecutionStarted)
        return await self._definitions.plan(started.definition_hash)


def _folded(execution_id: str, plan: Plan, entries: list[LogEntry]) -> Held:
    held = Held(ExecutionState(execution_id, plan), fresh=True)
    for entry in entries:
        fold_entry(held.state, entry)
        follow(held.trace.attempts, entry)
        held.payload_bytes += sum(len(to_json(event)) for event in entry.events)
    return held
