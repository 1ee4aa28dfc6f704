"""What a store does once, before its first operation, as soon as its server answers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from services.runtime.correlation import without_work
from services.runtime.repeated import Repeated
from services.runtime.store.base import StoreError

_log = structlog.get_logger(__name__)


class Preparation:
    """Runs ``prepare`` until it succeeds once. ``begin`` does so in the background; ``ready`` is awaited by every
    operation.

    Args:
        prepare: raises StoreError if it fails; what it did must not harm the next attempt.
        retry: seconds between attempts of the background task.
    """

    def __init__(self, prepare: Callable[[], Awaitable[None]], retry: float) -> None:
        self._prepare = prepare
        self._retry = retry
        self._attempt: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None
        self._done = False

    def begin(self) -> None:
        self._background = asyncio.create_task(self._until_done(), name="prepare the store")

    async def ready(self) -> None:
        """Return once it is done; one attempt serves all who wait.

        Raises:
            StoreError: this attempt failed; the next call tries again.
        """
        if self._done:
            return
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._once(), name="prepare the store once", context=without_work())
        attempt = self._attempt
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise StoreError("the store was stopped") from None

    async def give_up(self) -> None:
        for task in (self._background, self._attempt):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, StoreError):
                    await task

    async def _once(self) -> None:
        await self._prepare()
        self._done = True

    async def _until_done(self) -> None:
        trouble = Repeated(_log, "store_not_ready")
        while True:
            try:
                await self.ready()
                trouble.worked()
                return
            except StoreError as error:
                trouble.failed(error)
            await asyncio.sleep(self._retry)
