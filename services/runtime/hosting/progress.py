"""Progress of long work on its way from a host to the orchestrator: seldom enough to cost nothing, the latest always.

Reports may be lost while the broker is away; the next one says more.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import structlog

from contracts.execution import StepCommand, StepProgress, StepsProgressed
from services.runtime.agent import WorkCancelled
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError
from services.runtime.envelope_codec import Outgoing
from services.runtime.service import Outbox

log = structlog.get_logger(__name__)

INTERVAL = 1.0  # seconds between two reports of one run, at least
# Every report that leaves is an entry of the execution's log, so those of work that takes hours come less often: a
# hundred for the first hundred seconds, then about seventy each time the duration doubles.
SHARE_OF_DURATION: Final = 0.01
_SHARE_OF_TIMEOUT: Final = 0.5  # but never so seldom that the orchestrator gives the step up: its lease is longer
_TOGETHER: Final = 200  # reports in one message at most


def interval(elapsed: float, timeout: float) -> float:
    """Seconds until the next report of a run may leave that began ``elapsed`` seconds ago."""
    return max(INTERVAL, min(SHARE_OF_DURATION * elapsed, _SHARE_OF_TIMEOUT * timeout))


_Waiting = tuple[str, str, StepProgress]  # reply key, agent type, report


class ProgressSender:
    """Sends reports in the background, those for one shard together. A resource of the host."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._waiting: dict[str, _Waiting] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "progress of steps")

    async def stop(self) -> None:
        await stopped(self._task)
        self._task = None

    def put(self, reply_key: str, agent_type: str, report: StepProgress) -> None:
        """Send a report of a step of ``agent_type`` soon; a later one of the same run takes its place."""
        self._waiting[report.run_id] = (reply_key, agent_type, report)
        self._arrived.set()

    def forget(self, run_id: str) -> None:
        """The run has ended, and its result says more."""
        self._waiting.pop(run_id, None)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, {}
            try:
                await self._outbox.send(Outgoing(message) for message in _messages(batch.values()))
            except BusError as error:
                log.debug("progress lost", error=str(error), reports=len(batch))


class Reporter:
    """What one run of a command says of its progress. Called from any thread; takes effect on the event loop.

    ``reported`` says whether it said anything in time.
    """

    __slots__ = (
        "_agent_id",
        "_agent_type",
        "_began",
        "_command",
        "_latest",
        "_limit",
        "_lock",
        "_loop",
        "_next_at",
        "_number",
        "_pending",
        "_run_id",
        "_sender",
        "_timer",
        "reported",
    )

    def __init__(
        self, sender: ProgressSender, command: StepCommand, agent_type: str, agent_id: str, run_id: str
    ) -> None:
        self._sender = sender
        self._command = command
        self._agent_type = agent_type
        self._agent_id = agent_id
        self._run_id = run_id
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self.reported = False
        self._latest: tuple[float, str] | None = None
        self._pending = (0.0, "", 0.0)
        self._number = 0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._limit: asyncio.Timeout | None = None
        self._began = 0.0

    def begin(self, limit: asyncio.Timeout) -> None:
        """The work is under way, within ``limit``: every report has that start anew, whether it leaves the host or
        not."""
        self._limit = limit
        self._began = self._loop.time()

    def end(self) -> None:
        """The work has ended, and its result says more than any report."""
        self._limit = None
        if self._timer is not None:
            self._timer.cancel()
        if self._number:
            self._sender.forget(self._run_id)

    def __call__(self, fraction: float, note: str) -> None:
        """
        Raises:
            WorkCancelled: the host has gone.
        """
        with self._lock:
            told, self._latest = self._latest is not None, (fraction, note)
        if not told:
            # Once until the loop comes to it, however often a thread reports meanwhile.
            try:
                self._loop.call_soon_threadsafe(self._take)
            except RuntimeError as error:
                raise WorkCancelled(f"{self._command.id}: its host has stopped") from error

    def _take(self) -> None:
        with self._lock:
            latest, self._latest = self._latest, None
        if latest is None or self._limit is None or self._limit.expired():
            return
        self.reported = True
        now = self._loop.time()
        self._limit.reschedule(now + self._command.timeout)
        self._pending = (*latest, time.time())
        if self._timer is None:
            self._timer = self._loop.call_at(max(now, self._next_at), self._leave)

    def _leave(self) -> None:
        self._timer = None
        fraction, note, at = self._pending
        self._number += 1
        now = self._loop.time()
        self._next_at = now + interval(now - self._began, self._command.timeout)
        report = StepProgress(
            execution_id=self._command.execution_id,
            step=self._command.step,
            attempt=self._command.attempt,
            run_id=self._run_id,
            number=self._number,
            fraction=fraction,
            note=note,
            agent_id=self._agent_id,
            at=at,
        )
        self._sender.put(self._command.reply_key, self._agent_type, report)


def _messages(batch: Iterable[_Waiting]) -> list[StepsProgressed]:
    groups: defaultdict[tuple[str, str], list[StepProgress]] = defaultdict(list)
    for reply_key, agent_type, report in batch:
        groups[reply_key, agent_type].append(report)
    return [
        StepsProgressed(reply_key=reply_key, agent_type=agent_type, reports=tuple(reports[start : start + _TOGETHER]))
        for (reply_key, agent_type), reports in groups.items()
        for start in range(0, len(reports), _TOGETHER)
    ]
