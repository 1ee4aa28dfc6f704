"""Results on their way from an agent host to the orchestrator: sent as they come, together where they come together."""

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass

import structlog

from contracts.execution import RunSteps, StepResult, StepResults
from services.runtime.background import in_background, stopped
from services.runtime.bus.base import BusError, UnroutableMessage
from services.runtime.envelope_codec import Outgoing
from services.runtime.repeated import Repeated
from services.runtime.service import Outbox, Received

log = structlog.get_logger(__name__)

_TOGETHER = 200  # results in one message at most
_BYTES_TOGETHER = 4 * 1024 * 1024
_PAUSE = 0.2


class Work:
    """A message of commands in hand: acked when the last of its results is confirmed by the broker. If one of them has
    nowhere to go, the message is dead-lettered instead."""

    def __init__(self, received: Received[RunSteps], commands: int) -> None:
        self.agent_type = received.message.agent_type
        self._received = received
        self._open = commands
        self._undeliverable = ""

    def has_undeliverable(self, detail: str) -> None:
        """One of its results reaches no queue; ``detail`` says which."""
        self._undeliverable = detail

    async def one_done(self) -> None:
        """One of its results is confirmed, or will never be."""
        self._open -= 1
        if self._open > 0:
            return
        delivery = self._received.delivery
        if not self._undeliverable:
            await delivery.ack()
            return
        try:
            await delivery.dead_letter("handler-failed", self._undeliverable)
        except BusError as error:
            log.warning("delivery not settled", error=str(error))
            await delivery.retry()


@dataclass(frozen=True, slots=True)
class Finished:
    """A result, where it goes, roughly how large it is, and the message it is owed for."""

    result: StepResult
    reply_key: str
    action: str
    size: int
    work: Work


class ResultSender:
    """Sends finished results in the background. While one sending waits for its confirms, the next results gather;
    nothing waits on a clock. Over a broker that is away it tries until the broker is back. A result that no queue takes
    holds up no other: where it goes was for the command to say, and the command's message becomes a dead letter."""

    def __init__(self, outbox: Outbox, drain_timeout: float) -> None:
        self._outbox = outbox
        self._drain_timeout = drain_timeout
        self._waiting: list[Finished] = []
        self._arrived = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "results")

    async def stop(self) -> None:
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout):
                await self._drained.wait()
        await stopped(self._task)
        self._task = None

    def put(self, finished: Finished) -> None:
        self._waiting.append(finished)
        self._arrived.set()
        self._drained.clear()

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            await self._send(batch)
            for finished in batch:
                await finished.work.one_done()
            if not self._waiting:
                self._drained.set()

    async def _send(self, batch: list[Finished]) -> None:
        """Send what can be sent, however long that takes."""
        trouble = Repeated(log, "results wait for the broker")
        while batch:
            try:
                await self._outbox.send(Outgoing(message) for message in self._messages(batch))
                trouble.worked()
                return
            except UnroutableMessage as error:
                batch = _without(batch, error)
            except BusError as error:
                trouble.failed(error, results=len(batch))
                await asyncio.sleep(_PAUSE)

    def _messages(self, batch: list[Finished]) -> list[StepResults]:
        groups: defaultdict[tuple[str, str, str], list[Finished]] = defaultdict(list)
        for finished in batch:
            groups[finished.reply_key, finished.work.agent_type, finished.action].append(finished)
        return [
            StepResults(
                reply_key=reply_key,
                agent_type=agent_type,
                action=action,
                results=tuple(finished.result for finished in some),
            )
            for (reply_key, agent_type, action), group in groups.items()
            for some in _portions(group)
        ]


def _without(batch: list[Finished], error: UnroutableMessage) -> list[Finished]:
    """The batch without those results that no queue takes. The others went out, and may go once more: the same results
    change nothing."""
    stuck = [finished for finished in batch if finished.reply_key == error.address.key]
    log.error("results reach no queue", error=str(error), results=len(stuck))
    for finished in stuck:
        finished.work.has_undeliverable(str(error))
    return [finished for finished in batch if finished.reply_key != error.address.key]


def _portions(group: list[Finished]) -> list[list[Finished]]:
    portions: list[list[Finished]] = [[]]
    size = 0
    for finished in group:
        if portions[-1] and (len(portions[-1]) == _TOGETHER or size + finished.size > _BYTES_TOGETHER):
            portions.append([])
            size = 0
        portions[-1].append(finished)
        size += finished.size
    return portions
