"""What a registry knows at its start over a bus that lives in its own process."""

import asyncio
from dataclasses import replace

import structlog

from services.registry.ledger import Ledger
from services.runtime.background import in_background, stopped
from services.runtime.repeated import Repeated
from services.runtime.store.base import StoreUnavailable

log = structlog.get_logger(__name__)

_PERIOD = 0.25


class FreshStart:
    """Marks the hosts of earlier processes as gone. Over ``direct`` they ended with the registry that would have heard
    of it, so nobody has marked them. What they said of their types stays known. Over other buses hosts live on while
    the registry is away, and this is not used."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = in_background(self._run(self._ledger.clock()), "hosts of earlier processes")

    async def stop(self) -> None:
        await stopped(self._task)

    async def _run(self, started_at: float) -> None:
        trouble = Repeated(log, "hosts of earlier processes cannot be marked now")
        while True:
            try:
                await self._mark(started_at)
            except StoreUnavailable as error:
                trouble.failed(error)
                await asyncio.sleep(_PERIOD)
            else:
                trouble.worked()
                return

    async def _mark(self, started_at: float) -> None:
        async with self._ledger.turn:
            store = self._ledger.store
            for host in await store.list_hosts():
                if host.available and host.seen_at < started_at:
                    await store.put_host(replace(host, available=False, stopped=True))
