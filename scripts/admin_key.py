"""Store an admin key as the access service does at its first start, for an edge that is started without it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from services.access.first_start import FirstStart
from services.runtime.security.api_keys import is_key, read_key_text
from services.runtime.settings import Settings
from services.runtime.store.open import open_store

PATIENCE = 60.0


def store_admin_key(database_url: str, hash_key: str, key: str) -> bool:
    """Give the installation this key, if it never had an admin key; whether the key is valid there then.

    ``hash_key`` and ``key`` are what API_KEY_HASH_KEY and INITIAL_ADMIN_KEY say.

    Raises:
        TimeoutError: the store does not answer for a minute. ValidationError: ``key`` is no API key.
    """
    settings = Settings(database_url=database_url, api_key_hash_key=hash_key, initial_admin_key=key)
    # In a thread: whoever calls this may run in an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(_store(settings))).result()


async def _store(settings: Settings) -> bool:
    text = read_key_text(settings.initial_admin_key.get_secret_value())
    assert text is not None, "the settings have checked it"
    store = open_store(settings)
    await store.start()
    try:
        async with asyncio.timeout(PATIENCE):
            await FirstStart(store, settings, pause=0.05).run()
            stored = await store.get_api_key(text.id)
    finally:
        await store.stop()
    hash_key = settings.api_key_hash_key.get_secret_value()
    return stored is not None and stored.valid(time.time()) and is_key(text, stored, hash_key)
