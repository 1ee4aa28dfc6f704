"""The stores that parity tests run over, and what tests of stores and their servers have in common."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from services.runtime.store.base import Store, StoreUnavailable
from services.runtime.store.mongo import MongoStore
from services.runtime.store.postgres import PostgresStore
from tests.support.memory_store import MemoryStore
from tests.support.mongo import own_mongo_database
from tests.support.postgres import own_postgres_database

S = TypeVar("S", bound=Store)

STORES = [
    "memory",
    pytest.param("mongodb", marks=pytest.mark.mongodb),
    pytest.param("postgres", marks=pytest.mark.postgres),
]


@asynccontextmanager
async def opened_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A started, empty store of the kind that ``request.param`` names: one of ``STORES``."""
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "mongodb":
        url = request.getfixturevalue("mongo_url")
        with own_mongo_database(url) as database:
            async with started(MongoStore(url, database, socket_timeout=60)) as store:
                yield store
    else:
        url = request.getfixturevalue("postgres_url")
        async with (
            own_postgres_database(url) as database,
            started(PostgresStore(url, database, connect_timeout=60, command_timeout=60)) as store,
        ):
            yield store


@asynccontextmanager
async def started(store: S) -> AsyncIterator[S]:
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def until_it_answers(store: Store) -> None:
    """Ask a store that is away, or coming, until it answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await store.ping()
            except StoreUnavailable:
                await asyncio.sleep(0.01)
