"""Which command has which correlation id. An answer names the command's id alone."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from contracts.audit import AuditRecord
from services.auditor.recording import command_of
from services.runtime.store.audit_documents import AlteredEntry
from services.runtime.store.base import Store

REMEMBERED: Final = 50_000  # commands; about 10 MB
_BACK: Final = 2_000  # entries of the log that are looked at for commands which another auditor recorded
_PAGE: Final = 500


class Questions:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._correlation: OrderedDict[str, str] = OrderedDict()
        self._read_to = 0

    def of(self, command_id: str) -> str | None:
        return self._correlation.get(command_id)

    def learn(self, records: Iterable[AuditRecord]) -> None:
        for record in records:
            if command_id := command_of(record):
                self._correlation[command_id] = record.correlation_id
        while len(self._correlation) > REMEMBERED:
            self._correlation.popitem(last=False)

    async def look_up(self) -> None:
        """Learn of the latest commands in the log that were not looked at before; entries that were altered are passed
        over.

        Raises:
            StoreUnavailable: the store is away.
        """
        try:
            last = await self._store.last_audit()
            end = 0 if last is None else last.n
        except AlteredEntry as error:
            end = error.n
        after = max(self._read_to, end - _BACK)
        while after < end:
            try:
                entries = await self._store.read_audit(after, _PAGE)
            except AlteredEntry as error:
                after = error.n
                continue
            if not entries:
                break
            self.learn(entry.record for entry in entries)
            after = entries[-1].n
        self._read_to = max(after, end)
