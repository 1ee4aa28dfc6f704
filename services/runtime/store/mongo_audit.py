"""The audit log in MongoDB. The id of an entry is its number.

Nothing here asks for the beginning or the end of an order alone: the embedded store (SecantusDB 0.7.0b3) sorts all that
matches for that, the whole log, where MongoDB reads one entry of an index. Numbers are dense, so all is asked in ranges
of them.
"""

from collections.abc import Collection, Iterable, Sequence

from pymongo import ASCENDING, DESCENDING

from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter
from services.runtime.store import audit_documents
from services.runtime.store.base import Page
from services.runtime.store.documents import Document
from services.runtime.store.mongo_collections import MongoPart

_FORWARD = [("n", ASCENDING)]
_BACKWARD = [("n", DESCENDING)]
_PROBES = 64
_LARGEST_POWER = 62
_WINDOW_GROWTH = 8


class MongoAudit(MongoPart):
    _audit_seen = 0  # a number at or below that of the last entry

    async def append_audit(self, entries: Sequence[AuditEntry]) -> int:
        rows = [audit_documents.entry_document(entry) for entry in entries]
        count = await self._stored.insert_until_taken("audit", rows)
        if count:
            self._audit_seen = max(self._audit_seen, entries[count - 1].n)
        return count

    async def last_audit(self) -> AuditEntry | None:
        row = await self._last_row()
        return None if row is None else audit_documents.entry_of(row)

    async def read_audit(self, after: int, limit: int) -> list[AuditEntry]:
        window = {"$gt": after, "$lte": after + limit}
        rows = await self._stored.find("audit", {"n": window}, order=_FORWARD)
        if len(rows) < limit:
            rest = limit - len(rows)
            rows += await self._stored.find("audit", {"n": {"$gt": after + limit}}, order=_FORWARD, limit=rest)
        return audit_documents.until_altered(rows[:limit], audit_documents.entry_of)

    async def has_audit(self, record_ids: Collection[str]) -> set[str]:
        return await self._stored.values_found("audit", "record_id", record_ids)

    async def list_audit(self, filter: AuditFilter, page: Page) -> tuple[list[AuditEntry], str | None]:
        query: Document = {**audit_documents.asked(filter)}
        if times := {op: at for op, at in (("$gte", filter.since), ("$lt", filter.until)) if at is not None}:
            query["at"] = times
        before = audit_documents.place_before(page)
        if before is None:
            last = await self._last_row()
            before = 1 if last is None else last["n"] + 1
        rows: list[Document] = []
        width = 2 * (page.limit + 1)
        while before > 1 and len(rows) <= page.limit:
            window = {"$gte": max(1, before - width), "$lt": before}
            wanted = page.limit + 1 - len(rows)
            rows += await self._stored.find("audit", {**query, "n": window}, order=_BACKWARD, limit=wanted)
            before, width = window["$gte"], width * _WINDOW_GROWTH
        return audit_documents.shown([audit_documents.entry_of(row) for row in rows], page)

    async def add_audit_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        await self._stored.insert("audit_checkpoints", [audit_documents.checkpoint_document(checkpoint)])

    async def read_audit_checkpoints(self, after: int, limit: int) -> list[AuditCheckpoint]:
        rows = await self._stored.by_id_order("audit_checkpoints", {"_id": {"$gt": after}}, limit)
        return [audit_documents.checkpoint_of(row) for row in rows]

    async def _last_row(self) -> Document | None:
        if not self._audit_seen:
            self._audit_seen = await self._some_late_number()
        rows = await self._stored.find("audit", {"n": {"$gte": self._audit_seen}}, order=_BACKWARD, limit=1)
        if not rows:  # what was seen is gone
            rows = await self._stored.find("audit", {"n": {"$gte": 1}}, order=_BACKWARD, limit=1)
        self._audit_seen = rows[0]["n"] if rows else 0
        return rows[0] if rows else None

    async def _some_late_number(self) -> int:
        """That of the last entry, where none has been removed; 0 if none is found."""
        late = await self._latest_of(1 << power for power in range(_LARGEST_POWER))
        step = late
        while step > 1:
            step = -(-step // _PROBES)
            late = max(late, await self._latest_of(late + step * i for i in range(1, _PROBES)))
        return late

    async def _latest_of(self, numbers: Iterable[int]) -> int:
        rows = await self._stored.find("audit", {"_id": {"$in": list(numbers)}}, fields=["_id"])
        return max((row["_id"] for row in rows), default=0)
