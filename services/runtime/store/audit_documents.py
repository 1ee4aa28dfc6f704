"""How the audit log is written, whatever the database.

The record of an entry is kept as the very text that its hash is over (``audit_chain.canonical``), and what is filtered
by stands beside it in fields of its own. An entry of which any of that is not what the text says was altered, and is
not shown: what is verified is what is stored.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter, AuditRecord
from services.runtime.audit_chain import canonical
from services.runtime.store.base import BadCursor, Page, StoreError, Unstorable
from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.documents import Document, model_json, parsed

R = TypeVar("R")

KIND = "audit entries"
FILTERED = ("actor", "action", "subject", "result", "correlation_id")
INDEXED = ("actor", "subject", "correlation_id")


class AlteredEntry(StoreError):
    """What is stored as entry ``n`` was not written like this."""

    def __init__(self, n: int, fault: str) -> None:
        super().__init__(f"audit entry {n} was altered in the store: {fault}")
        self.n = n


def entry_document(entry: AuditEntry) -> Document:
    """``n`` stands there twice: a database may know no order of its ids.

    Raises:
        Unstorable: its time is no finite number.
    """
    record = entry.record
    try:
        text = canonical(record)
    except ValueError as error:
        raise Unstorable(f"audit record {record.id} cannot be written as JSON: {error}") from error
    return {
        "_id": entry.n,
        "n": entry.n,
        "record_id": record.id,
        **{name: str(getattr(record, name)) for name in FILTERED},
        "at": record.at,
        "record": text,
        "previous": entry.previous,
        "hash": entry.hash,
    }


def entry_of(document: Mapping[str, Any]) -> AuditEntry:
    """
    Raises:
        AlteredEntry: it is not what ``entry_document`` makes of an entry.
    """
    n = document["_id"]
    try:
        record = AuditRecord.model_validate_json(document["record"])
        entry = AuditEntry(n=n, record=record, previous=document["previous"], hash=document["hash"])
        as_written = entry_document(entry)
    except (KeyError, TypeError, ValidationError, Unstorable) as error:
        raise AlteredEntry(n, "what is stored is no entry") from error
    for name in sorted(as_written.keys() | document.keys()):
        if name not in document or name not in as_written or document[name] != as_written[name]:
            raise AlteredEntry(n, f"{name} does not go with its record")
    return entry


def until_altered(rows: Iterable[R], entry: Callable[[R], AuditEntry]) -> list[AuditEntry]:
    """The entries before the first that was altered, so that a reader of the chain comes to each in its turn.

    Raises:
        AlteredEntry: it is the first of all.
    """
    entries: list[AuditEntry] = []
    for row in rows:
        try:
            entries.append(entry(row))
        except AlteredEntry:
            if not entries:
                raise
            break
    return entries


def asked(filter: AuditFilter) -> dict[str, str]:
    """The fields that must have a value, and that value."""
    return {name: str(value) for name in FILTERED if (value := getattr(filter, name)) is not None}


def place_before(page: Page) -> int | None:
    """The number below which the page begins; None for the end of the log.

    Raises:
        BadCursor: ``page.after`` is no cursor of a list of audit entries.
    """
    last = decode_cursor(KIND, page.after)
    if last is None:
        return None
    if not (last.id.isascii() and last.id.isdigit() and len(last.id) <= 18):
        raise BadCursor(f"{page.after!r} is not a cursor of {KIND}")
    return int(last.id)


def shown(entries: list[AuditEntry], page: Page) -> tuple[list[AuditEntry], str | None]:
    """A page of entries of which one more than the page holds was read, and the cursor of the next page."""
    if len(entries) <= page.limit:
        return entries, None
    return entries[: page.limit], Cursor(KIND, 0.0, str(entries[page.limit - 1].n)).encode()


def checkpoint_json(checkpoint: AuditCheckpoint) -> bytes:
    return model_json("audit checkpoint", str(checkpoint.n), checkpoint)


def checkpoint_document(checkpoint: AuditCheckpoint) -> Document:
    return {"_id": checkpoint.n, "checkpoint": checkpoint_json(checkpoint).decode()}


def checkpoint_of_json(n: int, json: bytes | str) -> AuditCheckpoint:
    """One that was altered so that it is none any more comes without a signature: it vouches for nothing, and whoever
    verifies the log says so."""
    try:
        checkpoint = parsed(AuditCheckpoint, "audit checkpoint", str(n), json)
    except StoreError:
        return AuditCheckpoint(n=n, hash="", at=0.0, signature="")
    return checkpoint if checkpoint.n == n else checkpoint.model_copy(update={"n": n, "signature": ""})


def checkpoint_of(document: Mapping[str, Any]) -> AuditCheckpoint:
    return checkpoint_of_json(document["_id"], document["checkpoint"])
