"""Whoever can write to the store itself: edits the audit log past everything."""

from collections.abc import Iterable
from typing import Any, Protocol

import asyncpg
from pymongo import MongoClient

from contracts.audit import AuditCheckpoint, AuditEntry
from services.runtime.audit_chain import entry_hash
from services.runtime.store import audit_documents
from services.runtime.store.documents import Document
from tests.support.memory_store import MemoryStore


class Tamperer(Protocol):
    async def write(self, row: Document) -> None:
        """Put this over the entry of its number, if there is one; ``_id`` is the number."""
        ...

    async def delete(self, n: int) -> None: ...

    async def write_checkpoint(self, checkpoint: AuditCheckpoint) -> None: ...

    async def delete_checkpoint(self, n: int) -> None: ...


class MemoryTamperer:
    def __init__(self, store: MemoryStore) -> None:
        self._rows = store.rows

    async def write(self, row: Document) -> None:
        self._rows["audit"][row["_id"]] = row

    async def delete(self, n: int) -> None:
        self._rows["audit"].pop(n)  # type: ignore[call-overload]

    async def write_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        row = audit_documents.checkpoint_document(checkpoint)
        self._rows["audit_checkpoints"][row["_id"]] = row

    async def delete_checkpoint(self, n: int) -> None:
        self._rows["audit_checkpoints"].pop(n)  # type: ignore[call-overload]


class MongoTamperer:
    def __init__(self, url: str, database: str) -> None:
        self._url = url
        self._database = database

    async def write(self, row: Document) -> None:
        self._replace("audit", row)

    async def delete(self, n: int) -> None:
        self._delete("audit", n)

    async def write_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        self._replace("audit_checkpoints", audit_documents.checkpoint_document(checkpoint))

    async def delete_checkpoint(self, n: int) -> None:
        self._delete("audit_checkpoints", n)

    def _replace(self, collection: str, row: Document) -> None:
        with MongoClient[dict[str, Any]](self._url) as client:
            client[self._database][collection].replace_one({"_id": row["_id"]}, row, upsert=True)

    def _delete(self, collection: str, n: int) -> None:
        with MongoClient[dict[str, Any]](self._url) as client:
            assert client[self._database][collection].delete_one({"_id": n}).deleted_count == 1


class PostgresTamperer:
    def __init__(self, url: str, database: str) -> None:
        self._url = url
        self._database = database

    async def write(self, row: Document) -> None:
        names = ["n", *(name for name in row if name not in ("_id", "n"))]
        values = [row["_id"], *(row[name].encode() if name == "record" else row[name] for name in names[1:])]
        marks = ", ".join(f"${i}" for i in range(1, len(names) + 1))
        await self._run("DELETE FROM audit WHERE n = $1", row["_id"])
        await self._run(f"INSERT INTO audit ({', '.join(names)}) VALUES ({marks})", *values)

    async def delete(self, n: int) -> None:
        await self._run("DELETE FROM audit WHERE n = $1", n)

    async def write_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        json = audit_documents.checkpoint_json(checkpoint)
        await self._run("DELETE FROM audit_checkpoints WHERE n = $1", checkpoint.n)
        await self._run("INSERT INTO audit_checkpoints (n, checkpoint) VALUES ($1, $2)", checkpoint.n, json)

    async def delete_checkpoint(self, n: int) -> None:
        await self._run("DELETE FROM audit_checkpoints WHERE n = $1", n)

    async def _run(self, statement: str, *values: Any) -> None:
        connection = await asyncpg.connect(self._url, database=self._database)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()


def row_of(entry: AuditEntry, **fields: Any) -> Document:
    """What is stored of an entry, with ``fields`` of the row as they are given."""
    return {**audit_documents.entry_document(entry), **fields}


def rewritten(entry: AuditEntry, *, n: int | None = None, previous: str | None = None, **fields: Any) -> AuditEntry:
    """The entry with another number, link or record, and its hash made anew."""
    record = entry.record.model_copy(update=fields)
    number = entry.n if n is None else n
    link = entry.previous if previous is None else previous
    return AuditEntry(n=number, record=record, previous=link, hash=entry_hash(number, link, record))


def linked_anew(entries: Iterable[AuditEntry], n: int, previous: str) -> list[AuditEntry]:
    """The entries as if they had been written from number ``n`` on, behind ``previous``."""
    anew: list[AuditEntry] = []
    for entry in entries:
        anew.append(rewritten(entry, n=n, previous=previous))
        n, previous = n + 1, anew[-1].hash
    return anew
