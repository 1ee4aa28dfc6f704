"""The first admin key of a new installation: somebody must be able to sign in, and to make every other key."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

import structlog

from contracts.access import ApiKey, CreateApiKey, Role
from contracts.audit import AuditRecord, AuditResult
from services.access.keeping import every_key
from services.runtime.audit_chain import append_records
from services.runtime.background import in_background, stopped
from services.runtime.repeated import Repeated
from services.runtime.security.api_keys import KeyText, new_key_text, read_key_text, secret_hash
from services.runtime.settings import Settings
from services.runtime.store.base import Store, StoreUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

NAME = "first-admin"
# The id of a key that is made here is always this one. An id can be stored once, so there can be one such key.
FIRST_KEY_ID = "ck_firstadmin00"
CLAIM = "first-admin-key"
PAUSE = 1.0  # seconds between two looks at the store
LOOKS = 30  # without the key, before whoever claimed it counts as gone

SHOWN = """
================================================================================
The first API key of this installation, with the role admin. It is shown this
once: keep it. Make others with it (POST /api/v1/keys), then revoke it.

    {key}

================================================================================
"""


class FirstStart:
    """Gives an installation that never had an admin key its first: INITIAL_ADMIN_KEY, or a new one, shown once.

    Of several services that start at once, one wins a claim and makes the key. It is shown first and stored then, so
    that whatever crashes, no key is valid that nobody has seen. Where the winner is gone before it stored the key,
    another claims it anew; should the winner only have been slow, its key is refused by its id, and it says so.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        show: Callable[[str], None] | None = None,
        pause: float = PAUSE,
        looks: int = LOOKS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._hash_key = settings.api_key_hash_key.get_secret_value()
        self._initial = read_key_text(settings.initial_admin_key.get_secret_value())
        self._show = show or _print
        self._pause = pause
        self._looks = looks
        self._clock = clock
        self._trouble = Repeated(log, "the first admin key waits for the store")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if not self._hash_key:
            log.warning(
                "API_KEY_HASH_KEY is not set: no API key is taken and no first admin key is made; set it to the same"
                " secret of 32 characters or more for this service and every edge"
            )
            return
        self._task = in_background(self.run(), "first admin key")

    async def stop(self) -> None:
        await stopped(self._task)

    async def run(self) -> None:
        """Return when the installation has, or once had, an admin key."""
        for attempt in count(1):
            if await self._becomes_known(looks=1):
                return
            # One that was given is the same for all; of those that are made, there is to be one.
            if self._initial is not None or await self._claimed(_claim(attempt)):
                if not await self._becomes_known(looks=1):
                    await self._give()
                return
            if await self._becomes_known(looks=self._looks):
                return
            log.warning("the first admin key was claimed and never stored; it is claimed anew", claim=attempt)

    async def _claimed(self, name: str) -> bool:
        return await self._patiently(lambda: self._store.claim(name))

    async def _becomes_known(self, looks: int) -> bool:
        """Whether an admin key is stored, now or after so many looks."""
        for look in range(looks):
            if look:
                await asyncio.sleep(self._pause)
            keys = await self._patiently(lambda: every_key(self._store))
            if any(key.role is Role.ADMIN for key in keys):
                return True
        return False

    async def _give(self) -> None:
        text = self._initial or KeyText(FIRST_KEY_ID, new_key_text().secret)
        if self._initial is None:
            self._show(SHOWN.format(key=text))
        key = ApiKey(
            id=text.id,
            name=NAME,
            role=Role.ADMIN,
            secret_hash=secret_hash(text.secret, self._hash_key),
            created_at=self._clock(),
            created_by="first start",
        )
        await self._patiently(lambda: self._store.add_api_key(key))
        stored = await self._patiently(lambda: self._store.get_api_key(key.id))
        if stored is None or stored.secret_hash != key.secret_hash:
            log.warning("another service has stored the first admin key meanwhile; the one shown here is void")
            return
        log.info("first admin key stored", key_id=key.id)
        await self._patiently(lambda: append_records(self._store, [_record(key)], only_new=True))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers."""
        while True:
            try:
                answer = await ask()
                self._trouble.worked()
                return answer
            except StoreUnavailable as error:
                self._trouble.failed(error)
                await asyncio.sleep(self._pause)


def _claim(attempt: int) -> str:
    return CLAIM if attempt == 1 else f"{CLAIM}/{attempt}"


def _record(key: ApiKey) -> AuditRecord:
    return AuditRecord(
        id=f"first-start/{key.id}",
        at=key.created_at,
        actor="service:access",
        action=CreateApiKey.TYPE,
        subject=key.id,
        source="first start",
        result=AuditResult.DONE,
        detail=f"{key.name}, {key.role.value}",
    )


def _print(text: str) -> None:
    # Standard output, and no log: logs are collected, sent elsewhere and kept.
    print(text, file=sys.stdout, flush=True)
