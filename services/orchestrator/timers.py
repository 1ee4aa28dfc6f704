"""Timers: headers that are due, published as messages to their executions' shards. Firing twice changes nothing.

A header from a backup is due at once, and its execution's running steps are sent again: no broker holds them any more.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog
from cachetools import TTLCache

from contracts.execution import WakeExecutions, WakeUp
from contracts.topology import shard_key
from services.runtime.background import in_background, stopped
from services.runtime.envelope_codec import Outgoing
from services.runtime.repeated import Repeated
from services.runtime.service import Outbox
from services.runtime.store.base import Page, Store

log = structlog.get_logger(__name__)

_PERIOD = 0.25  # seconds between looks
_AT_ONCE = 500
_REMEMBERED = 20_000
_FIRED_AGAIN_AFTER = 10.0  # seconds until a header still due, and not rewritten by then, is fired once more


class Timers:
    """Looks for due headers. Every replica does; whoever finds one publishes it."""

    def __init__(self, store: Store, outbox: Outbox, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._fired: TTLCache[tuple[str, float], bool] = TTLCache(_REMEMBERED, ttl=_FIRED_AGAIN_AFTER)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "timers")

    async def stop(self) -> None:
        await stopped(self._task)

    async def fire(self) -> int:
        """Publish what is due now; returns how many executions that were."""
        # Those that were fired and are still due come first in the list, and must not hide the others.
        due = await self._store.due_headers(self._clock(), _AT_ONCE + len(self._fired))
        wake_ups = [
            WakeUp(execution_id=header.execution_id, due=header.wake_at, restart=header.restored)
            for header in due
            if header.wake_at is not None and (header.execution_id, header.wake_at) not in self._fired
        ]
        await self._outbox.send(Outgoing(message) for message in wake_messages(wake_ups))
        for wake_up in wake_ups:
            self._fired[wake_up.execution_id, wake_up.due] = True
        return len(wake_ups)

    async def _run(self) -> None:
        trouble = Repeated(log, "timers could not fire")
        while True:
            try:
                await self.fire()
            except Exception as error:  # whatever it is, the next look may find others that are due
                trouble.failed(error)
            else:
                trouble.worked()
            await asyncio.sleep(_PERIOD)


class Recovery:
    """After a start over a bus that keeps nothing: wakes every unfinished execution once, so that its running steps
    are sent again. Over a durable bus the queues hold them, and this is not used."""

    def __init__(self, store: Store, outbox: Outbox, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(), "recovery")

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self) -> None:
        started_at = self._clock()
        cursor: str | None = None
        trouble = Repeated(log, "recovery waits")
        while True:
            try:
                headers, following = await self._store.open_headers(Page(_AT_ONCE, cursor))
                wake_ups = [
                    WakeUp(execution_id=header.execution_id, due=started_at, restart=True)
                    for header in headers
                    # What was restored is due, and the timers have its steps sent again.
                    if header.started_at < started_at and not header.restored
                ]
                await self._outbox.send(Outgoing(message) for message in wake_messages(wake_ups))
            except Exception as error:
                trouble.failed(error)
                await asyncio.sleep(_PERIOD)
                continue
            trouble.worked()
            if wake_ups:
                log.info("unfinished executions taken up again", executions=len(wake_ups))
            if following is None:
                return
            cursor = following


def wake_messages(wake_ups: Iterable[WakeUp]) -> list[WakeExecutions]:
    shards: defaultdict[str, list[WakeUp]] = defaultdict(list)
    for wake_up in wake_ups:
        shards[shard_key(wake_up.execution_id)].append(wake_up)
    return [WakeExecutions(reply_key=key, wake_ups=tuple(some)) for key, some in shards.items()]
