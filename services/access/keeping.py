"""Decisions about API keys, carried out on the store. For the service and for ``python -m services keys``."""

import time
from collections.abc import Callable

from contracts.access import ApiKey, RotateApiKey
from services.access.key_decisions import KeyRefused, created, revoked, rotated
from services.runtime.store.base import Page, Store

_ROWS = 200


class Keeper:
    """Every method may be called again for the same command: the answer is the same.

    Raises:
        KeyRefused: as the decision says. StoreUnavailable: it may or may not be done; to be called again.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def create(self, wanted: ApiKey) -> ApiKey:
        stored = await self._store.get_api_key(wanted.id)
        key = created(wanted, stored, self._clock())
        if stored is None and not await self._store.add_api_key(key):
            # Somebody was faster, perhaps an earlier try of ours whose answer was lost.
            return created(wanted, await self._store.get_api_key(wanted.id), self._clock())
        return key

    async def rotate(self, command: RotateApiKey, *, by: str = "") -> ApiKey:
        """The new key. It is stored before the old one's end is: a crash in between leaves two valid keys, not none."""
        old = await self._store.get_api_key(command.id)
        taken = await self._store.get_api_key(command.new_id)
        new, outgoing = rotated(command, old, taken, self._clock(), by=by)
        if taken is None and not await self._store.add_api_key(new):
            taken = await self._store.get_api_key(command.new_id)
            new, outgoing = rotated(command, old, taken, self._clock(), by=by)
        if outgoing != old:
            latest = await self._store.get_api_key(command.id)
            if latest is not None and latest.revoked_at is not None:
                # Whoever revoked it meanwhile wants no successor of it.
                await self._store.write_api_key(new.model_copy(update={"revoked_at": self._clock()}))
                raise KeyRefused("conflict", command.id, f"API key {command.id} was revoked while it was rotated")
            await self._store.write_api_key(outgoing)
        return new

    async def revoke(self, key_id: str, *, force: bool = False) -> ApiKey:
        keys = await self.all()
        key = revoked(key_id, keys, self._clock(), force=force)
        while key not in keys:
            await self._store.write_api_key(key)
            # A rotation by hand may have written over it at this moment.
            keys = await self.all()
            key = revoked(key_id, keys, self._clock(), force=True)
        return key

    async def all(self) -> list[ApiKey]:
        """Every key there is, by id."""
        return await every_key(self._store)


async def every_key(store: Store) -> list[ApiKey]:
    keys: list[ApiKey] = []
    page = Page(_ROWS)
    while True:
        rows, after = await store.list_api_keys(page)
        keys += rows
        if after is None:
            return keys
        page = Page(_ROWS, after)
