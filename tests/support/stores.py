"""The stores that parity tests run over."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from services.runtime.store.base import Store
from services.runtime.store.mongo import MongoStore
from services.runtime.store.postgres import PostgresStore
from tests.support.memory_store import MemoryStore
from tests.support.postgres import own_postgres_database

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
        with own_database(url) as database:
            async with _started(MongoStore(url, database, socket_timeout=60)) as store:
                yield store
    else:
        url = request.getfixturevalue("postgres_url")
        async with (
            own_postgres_database(url) as database,
            _started(PostgresStore(url, database, connect_timeout=60, command_timeout=60)) as store,
        ):
            yield store


@asynccontextmanager
async def _started(store: Store) -> AsyncIterator[Store]:
    await store.start()
    yield store
    await store.stop()


@contextmanager
def own_database(url: str) -> Iterator[str]:
    """The name of a database of one test's own, which is dropped at the end.

    Not from the embedded store: there a drop costs a write to disk for each document and index entry, seconds for a
    few hundred, and its data goes with the server.
    """
    name = f"test_{uuid.uuid4().hex}"
    yield name
    with MongoClient[dict[str, Any]](url) as client:
        if "secantusVersion" not in client.server_info():
            client.drop_database(name)
