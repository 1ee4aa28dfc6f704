"""The audit log in PostgreSQL."""

from collections.abc import Collection, Sequence
from typing import Any

import asyncpg

from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter
from services.runtime.store import audit_documents
from services.runtime.store.audit_documents import FILTERED
from services.runtime.store.base import Page, StoreError
from services.runtime.store.postgres_pool import PostgresPart, Row
from services.runtime.store.postgres_statements import packed, unpacked

_COLUMNS = "n, record_id, actor, action, subject, result, correlation_id, at, record, previous, hash"
# Those before the first that is taken now, or none at all: one that is taken meanwhile undoes the whole statement.
APPEND_AUDIT = f"""
INSERT INTO audit ({_COLUMNS})
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[],
                     $9::bytea[], $10::text[], $11::text[]) AS given (n)
WHERE given.n < coalesce((SELECT min(n) FROM audit WHERE n = ANY ($1::bigint[])), 9223372036854775807)
RETURNING n
"""
LAST_AUDIT = f"SELECT {_COLUMNS} FROM audit ORDER BY n DESC LIMIT 1"
READ_AUDIT = f"SELECT {_COLUMNS} FROM audit WHERE n > $1 ORDER BY n LIMIT $2"
HAS_AUDIT = "SELECT record_id FROM audit WHERE record_id = ANY ($1::text[])"
ADD_CHECKPOINT = "INSERT INTO audit_checkpoints (n, checkpoint) VALUES ($1, $2) ON CONFLICT DO NOTHING"
READ_CHECKPOINTS = "SELECT n, checkpoint FROM audit_checkpoints WHERE n > $1 ORDER BY n LIMIT $2"


class PostgresAudit(PostgresPart):
    async def append_audit(self, entries: Sequence[AuditEntry]) -> int:
        rows = [_row(entry) for entry in entries]
        columns = [list(column) for column in zip(*rows, strict=True)]
        while rows:
            try:
                return len(await self._fetch("append to the audit log", APPEND_AUDIT, *columns))
            except StoreError as error:
                if not isinstance(error.__cause__, asyncpg.UniqueViolationError):
                    raise
                # Another writer's entry, which is there to be seen now.
        return 0

    async def last_audit(self) -> AuditEntry | None:
        rows = await self._fetch("read the end of the audit log", LAST_AUDIT)
        return _entry_of(rows[0]) if rows else None

    async def read_audit(self, after: int, limit: int) -> list[AuditEntry]:
        rows = await self._fetch("read the audit log", READ_AUDIT, after, limit)
        return audit_documents.until_altered(rows, _entry_of)

    async def has_audit(self, record_ids: Collection[str]) -> set[str]:
        if not record_ids:
            return set()
        rows = await self._fetch("look for audit records", HAS_AUDIT, [packed(key) for key in record_ids])
        return {unpacked(row[0]) for row in rows}

    async def list_audit(self, filter: AuditFilter, page: Page) -> tuple[list[AuditEntry], str | None]:
        statement, values = page_of_audit(filter, page)
        rows = await self._fetch("list the audit log", statement, *values)
        return audit_documents.shown([_entry_of(row) for row in rows], page)

    async def add_audit_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        value = audit_documents.checkpoint_json(checkpoint)
        await self._fetch("add an audit checkpoint", ADD_CHECKPOINT, checkpoint.n, value)

    async def read_audit_checkpoints(self, after: int, limit: int) -> list[AuditCheckpoint]:
        rows = await self._fetch("read audit checkpoints", READ_CHECKPOINTS, after, limit)
        return [audit_documents.checkpoint_of_json(row[0], row[1]) for row in rows]


def page_of_audit(filter: AuditFilter, page: Page) -> tuple[str, list[Any]]:
    """The statement, with its values, for a page and one entry more.

    Raises:
        BadCursor: ``page.after`` is no cursor of a list of audit entries.
    """
    asked: dict[str, Any] = {f"{name} =": packed(text) for name, text in audit_documents.asked(filter).items()}
    asked |= {"at >=": filter.since, "at <": filter.until, "n <": audit_documents.place_before(page)}
    given = {condition: value for condition, value in asked.items() if value is not None}
    conditions = " AND ".join(f"{condition} ${i}" for i, condition in enumerate(given, 1))
    where = f" WHERE {conditions}" if conditions else ""
    statement = f"SELECT {_COLUMNS} FROM audit{where} ORDER BY n DESC LIMIT ${len(given) + 1}"
    return statement, [*given.values(), page.limit + 1]


def _row(entry: AuditEntry) -> tuple[Any, ...]:
    document = audit_documents.entry_document(entry)
    return (
        document["n"],
        packed(document["record_id"]),
        *(packed(document[name]) for name in FILTERED),
        document["at"],
        document["record"].encode(),
        document["previous"],
        document["hash"],
    )


def _entry_of(row: Row) -> AuditEntry:
    document = dict(row)
    document["_id"] = document["n"]
    for name in ("record_id", *FILTERED):
        document[name] = unpacked(document[name])
    try:
        document["record"] = document["record"].decode()
    except UnicodeDecodeError as error:
        raise audit_documents.AlteredEntry(document["n"], "what is stored is no entry") from error
    return audit_documents.entry_of(document)
