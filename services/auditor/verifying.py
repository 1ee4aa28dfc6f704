"""Walks the audit log and says what is wrong with it, if anything.

Three things have to fit: each entry to its own hash, each to the one before it, and the chain to the checkpoints that
the auditor signed. The first fault of an entry ends the walk: behind it nothing is sure.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from joserfc.jwk import OKPKey

from contracts.audit import AuditCheckpoint, AuditEntry
from services.auditor import checkpoints as signing
from services.auditor.findings import Finding, Kind, Report
from services.runtime.audit_chain import BEFORE_THE_FIRST, entry_hash
from services.runtime.store.audit_documents import AlteredEntry
from services.runtime.store.base import Store

PAGE: Final = 1_000
_REMEMBERED: Final = 100_000  # numbers of checkpoints
_MOVED_BY: Final = 1_000  # places that an entry is looked for to have been moved by


@dataclass(frozen=True, slots=True)
class TrustedSigner:
    """A public key of the auditor's; ``until`` (epoch seconds) bounds the checkpoints that it may have signed."""

    key: OKPKey
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """What somebody vouches for: that entry ``n`` has this hash, and that a checkpoint at ``previous`` was there."""

    n: int
    hash: str
    who: str
    signed: bool = False
    previous: int = 0


async def verify(
    store: Store,
    signers: Mapping[str, TrustedSigner],
    *,
    expected: Mapping[int, str] | None = None,
    progress: Callable[[int], None] = lambda n: None,
) -> Report:
    """
    Args:
        signers: the auditor's keys, by key id.
        expected: hashes of entries, by their numbers, that were kept elsewhere.
        progress: is called with the number of the entry that was come to, every now and then.

    Raises:
        StoreError: the store is away, or fails otherwise.
    """
    return await _Walk(store, signers, expected or {}, progress).done()


