"""The audit log's hash chain: how entries are linked, and how records are put at its end.

``hash`` of entry n is SHA-256, as 64 hexadecimal digits, over the UTF-8 bytes of three lines, joined by a line feed
and with none at the end: the number in decimal, the hash of entry n-1 (64 zeros before the first), and the record as
canonical JSON. That is RFC 8785: keys in order, no spaces, nothing escaped that need not be, a whole number without a
fraction. Fields at their default are left out, so that one which a later version adds changes no hash of before.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from contracts.audit import AuditEntry, AuditRecord
from services.runtime.store.base import Store

BEFORE_THE_FIRST = "0" * 64


def canonical(record: AuditRecord) -> str:
    """The record as the JSON text that is hashed.

    Raises:
        ValueError: its time is no finite number.
    """
    fields: dict[str, Any] = record.model_dump(mode="json", exclude_defaults=True)
    # A store may keep 5.0 as 5; both have to give the same text.
    fields["at"] = int(record.at) if record.at.is_integer() else record.at
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def entry_hash(n: int, previous: str, record: AuditRecord) -> str:
    """64 hexadecimal digits.

    Raises:
        ValueError: the record's time is no finite number.
    """
    return hashlib.sha256(f"{n}\n{previous}\n{canonical(record)}".encode()).hexdigest()


def link(previous: AuditEntry | None, records: Iterable[AuditRecord]) -> list[AuditEntry]:
    """The entries that these records become after ``previous`` (None: at the beginning of the chain)."""
    n, last = (0, BEFORE_THE_FIRST) if previous is None else (previous.n, previous.hash)
    entries = []
    for record in records:
        n += 1
        entry = AuditEntry(n=n, record=record, previous=last, hash=entry_hash(n, last, record))
        entries.append(entry)
        last = entry.hash
    return entries


async def append_records(
    store: Store, records: Sequence[AuditRecord], *, only_new: bool = False, after: AuditEntry | None = None
) -> list[AuditEntry]:
    """Put records at the end of the chain, in their order; the entries that they became, all of them durable.

    Several may write at once: whose number is taken reads on and links again, so the chain stays dense and whole.
    ``only_new`` leaves out records whose id is in the log, or stands in ``records`` before; each id then comes into the
    log once, whoever else brings it at the same time. ``after`` is the last entry that the caller knows of, and saves
    looking for it.

    Raises:
        StoreUnavailable: some may be in the log. Call again with ``only_new``.
    """
    waiting = list(_first_of_each(records) if only_new else records)
    appended: list[AuditEntry] = []
    while waiting:
        last = await store.last_audit() if after is None else after
        # Looked up after the end is known, not before: what another writer brings in between takes the number that
        # these records are to have, and the loop comes round again.
        if only_new:
            known = await store.has_audit([record.id for record in waiting])
            waiting = [record for record in waiting if record.id not in known]
        if entries := link(last, waiting):
            count = await store.append_audit(entries)
            appended += entries[:count]
            waiting = waiting[count:]
        after = None
    return appended


def _first_of_each(records: Sequence[AuditRecord]) -> Iterable[AuditRecord]:
    firsts: dict[str, AuditRecord] = {}
    for record in records:
        firsts.setdefault(record.id, record)
    return firsts.values()
