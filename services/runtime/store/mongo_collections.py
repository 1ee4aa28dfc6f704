"""Documents in and out of MongoDB's collections, in the few ways that the store needs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from services.runtime.store.base import Page, StoreError
from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.documents import Document
from services.runtime.store.mongo_errors import duplicates, translated

# MongoDB would take thousands, but the embedded store compares each document found with each id asked for.
_IDS_PER_FIND = 64


class Collections:
    """The collections of one database, by name. Every method raises StoreError or StoreUnavailable where it fails.

    Args:
        database: the driver's database, with its read and write concerns.
        ready: awaited before every operation; returns when the collections are there.
    """

    def __init__(self, database: Any, ready: Callable[[], Awaitable[None]]) -> None:
        self._db = database
        self._ready = ready

    async def ping(self) -> None:
        await self._ready()
        with translated("ping"):
            await self._db.command("ping")

    async def insert(self, name: str, rows: list[Document]) -> set[int]:
        """Insert in one round trip; returns the positions of those whose id was taken."""
        if not rows:
            return set()
        await self._ready()
        with translated(f"insert into {name}"):
            try:
                await self._db[name].insert_many(rows, ordered=False)
            except BulkWriteError as error:
                return duplicates(error)
        return set()

    async def insert_until_taken(self, name: str, rows: list[Document]) -> int:
        """Insert in this order, in one round trip, up to the first whose id is taken; returns how many were."""
        if not rows:
            return 0
        await self._ready()
        with translated(f"insert into {name}"):
            try:
                await self._db[name].insert_many(rows, ordered=True)
            except BulkWriteError as error:
                return min(duplicates(error))
        return len(rows)

    async def write_newer(self, name: str, version: str, rows: list[Document]) -> None:
        """Write each document over one whose ``version`` is lower or equal, or where there is none.

        A first version is inserted, not upserted: the embedded store takes all inserts in one transaction.
        """
        behind = await self._bulk(
            name, [InsertOne(row) if row[version] == 1 else _replace_older(row, version, upsert=True) for row in rows]
        )
        # A taken id means that a newer version is there, or that another writer put an older one there at the same
        # moment. A replace that does not insert tells the two apart.
        await self._bulk(name, [_replace_older(rows[i], version, upsert=False) for i in sorted(behind)])

    async def write(self, name: str, row: Document) -> None:
        """Write over whatever is there."""
        # A taken id means that another writer inserted it at the same moment; now it is there to be written over.
        while await self._bulk(name, [ReplaceOne({"_id": row["_id"]}, row, upsert=True)]):
            pass

    async def overwrite(self, name: str, row: Document) -> bool:
        """Write over the document of that id; False if there is none."""
        await self._ready()
        with translated(f"write {name}"):
            result = await self._db[name].replace_one({"_id": row["_id"]}, row)
        return bool(result.matched_count)

    async def change(self, name: str, key: str, fields: Document) -> bool:
        """Write these fields of a document and leave the others; False if there is no document."""
        await self._ready()
        with translated(f"write {name}"):
            result = await self._db[name].update_one({"_id": key}, {"$set": fields})
        return bool(result.matched_count)

    async def _bulk(self, name: str, operations: Sequence[InsertOne[Document] | ReplaceOne[Document]]) -> set[int]:
        if not operations:
            return set()
        await self._ready()
        with translated(f"write {name}"):
            try:
                await self._db[name].bulk_write(operations, ordered=False)
            except BulkWriteError as error:
                return duplicates(error)
        return set()

    async def delete(self, name: str, key: str) -> bool:
        await self._ready()
        with translated(f"delete from {name}"):
            result = await self._db[name].delete_one({"_id": key})
        return bool(result.deleted_count)

    async def get(self, name: str, key: str) -> Document | None:
        return (await self.by_ids(name, [key])).get(key)

    async def by_ids(self, name: str, ids: Iterable[str]) -> dict[str, Document]:
        """Those that exist, by id, in a few round trips side by side."""
        wanted = list(dict.fromkeys(ids))
        parts = [wanted[i : i + _IDS_PER_FIND] for i in range(0, len(wanted), _IDS_PER_FIND)]
        answers = await asyncio.gather(*(self.find(name, {"_id": {"$in": part}}) for part in parts))
        return {row["_id"]: row for rows in answers for row in rows}

    async def find(
        self,
        name: str,
        query: Document,
        *,
        order: list[tuple[str, int]] | None = None,
        limit: int = 0,
        fields: Sequence[str] | None = None,
    ) -> list[Document]:
        """Those that match; of ``fields`` only their ids and those, 0 is no limit."""
        await self._ready()
        with translated(f"read {name}"):
            rows: list[Document] = await self._db[name].find(query, fields, sort=order, limit=limit).to_list(None)
        return rows

    async def values_found(self, name: str, field: str, wanted: Iterable[str]) -> set[str]:
        """Those of the values that a document has in this field."""
        values = list(dict.fromkeys(wanted))
        parts = [values[i : i + _IDS_PER_FIND] for i in range(0, len(values), _IDS_PER_FIND)]
        answers = await asyncio.gather(*(self.find(name, {field: {"$in": part}}, fields=[field]) for part in parts))
        return {row[field] for rows in answers for row in rows}

    async def by_id_order(self, name: str, query: Document, limit: int = 0) -> list[Document]:
        """Those that match, by id; 0 is no limit."""
        return await self.find(name, query, order=[("_id", ASCENDING)], limit=limit)

    async def count(self, name: str, query: Document, limit: int | None = None) -> int:
        """How many match, at most ``limit`` (1 or more)."""
        await self._ready()
        with translated(f"count {name}"):
            return int(await self._db[name].count_documents(query, **({} if limit is None else {"limit": limit})))

    async def page(
        self,
        name: str,
        match: Document,
        at: str,
        page: Page,
        *,
        kind: str,
        since: float | None = None,
        until: float | None = None,
        latest_first: bool = True,
        fields: Sequence[str] | None = None,
    ) -> tuple[list[Document], str | None]:
        """A page of what matches with ``since <= at < until``, ordered by the time ``at`` and then by id, and the
        cursor of the next.

        Raises:
            BadCursor: ``page.after`` is no cursor of this ``kind`` of list.
        """
        last = decode_cursor(kind, page.after)
        direction = DESCENDING if latest_first else ASCENDING
        rows: list[Document] = []
        for query in _ranges(match, at, last, since, until, "$lt" if latest_first else "$gt"):
            wanted = page.limit + 1 - len(rows)
            order = [(at, direction), ("_id", direction)]
            rows += await self.find(name, query, order=order, limit=wanted, fields=fields)
            if len(rows) > page.limit:
                shown = rows[: page.limit]
                return shown, Cursor(kind, shown[-1][at], shown[-1]["_id"]).encode()
        return rows, None

    async def page_by_id(
        self, name: str, match: Document, page: Page, *, kind: str, among: Collection[str] | None = None
    ) -> tuple[list[Document], str | None]:
        """A page of what matches, by id, and the cursor of the next; ``among`` are the ids that may be in it.

        Raises:
            BadCursor: ``page.after`` is no cursor of this ``kind`` of list.
        """
        last = decode_cursor(kind, page.after)
        rows: list[Document] = []
        for ids in _id_ranges(None if last is None else last.id, among):
            rows += await self.by_id_order(name, {**match, **ids}, page.limit + 1 - len(rows))
            if len(rows) > page.limit:
                shown = rows[: page.limit]
                return shown, Cursor(kind, 0.0, shown[-1]["_id"]).encode()
        return rows, None


class MongoPart:
    """What every part of the store stands on: the collections, once the store is started."""

    _collections: Collections | None = None

    @property
    def _stored(self) -> Collections:
        if self._collections is None:
            raise StoreError("the store is not started")
        return self._collections


def _id_ranges(last: str | None, among: Collection[str] | None) -> Iterable[Document]:
    """Conditions on the id, of which each finds what comes after what the one before found."""
    if among is None:
        yield {} if last is None else {"_id": {"$gt": last}}
        return
    wanted = sorted(key for key in set(among) if last is None or key > last)
    for i in range(0, len(wanted), _IDS_PER_FIND):
        yield {"_id": {"$in": wanted[i : i + _IDS_PER_FIND]}}


def _ranges(
    match: Document, at: str, last: Cursor | None, since: float | None, until: float | None, beyond: str
) -> list[Document]:
    """What is still to come, in order, as plain ranges that are read from an index: the rows of the cursor's own
    moment, then those of all moments beyond it."""
    limits = {operator: value for operator, value in (("$gte", since), ("$lt", until)) if value is not None}
    if last is None:
        return [{**match, at: limits} if limits else match]
    tighter = min if beyond == "$lt" else max
    rest = {**match, at: {**limits, beyond: tighter(limits.get(beyond, last.at), last.at)}}
    if (since is not None and last.at < since) or (until is not None and last.at >= until):
        return [rest]
    return [{**match, at: last.at, "_id": {beyond: last.id}}, rest]


def _replace_older(row: Document, version: str, *, upsert: bool) -> ReplaceOne[Document]:
    return ReplaceOne({"_id": row["_id"], version: {"$lte": row[version]}}, row, upsert=upsert)