class _Walk:
    def __init__(
        self,
        store: Store,
        signers: Mapping[str, TrustedSigner],
        expected: Mapping[int, str],
        progress: Callable[[int], None],
    ) -> None:
        self._store = store
        self._signers = signers
        self._expected = expected
        self._progress = progress
        self._report = Report(signer_known=bool(signers))
        self._last: AuditEntry | None = None
        self._seen: dict[int, None] = {}  # numbers of the latest checkpoints
        self._vouchers = self._all_vouchers()
        self._vouched: Vouched | None = None

    async def done(self) -> Report:
        self._vouched = await anext(self._vouchers, None)
        # A checkpoint is written after its entry, so while the auditor writes there may be entries to come to.
        while await self._walk_on() and self._vouched is not None and self._report.entry_fault is None:
            continue
        if self._vouched is not None and self._report.entry_fault is None:
            last = [self._vouched, *[vouched async for vouched in self._vouchers]][-1]
            what = f"removed from the end: {last.who} says that there were as many"
            self._report.entry_fault = _finding(Kind.REMOVED, self._report.end + 1, last.n, what)
        return self._report

    async def _walk_on(self) -> bool:
        """To the end of the log or to the first fault; whether there was anything to read."""
        report, began_at = self._report, self._report.end
        try:
            async for entry in self._entries(began_at):
                report.entry_fault = await self._fault_of(entry, self._last)
                if report.entry_fault is not None:
                    break
                report.entries += 1
                report.end, report.end_hash = entry.n, entry.hash
                self._last = entry
        except AlteredEntry as error:
            report.entry_fault = self._altered(error)
        return report.end > began_at

    # ---- entries

    async def _entries(self, after: int) -> AsyncIterator[AuditEntry]:
        while entries := await self._store.read_audit(after, PAGE):
            for entry in entries:
                yield entry
            after = entries[-1].n
            self._progress(after)

    async def _fault_of(self, entry: AuditEntry, previous: AuditEntry | None) -> Finding | None:
        expected = 1 if previous is None else previous.n + 1
        link = BEFORE_THE_FIRST if previous is None else previous.hash
        if entry.n != expected:
            return _finding(Kind.REMOVED, expected, entry.n - 1, "missing")
        if entry_hash(entry.n, entry.previous, entry.record) != entry.hash:
            return await self._misplaced(entry) or _finding(
                Kind.ALTERED, entry.n, entry.n, "not what the hash of it is over"
            )
        if entry.previous != link:
            return await self._badly_linked(entry)
        while self._vouched is not None and self._vouched.n == entry.n:
            if self._vouched.hash != entry.hash:
                return self._rewritten(entry.n, f"{self._vouched.who} says that its hash was another")
            await self._go_past(self._vouched)
        return None

    def _altered(self, error: AlteredEntry) -> Finding:
        expected = self._report.end + 1
        if error.n != expected:
            return _finding(Kind.REMOVED, expected, int(error.n) - 1, "missing")
        return _finding(Kind.ALTERED, error.n, error.n, f"not as it was written ({error})")

    async def _misplaced(self, entry: AuditEntry) -> Finding | None:
        """An entry that is whole, but was written under another number."""
        for by in range(1, _MOVED_BY):
            for true_n in (entry.n - by, entry.n + by):
                if true_n < 1 or entry_hash(true_n, entry.previous, entry.record) != entry.hash:
                    continue
                if true_n < entry.n:
                    return _finding(Kind.PUT_IN, true_n, entry.n - 1, f"put in: entry {entry.n} was entry {true_n}")
                if await self._stands_at(true_n, entry.n):
                    text = f"Entry {entry.n} was moved: it was entry {true_n}, and that one stands in another place."
                    return Finding(Kind.MOVED, entry.n, true_n, text)
                what = f"missing, and those behind were given their numbers: entry {entry.n} was entry {true_n}"
                return _finding(Kind.REMOVED, entry.n, true_n - 1, what)
        return None

    async def _stands_at(self, n: int, true_n: int) -> bool:
        """Whether the entry that stands at ``n`` was written as ``true_n``."""
        found = await self._store.read_audit(n - 1, 1)
        return bool(found) and entry_hash(true_n, found[0].previous, found[0].record) == found[0].hash

    async def _badly_linked(self, entry: AuditEntry) -> Finding:
        """Each of two neighbours fits its own hash, but they do not fit each other. Which of them is false, the next
        checkpoint tells: the auditor's vouch for all that leads to them."""
        if entry.n == 1:
            return _finding(Kind.PUT_IN, 1, 1, "put in or rewritten: the first entry is linked to one before it")
        before = entry.n - 1
        unlike = f"entry {entry.n} is linked to another than stands before it"
        if self._report.signed_to == before:
            return _finding(Kind.PUT_IN, entry.n, entry.n, f"put in or rewritten: {unlike}, which is as it was signed")
        return self._rewritten(before, unlike)

    def _rewritten(self, upto: int, why: str) -> Finding:
        first = self._report.signed_to + 1
        if first == upto:
            return Finding(Kind.REWRITTEN, upto, upto, f"Entry {upto} was rewritten or put in, with its hash: {why}.")
        text = (
            f"Entries were rewritten, put in or removed, and their hashes made anew: {why}. The first of them is one of"
            f" entries {first} to {upto}."
        )
        return Finding(Kind.REWRITTEN, first, upto, text)

    # ---- checkpoints

    async def _all_vouchers(self) -> AsyncIterator[Vouched]:
        """What genuine checkpoints say, and what the caller expects, by number."""
        expected = [
            Vouched(n, digest, f"the hash of entry {n} that was kept elsewhere")
            for n, digest in sorted(self._expected.items())
        ]
        after = 0
        while found := await self._store.read_audit_checkpoints(after, PAGE):
            for checkpoint in found:
                while expected and expected[0].n <= checkpoint.n:
                    yield expected.pop(0)
                self._remember(checkpoint.n)
                if (genuine := self._genuine(checkpoint)) is not None:
                    yield genuine
            after = found[-1].n
        for one in expected:
            yield one

    def _remember(self, n: int) -> None:
        self._seen[n] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _genuine(self, checkpoint: AuditCheckpoint) -> Vouched | None:
        if not self._signers:
            return None
        try:
            said = self._checked(checkpoint)
        except signing.NoCheckpoint as error:
            text = f"The checkpoint at entry {checkpoint.n} is forged or altered: {error}."
            self._report.add(Finding(Kind.BAD_CHECKPOINT, checkpoint.n, checkpoint.n, text))
            return None
        return Vouched(said.n, said.hash, f"the checkpoint at entry {said.n}", True, said.previous)

    def _checked(self, checkpoint: AuditCheckpoint) -> signing.SignedCheckpoint:
        """What the auditor signed.

        Raises:
            NoCheckpoint: it did not, or not this.
        """
        said = signing.read(checkpoint.signature)
        signer = self._signers.get(said.key_id)
        if signer is None:
            raise signing.NoCheckpoint(f"key {said.key_id!r} is not trusted as the auditor's")
        if not signing.verify(checkpoint.signature, signer.key):
            raise signing.NoCheckpoint(f"its signature is not of key {said.key_id!r}")
        if signer.until is not None and said.at > signer.until:
            raise signing.NoCheckpoint(f"key {said.key_id!r} was not valid any more when it was signed")
        if (said.n, said.hash, said.at) != (checkpoint.n, checkpoint.hash, checkpoint.at):
            raise signing.NoCheckpoint("what is signed is not what stands beside it")
        return said

    async def _go_past(self, vouched: Vouched) -> None:
        """A checkpoint that was come to, and agrees."""
        report = self._report
        report.signed_to = vouched.n
        report.checkpoints += vouched.signed
        if vouched.previous and vouched.previous not in self._seen:
            text = (
                f"The checkpoint at entry {vouched.previous} is missing: the one at {vouched.n} says that it was there."
            )
            report.add(Finding(Kind.LOST_CHECKPOINT, vouched.previous, vouched.previous, text))
        self._vouched = await anext(self._vouchers, None)


def _finding(kind: Kind, first: int, last: int, what: str) -> Finding:
    which = f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
    return Finding(kind, first, last, f"{which} {what}.")
