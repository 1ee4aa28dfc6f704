"""A database's rows as somebody sees and changes them who goes past the store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from pymongo import MongoClient

from services.runtime.store.base import Store
from services.runtime.store.postgres import PostgresStore
from tests.support.mongo import own_mongo_database
from tests.support.postgres import own_postgres_database, sql
from tests.support.stores import patient_mongo, started

RAW = [pytest.param("mongodb", marks=pytest.mark.mongodb), pytest.param("postgres", marks=pytest.mark.postgres)]


class RawStore(Protocol):
    """Tables and collections have the same names; ids are in column ``key`` of a table."""

    store: Store

    async def everything(self) -> bytes:
        """All that is in the database."""
        ...

    async def change(self, name: str, key: str, row: Any, column: str, value: Any) -> None: ...

    async def swap(self, name: str, key: str, column: str, one: Any, other: Any) -> None:
        """Exchange a column of two rows."""
        ...

    async def delete(self, name: str, key: str, row: Any) -> None: ...


class RawMongo:
    def __init__(self, store: Store, database: Any) -> None:
        self.store = store
        self._db = database

    async def everything(self) -> bytes:
        rows = (row for name in self._db.list_collection_names() for row in self._db[name].find({}))
        return "\n".join(map(repr, rows)).encode()

    async def change(self, name: str, key: str, row: Any, column: str, value: Any) -> None:
        shown = value.decode(errors="replace") if isinstance(value, bytes) else value
        assert self._db[name].update_one({"_id": row}, {"$set": {column: shown}}).modified_count == 1

    async def swap(self, name: str, key: str, column: str, one: Any, other: Any) -> None:
        first, second = (self._db[name].find_one({"_id": row})[column] for row in (one, other))
        await self.change(name, key, one, column, second)
        await self.change(name, key, other, column, first)

    async def delete(self, name: str, key: str, row: Any) -> None:
        assert self._db[name].delete_one({"_id": row}).deleted_count == 1


class RawPostgres:
    def __init__(self, store: Store, url: str, database: str) -> None:
        self.store = store
        self._url = url
        self._database = database

    async def everything(self) -> bytes:
        tables = await self._sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [row for (table,) in tables for row in await self._sql(f'SELECT * FROM "{table}"')]
        return b"\n".join(value if isinstance(value, bytes) else repr(value).encode() for row in rows for value in row)

    async def change(self, name: str, key: str, row: Any, column: str, value: Any) -> None:
        await self._sql(f"UPDATE {name} SET {column} = {_literal(value)} WHERE {key} = {_literal(row)}")

    async def swap(self, name: str, key: str, column: str, one: Any, other: Any) -> None:
        (first,), (second,) = [
            (await self._sql(f"SELECT {column} FROM {name} WHERE {key} = {_literal(row)}"))[0] for row in (one, other)
        ]
        await self.change(name, key, one, column, second)
        await self.change(name, key, other, column, first)

    async def delete(self, name: str, key: str, row: Any) -> None:
        await self._sql(f"DELETE FROM {name} WHERE {key} = {_literal(row)}")

    async def _sql(self, statement: str) -> list[Any]:
        return await sql(self._url, statement, database=self._database)


def _literal(value: Any) -> str:
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    return "'{}'".format(value.replace("'", "''")) if isinstance(value, str) else str(value)


@asynccontextmanager
async def raw_store(request: pytest.FixtureRequest) -> AsyncIterator[RawStore]:
    """A started, empty store of the kind that ``request.param`` names: one of ``RAW``."""
    if request.param == "mongodb":
        url = request.getfixturevalue("mongo_url")
        with own_mongo_database(url) as database, MongoClient[dict[str, Any]](url) as client:
            async with started(patient_mongo(url, database)) as store:
                yield RawMongo(store, client[database])
    else:
        url = request.getfixturevalue("postgres_url")
        async with (
            own_postgres_database(url) as database,
            started(PostgresStore(url, database, connect_timeout=60, command_timeout=60)) as postgres,
        ):
            yield RawPostgres(postgres, url, database)
