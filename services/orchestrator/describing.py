"""How an execution stands, for whoever asks over the bus: read from its log, as it is at that moment."""

from collections.abc import Iterable, Sequence
from typing import Any

from contracts.execution import DescribeExecution, ExecutionDescribed, Refused
from contracts.history import ExecutionEnded, ExecutionStarted, LogEntry
from services.orchestrator.definitions import Definitions
from services.orchestrator.engine import ExecutionState, Plan, fold_entry
from services.orchestrator.outgoing import ending
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received, Refusal
from services.runtime.store.base import Store


class Describing:
    """Answers ``DescribeExecution``. Nothing is taken from the cache of states: that may be ahead of the log."""

    def __init__(self, store: Store, definitions: Definitions) -> None:
        self._store = store
        self._definitions = definitions

    async def describe(self, received: Received[DescribeExecution]) -> Iterable[Outgoing[Any]]:
        execution_id = received.message.execution_id
        entries = (await self._store.read_log({execution_id: 0})).get(execution_id, [])
        if not entries:
            message = f"no execution {execution_id!r} has been started"
            raise Refusal(Refused(code="not_found", subject=execution_id, message=message))
        started = entries[0].events[0]
        assert isinstance(started, ExecutionStarted)
        plan = await self._definitions.plan(started.definition_hash)
        return [received.reply(described(plan, entries))] if received.wants_reply else []


def described(plan: Plan, entries: Sequence[LogEntry]) -> ExecutionDescribed:
    """What a whole log says; large values stay references, as in the event of the execution's end."""
    state = ExecutionState(entries[0].execution_id, plan)
    for entry in entries:
        fold_entry(state, entry)
    assert state.status is not None
    standing = ExecutionDescribed(
        execution_id=state.execution_id,
        status=state.status,
        done=len(plan.steps) - state.unfinished,
        steps=len(plan.steps),
    )
    if not state.ended:
        return standing
    end = ending(state)
    return standing.model_copy(update={"reason": _reason(entries), "outputs": end.outputs, "errors": end.errors})


def _reason(entries: Sequence[LogEntry]) -> str:
    events = (event for event in reversed(entries[-1].events) if isinstance(event, ExecutionEnded))
    return next((event.reason for event in events), "")
