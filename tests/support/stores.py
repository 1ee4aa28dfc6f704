"""The stores that parity tests run over, and what tests of stores and their servers have in common."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from services.runtime.store.base import Store, StoreUnavailable
from services.runtime.store.documents import MAX_TEXT_BYTES
from services.runtime.store.encrypted import EncryptedStore
from services.runtime.store.mongo import MongoStore
from services.runtime.store.postgres import PostgresStore
from services.runtime.store.sealing import MAX_SEALED_BYTES
from tests.support.encryption import own_cipher
from tests.support.memory_store import MemoryStore
from tests.support.mongo import own_mongo_database
from tests.support.postgres import own_postgres_database

S = TypeVar("S", bound=Store)

STORES = [
    "memory",
    pytest.param("mongodb", marks=pytest.mark.mongodb),
    pytest.param("postgres", marks=pytest.mark.postgres),
]

# What users' values are in is the same for a store that encrypts them; lists look at nothing that it does.
ENCRYPTED_IN_MEMORY = ["encrypted"]
ENCRYPTED = ["encrypted", pytest.param("encrypted mongodb", marks=pytest.mark.mongodb)]


def patient_mongo(url: str, database: str, *, seconds: float = 60) -> MongoStore:
    """A store that waits long for a server that shares its machine with other tests."""
    return MongoStore(url, database, selection_timeout=seconds, socket_timeout=seconds)


def mongo_patience(seconds: int = 60) -> str:
    """The same as the query of a store's URL."""
    return f"serverSelectionTimeoutMS={seconds}000&socketTimeoutMS={seconds}000"


def postgres_patience(seconds: int = 60) -> str:
    return f"connect_timeout={seconds}&command_timeout={seconds}"


@asynccontextmanager
async def opened_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A started, empty store of the kind that ``request.param`` names: one of ``STORES``,
    or of ``ENCRYPTED``."""
    if request.param.startswith("encrypted"):
        cipher = own_cipher(request.getfixturevalue("tmp_path"))
        async with _opened(request, request.param.removeprefix("encrypted").strip() or "memory") as store:
            yield EncryptedStore(store, cipher, required=True)
    else:
        async with _opened(request, request.param) as store:
            yield store


@asynccontextmanager
async def _opened(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[Store]:
    if kind == "memory":
        yield MemoryStore()
    elif kind == "mongodb":
        url = request.getfixturevalue("mongo_url")
        with own_mongo_database(url) as database:
            async with started(patient_mongo(url, database)) as store:
                yield store
    else:
        url = request.getfixturevalue("postgres_url")
        async with (
            own_postgres_database(url) as database,
            started(PostgresStore(url, database, connect_timeout=60, command_timeout=60)) as store,
        ):
            yield store


def largest(store: Store) -> int:
    """Bytes of JSON that one value may have in this store."""
    return MAX_SEALED_BYTES if isinstance(store, EncryptedStore) else MAX_TEXT_BYTES


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
