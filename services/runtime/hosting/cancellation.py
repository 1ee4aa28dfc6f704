"""Cancelled work: what nobody waits for any more is ended, and what of it comes later is not begun."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final

import structlog
from cachetools import TTLCache

from contracts.execution import StepsCancelled
from services.runtime.agent import StepContext, WorkCancelled
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Received

log = structlog.get_logger(__name__)

REMEMBERED_SECONDS: Final = 600.0  # a command that waits longer in a queue runs, and its result changes nothing
_REMEMBERED: Final = 100_000


class Cancellations:
    """Which attempts nobody waits for, and which are under way in this process."""

    def __init__(self) -> None:
        self._cancelled: TTLCache[str, bool] = TTLCache(_REMEMBERED, REMEMBERED_SECONDS)
        self._under_way: defaultdict[str, set[Cancellable]] = defaultdict(set)

    async def steps_cancelled(self, received: Received[StepsCancelled]) -> Iterable[Outgoing[Any]]:
        """The handler of what the orchestrator says; it says so to every host of a type."""
        self.cancel(received.message.command_ids)
        return ()

    def cancel(self, command_ids: Iterable[str]) -> None:
        """End what is under way of these (``execution/step/attempt``) and remember them for the rest."""
        for command_id in command_ids:
            self._cancelled[command_id] = True
            for work in tuple(self._under_way.get(command_id, ())):
                execution_id, step, attempt = command_id.rsplit("/", 2)
                log.info("work cancelled", execution_id=execution_id, step=step, attempt=int(attempt))
                work.cancel()

    def is_cancelled(self, command_id: str) -> bool:
        return command_id in self._cancelled

    def cancellable(self, command_id: str, context: StepContext) -> "Cancellable":
        """A block of work that the current task does, and that ``cancel`` ends: its task sees ``CancelledError``, its
        threads see it on their context. The block itself then raises ``WorkCancelled``, whatever it did about it; so
        it does at its beginning if the command was cancelled before."""
        return Cancellable(self, command_id, context)

    def begun(self, command_id: str, work: "Cancellable") -> None:
        self._under_way[command_id].add(work)

    def ended(self, command_id: str, work: "Cancellable") -> None:
        others = self._under_way[command_id]
        others.discard(work)
        if not others:
            del self._under_way[command_id]


class Cancellable:
    """See ``Cancellations.cancellable``."""

    __slots__ = ("_cancellations", "_cancelled", "_command_id", "_context", "_task")

    def __init__(self, cancellations: Cancellations, command_id: str, context: StepContext) -> None:
        self._cancellations = cancellations
        self._command_id = command_id
        self._context = context
        self._cancelled = False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        if self._cancellations.is_cancelled(self._command_id):
            raise self._why()
        self._task = asyncio.current_task()
        self._cancellations.begun(self._command_id, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancellations.ended(self._command_id, self)
        # Only this cancellation is answered for here: one of the task itself, by a host that stops, goes on.
        if self._cancelled and self._task is not None and self._task.uncancel() == 0:
            raise self._why() from error

    def cancel(self) -> None:
        if not self._cancelled and self._task is not None:
            self._cancelled = True
            self._task.cancel()
            self._context.cancel()

    def _why(self) -> WorkCancelled:
        return WorkCancelled(f"{self._command_id}: its execution was cancelled")
