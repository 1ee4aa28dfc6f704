"""The end of the chain, where records are put. Nothing that stands in the store or in a record stops it, but a store
that is away."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from contracts.audit import AuditCheckpoint, AuditEntry, AuditRecord, AuditResult
from services.auditor.checkpoints import SIGNER, Checkpoints
from services.runtime.audit_chain import BEFORE_THE_FIRST, append_records
from services.runtime.store.audit_documents import AlteredEntry
from services.runtime.store.base import Store, StoreError, StoreUnavailable

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500  # records
LOGGED_EVERY: Final = 60.0  # seconds


class ChainEnd:
    """``clock``: epoch seconds."""

    def __init__(self, store: Store, checkpoints: Checkpoints, clock: Callable[[], float]) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._clock = clock
        # The last entry, as far as this one knows; what it knows it need not read, and cannot be deceived about.
        self._last: AuditEntry | None = None
        self._signed_to: int | None = None
        self._logged_at = -LOGGED_EVERY

    async def append(self, records: Sequence[AuditRecord]) -> None:
        """Put those that are not in the log yet at its end, and sign how far it goes.

        Raises:
            StoreError: some may be in the log. To be called again with the same.
        """
        for first in range(0, len(records), AT_ONCE):
            await self._append_some(records[first : first + AT_ONCE])
        if self._last is not None and self._last.n != self._signed_to:
            await self._sign(self._last)

    async def _append_some(self, records: Sequence[AuditRecord]) -> None:
        try:
            await self._put(records)
        except StoreUnavailable:
            raise
        except (StoreError, ValueError) as error:
            log.error("records cannot be written together, so one by one", records=len(records), error=str(error))
            for record in records:
                await self._append_one(record)

    async def _append_one(self, record: AuditRecord) -> None:
        try:
            await self._put([record])
        except StoreUnavailable:
            raise
        except (StoreError, ValueError) as error:
            log.error("record cannot be written, so without what it says", record_id=record.id, error=str(error))
            bare = self._own("audit.record", AuditResult.FAILED, "a record that could not be written as it was")
            await self._put([bare.model_copy(update={"id": record.id})])

    async def _put(self, records: Sequence[AuditRecord]) -> None:
        known = self._last
        try:
            entries = await append_records(self._store, records, only_new=True, after=known)
            if known is not None and entries and entries[0].n != known.n + 1:
                entries += await self._note_others(known.n + 1, entries[0].n - 1, entries[-1])
            self._last = entries[-1] if entries else known or await self._store.last_audit()
        except StoreUnavailable:
            self._last = None  # what was sent may have landed
            raise
        except AlteredEntry as error:
            await self._go_on_after(error)
            await self._put(records)

    async def _go_on_after(self, error: AlteredEntry) -> None:
        """Whoever alters the end of the log must not stop it. What follows is linked to nothing; `audit verify` names
        the altered entry before it comes to that."""
        log.critical("THE AUDIT LOG WAS ALTERED", entry=error.n, error=str(error))
        note = self._own("audit.altered", AuditResult.FAILED, "it is not what was written", f"entry {error.n}")
        nothing = AuditEntry(n=error.n, record=note, previous=BEFORE_THE_FIRST, hash=BEFORE_THE_FIRST)
        self._last = (await append_records(self._store, [note], after=nothing))[-1]

    async def _note_others(self, first: int, last: int, end: AuditEntry) -> list[AuditEntry]:
        """Others may write: an operator's command, another auditor. That they did is on record, because whoever gets at
        the store could as well."""
        log.warning("others wrote to the audit log", first=first, last=last)
        detail = "written by an operator's command, by another auditor, or by whoever else can write to the store"
        note = self._own("audit.others_wrote", AuditResult.DONE, detail, f"entries {first} to {last}")
        return await append_records(self._store, [note], after=end)

    async def _sign(self, entry: AuditEntry) -> None:
        if self._signed_to is None:
            self._signed_to = await last_checkpoint(self._store, entry.n)
        checkpoint = self._checkpoints.of(entry, self._clock(), self._signed_to)
        if checkpoint is not None:
            await self._store.add_audit_checkpoint(checkpoint)
            self._log(checkpoint)
        self._signed_to = entry.n

    def _log(self, checkpoint: AuditCheckpoint) -> None:
        """As ``audit verify --expect`` takes it. Where logs are collected elsewhere, whoever holds the store does not
        reach this copy."""
        if time.monotonic() - self._logged_at >= LOGGED_EVERY:
            self._logged_at = time.monotonic()
            log.info("audit checkpoint", expect=f"{checkpoint.n}:{checkpoint.hash}")

    def _own(self, action: str, result: AuditResult, detail: str, subject: str = "") -> AuditRecord:
        now = self._clock()
        return AuditRecord(
            id=f"{SIGNER}/{action}/{subject}/{now!r}",
            at=now,
            actor=f"service:{SIGNER}",
            action=action,
            subject=subject,
            result=result,
            detail=detail,
        )


async def last_checkpoint(store: Store, upto: int) -> int:
    """The number of the latest checkpoint up to entry ``upto``; 0 if there is none.

    Raises:
        StoreError: as the store says.
    """
    reach = 1_000
    while True:
        after = max(0, upto - reach)
        found = [one.n for one in await store.read_audit_checkpoints(after, reach) if one.n <= upto]
        if found or after == 0:
            return found[-1] if found else 0
        reach *= 4
