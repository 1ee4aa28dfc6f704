"""API keys as the store has them, remembered for a moment."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from cachetools import LRUCache, TTLCache

from contracts.access import ApiKey
from services.edge.reading import reading
from services.runtime.correlation import without_work
from services.runtime.store.base import Store

KEY_SECONDS: Final = 3.0  # how long a revoked key may still be taken here
LAST_KNOWN_SECONDS: Final = 300.0  # how long a key is known that the store cannot be asked about
_MOST: Final = 10_000


class StoredKeys:
    """Keys by id. Each is read again after a few seconds, so that a revocation holds within them, and by one reader at
    a time. Ids that the store does not have are remembered as well, and bounded like the others.

    Args:
        answer_within: seconds that a read may take.
        seconds: for which a key is remembered.
    """

    def __init__(
        self,
        store: Store,
        *,
        answer_within: float,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._answer_within = answer_within
        self._seconds = KEY_SECONDS if seconds is None else seconds
        self._clock = clock
        self._known: LRUCache[str, tuple[float, ApiKey]] = LRUCache(_MOST)
        self._absent: TTLCache[str, bool] = TTLCache(_MOST, ttl=self._seconds, timer=clock)
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}

    def is_new(self, key_id: str) -> bool:
        """Whether nothing is known here of that id, so that the store would have to be asked."""
        return key_id not in self._known and key_id not in self._absent

    def last_known(self, key_id: str) -> ApiKey | None:
        """What the store said of it lately; for what may be seen while that is away."""
        known = self._known.get(key_id)
        if known is None or self._clock() - known[0] > LAST_KNOWN_SECONDS:
            return None
        return known[1]

    async def get(self, key_id: str) -> ApiKey | None:
        """
        Raises:
            StoreUnavailable: it would have to be read, and cannot be.
        """
        if key_id in self._absent:
            return None
        known = self._known.get(key_id)
        if known is not None and self._clock() - known[0] < self._seconds:
            return known[1]
        task = self._reading.get(key_id)
        if task is None:
            task = self._reading[key_id] = asyncio.create_task(self._read(key_id), context=without_work())
            task.add_done_callback(lambda _: self._reading.pop(key_id, None))
        # Whoever goes away must not take the answer from the others that wait for it.
        return await asyncio.shield(task)

    async def _read(self, key_id: str) -> ApiKey | None:
        asked_at = self._clock()
        async with reading(self._answer_within):
            key = await self._store.get_api_key(key_id)
        if key is None:
            self._known.pop(key_id, None)
            self._absent[key_id] = True
        else:
            self._known[key_id] = (asked_at, key)
        return key
