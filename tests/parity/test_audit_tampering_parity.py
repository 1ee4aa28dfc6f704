"""Everything that can be done to the audit log by whoever can write to the store, and what ``audit verify`` says of it,
over the store in memory, MongoDB's protocol and PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.audit import AuditCheckpoint, AuditEntry
from services.auditor import checkpoints
from services.auditor.appending import ChainEnd
from services.auditor.audit_command import trusted_signers
from services.auditor.checkpoints import Checkpoints
from services.auditor.findings import Kind, Report
from services.auditor.verifying import TrustedSigner, verify
from services.runtime.security.signing_keys import SigningKeys
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.postgres import PostgresStore
from tests.support.audit_tampering import (
    MemoryTamperer,
    MongoTamperer,
    PostgresTamperer,
    Tamperer,
    linked_anew,
    rewritten,
    row_of,
)
from tests.support.memory_store import MemoryStore
from tests.support.mongo import own_mongo_database
from tests.support.postgres import own_postgres_database
from tests.support.signing import add_key
from tests.support.store_operations import record
from tests.support.stores import STORES, patient_mongo, started

BATCHES = 5
IN_A_BATCH = 4  # so entries 1 to 20, and checkpoints at 4, 8, 12, 16 and 20
END = BATCHES * IN_A_BATCH


@dataclass
class Log:
    """A log of 20 entries with five checkpoints, and the one who gets at it."""

    store: Store
    tamperer: Tamperer
    keys: Path
    signers: dict[str, TrustedSigner]

    async def entries(self) -> list[AuditEntry]:
        return await self.store.read_audit(0, 100)

    async def entry(self, n: int) -> AuditEntry:
        return (await self.store.read_audit(n - 1, 1))[0]

    async def checkpoints(self) -> list[AuditCheckpoint]:
        return await self.store.read_audit_checkpoints(0, 100)

    async def write(self, *entries: AuditEntry) -> None:
        for entry in entries:
            await self.tamperer.write(row_of(entry))

    async def verified(self, **options: Any) -> Report:
        return await verify(self.store, self.signers, **options)

    async def found(self, **options: Any) -> tuple[Kind, int, int]:
        report = await self.verified(**options)
        assert report.entry_fault is not None
        assert not report.whole
        return report.entry_fault.kind, report.entry_fault.first, report.entry_fault.last


@pytest.fixture(params=STORES)
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    add_key(tmp_path, "auditor")
    signers = trusted_signers(None, Settings(message_keys=tmp_path))
    if request.param == "memory":
        memory = MemoryStore()
        yield await _filled(Log(memory, MemoryTamperer(memory), tmp_path, signers))
    elif request.param == "mongodb":
        url = request.getfixturevalue("mongo_url")
        with own_mongo_database(url) as database:
            async with started(patient_mongo(url, database)) as mongo:
                yield await _filled(Log(mongo, MongoTamperer(url, database), tmp_path, signers))
    else:
        url = request.getfixturevalue("postgres_url")
        async with (
            own_postgres_database(url) as database,
            started(PostgresStore(url, database, connect_timeout=60, command_timeout=60)) as postgres,
        ):
            yield await _filled(Log(postgres, PostgresTamperer(url, database), tmp_path, signers))


async def _filled(log: Log) -> Log:
    end = ChainEnd(log.store, Checkpoints(SigningKeys(log.keys, "auditor")), lambda: 1_700_000_000.5)
    for batch in range(BATCHES):
        await end.append([record(f"{batch}-{i}", subject=f"s{batch}{i}") for i in range(IN_A_BATCH)])
    return log


async def test_a_log_as_it_was_written_is_whole(log: Log) -> None:
    report = await log.verified()
    assert report.whole
    assert (report.entries, report.end, report.checkpoints, report.signed_to) == (END, END, BATCHES, END)
    assert report.end_hash == (await log.entry(END)).hash
    assert "is whole: 20 entries read." in report.lines()[0]
    assert "Signed up to entry 20 by 5 checkpoints." in report.lines()


# ---- altered


async def test_an_altered_record(log: Log) -> None:
    entry = await log.entry(10)
    other = entry.model_copy(update={"record": entry.record.model_copy(update={"actor": "key:innocent"})})
    await log.write(other)
    assert await log.found() == (Kind.ALTERED, 10, 10)


@pytest.mark.parametrize("field", ["actor", "subject", "result", "record_id", "correlation_id"])
async def test_an_altered_field_beside_the_record(log: Log, field: str) -> None:
    """The list is filtered by it, so it would hide the entry though its hash fits."""
    await log.tamperer.write(row_of(await log.entry(10), **{field: "other"}))
    assert await log.found() == (Kind.ALTERED, 10, 10)


async def test_a_record_that_is_none_any_more(log: Log) -> None:
    await log.tamperer.write(row_of(await log.entry(10), record="{"))
    assert await log.found() == (Kind.ALTERED, 10, 10)


@pytest.mark.parametrize("n", [1, 10, END])
async def test_an_altered_hash(log: Log, n: int) -> None:
    await log.write((await log.entry(n)).model_copy(update={"hash": "f" * 64}))
    assert await log.found() == (Kind.ALTERED, n, n)


# ---- rewritten


async def test_a_record_altered_with_its_own_hash_made_anew(log: Log) -> None:
    await log.write(rewritten(await log.entry(10), actor="key:innocent"))
    assert await log.found() == (Kind.REWRITTEN, 9, 10)


async def test_the_only_entry_that_can_have_been_rewritten_is_named(log: Log) -> None:
    await log.write(rewritten(await log.entry(9), actor="key:innocent"))
    assert await log.found() == (Kind.REWRITTEN, 9, 9)


async def test_the_whole_rest_rewritten(log: Log) -> None:
    before, *rest = (await log.entries())[8:]
    changed = rewritten(before, actor="key:innocent")
    await log.write(changed, *linked_anew(rest, 10, changed.hash))
    assert await log.found() == (Kind.REWRITTEN, 9, 12)


async def test_the_last_entry_rewritten(log: Log) -> None:
    await log.write(rewritten(await log.entry(END), actor="key:innocent"))
    assert await log.found() == (Kind.REWRITTEN, 17, 20)


async def test_everything_rewritten_and_every_later_checkpoint_removed(log: Log) -> None:
    """Nothing in the store tells, which is said; what was kept elsewhere does."""
    kept = (await log.entry(END)).hash
    before, *rest = (await log.entries())[8:]
    changed = rewritten(before, actor="key:innocent")
    await log.write(changed, *linked_anew(rest, 10, changed.hash))
    for n in (12, 16, 20):
        await log.tamperer.delete_checkpoint(n)
    report = await log.verified()
    assert report.whole
    assert report.signed_to == 8
    assert any("entries 9 to 20 not yet, and can have been rewritten" in line for line in report.lines())
    assert await log.found(expected={END: kept}) == (Kind.REWRITTEN, 9, 20)


async def test_another_key_signs_what_was_rewritten(log: Log, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("forger")
    add_key(folder, "auditor")
    last = rewritten(await log.entry(END), actor="key:innocent")
    await log.write(last)
    await log.tamperer.write_checkpoint(checkpoints.sign(last, 1.0, 16, SigningKeys(folder, "auditor").current))
    report = await log.verified()
    assert [(fault.kind, fault.first) for fault in report.checkpoint_faults] == [(Kind.BAD_CHECKPOINT, 20)]
    assert "is not trusted as the auditor's" in report.checkpoint_faults[0].text
    assert report.signed_to == 16


async def test_another_services_key_vouches_for_nothing(log: Log) -> None:
    add_key(log.keys, "edge")
    edge = SigningKeys(log.keys, "edge").current
    assert set(trusted_signers(None, Settings(message_keys=log.keys))) == set(log.signers)
    await log.tamperer.write_checkpoint(checkpoints.sign(await log.entry(END), 1.0, 16, edge))
    assert [fault.first for fault in (await log.verified()).checkpoint_faults] == [20]


# ---- removed


@pytest.mark.parametrize(("first", "last"), [(1, 1), (10, 10), (9, 12)])
async def test_removed_in_the_middle(log: Log, first: int, last: int) -> None:
    for n in range(first, last + 1):
        await log.tamperer.delete(n)
    assert await log.found() == (Kind.REMOVED, first, last)


async def test_removed_and_the_rest_given_its_numbers(log: Log) -> None:
    """But not its hashes."""
    later = (await log.entries())[10:]
    await log.write(*(entry.model_copy(update={"n": entry.n - 1}) for entry in later))
    await log.tamperer.delete(END)
    assert await log.found() == (Kind.REMOVED, 10, 10)


async def test_removed_and_the_rest_linked_anew(log: Log) -> None:
    entries = await log.entries()
    await log.write(*linked_anew(entries[10:], 10, entries[8].hash))
    await log.tamperer.delete(END)
    assert await log.found() == (Kind.REWRITTEN, 9, 12)


@pytest.mark.parametrize("left", [19, 10, 0])
async def test_removed_at_the_end(log: Log, left: int) -> None:
    for n in range(left + 1, END + 1):
        await log.tamperer.delete(n)
    assert await log.found() == (Kind.REMOVED, left + 1, END)


async def test_removed_at_the_end_with_the_checkpoints(log: Log) -> None:
    kept = (await log.entry(END)).hash
    for n in range(17, END + 1):
        await log.tamperer.delete(n)
    await log.tamperer.delete_checkpoint(END)
    assert (await log.verified()).whole
    assert await log.found(expected={END: kept}) == (Kind.REMOVED, 17, END)


# ---- put in, and swapped


async def test_put_in_and_the_rest_given_its_numbers(log: Log) -> None:
    entries = await log.entries()
    await log.write(*(entry.model_copy(update={"n": entry.n + 1}) for entry in entries[9:]))
    await log.write(rewritten(entries[9], previous=entries[8].hash, actor="key:innocent"))
    assert await log.found() == (Kind.PUT_IN, 10, 10)


async def test_put_in_and_the_rest_linked_anew(log: Log) -> None:
    entries = await log.entries()
    false = rewritten(entries[9], actor="key:innocent")
    await log.write(false, *linked_anew(entries[9:], 11, false.hash))
    assert await log.found() == (Kind.REWRITTEN, 9, 12)


async def test_put_in_right_behind_a_checkpoint(log: Log) -> None:
    await log.write(rewritten(await log.entry(9), previous="e" * 64))
    assert await log.found() == (Kind.PUT_IN, 9, 9)


async def test_swapped(log: Log) -> None:
    tenth, eleventh = (await log.entries())[9:11]
    await log.write(tenth.model_copy(update={"n": 11}), eleventh.model_copy(update={"n": 10}))
    assert await log.found() == (Kind.MOVED, 10, 11)


async def test_put_in_at_the_end_is_not_signed(log: Log) -> None:
    last = await log.entry(END)
    await log.write(rewritten(last, n=END + 1, previous=last.hash))
    report = await log.verified()
    assert report.whole
    assert any("; entry 21 not yet, and can have been rewritten" in line for line in report.lines())


# ---- checkpoints


async def test_a_removed_checkpoint_is_missed_by_the_next(log: Log) -> None:
    await log.tamperer.delete_checkpoint(8)
    report = await log.verified()
    assert [(fault.kind, fault.first) for fault in report.checkpoint_faults] == [(Kind.LOST_CHECKPOINT, 8)]
    assert not report.whole
    assert (report.entry_fault, report.signed_to) == (None, END)


@pytest.mark.parametrize(
    "change", [{"signature": "x"}, {"hash": "f" * 64}, {"at": 2.0}, {"signature": "a.b.c"}], ids=str
)
async def test_an_altered_checkpoint(log: Log, change: dict[str, Any]) -> None:
    third = (await log.checkpoints())[2]
    await log.tamperer.write_checkpoint(third.model_copy(update=change))
    report = await log.verified()
    assert [(fault.kind, fault.first) for fault in report.checkpoint_faults] == [(Kind.BAD_CHECKPOINT, 12)]
    assert (report.entry_fault, report.checkpoints, report.signed_to) == (None, BATCHES - 1, END)


async def test_a_checkpoint_of_another_entry(log: Log) -> None:
    third = (await log.checkpoints())[2]
    await log.tamperer.write_checkpoint(third.model_copy(update={"n": 13}))
    report = await log.verified()
    assert [(fault.kind, fault.first) for fault in report.checkpoint_faults] == [(Kind.BAD_CHECKPOINT, 13)]


async def test_without_any_checkpoint_it_says_that_nothing_is_signed(log: Log) -> None:
    for n in (4, 8, 12, 16, 20):
        await log.tamperer.delete_checkpoint(n)
    report = await log.verified()
    assert report.whole
    assert any(line.startswith("NOT SIGNED: there is no checkpoint") for line in report.lines())


async def test_without_a_trusted_key_it_says_that_nothing_is_signed(log: Log) -> None:
    report = await verify(log.store, {})
    assert (report.whole, report.signed_to) == (True, 0)
    assert any(line.startswith("NOT SIGNED, as far as this can tell") for line in report.lines())


async def test_a_key_that_was_retired_vouches_for_its_time(log: Log) -> None:
    ((key_id, signer),) = log.signers.items()
    for until, genuine in ((1_700_000_001.0, BATCHES), (1_600_000_000.0, 0)):
        report = await verify(log.store, {key_id: TrustedSigner(signer.key, until)})
        assert report.checkpoints == genuine
        assert len(report.checkpoint_faults) == BATCHES - genuine


async def test_a_message_signature_of_the_auditor_is_no_checkpoint(log: Log) -> None:
    third = (await log.checkpoints())[2]
    header, _, value = third.signature.split(".")
    detached = third.model_copy(update={"signature": f"{header}..{value}"})
    await log.tamperer.write_checkpoint(detached)
    assert [fault.first for fault in (await log.verified()).checkpoint_faults] == [12]


# ---- the auditor goes on


@pytest.mark.parametrize("n", [END, END - 1])
async def test_an_altered_end_does_not_stop_the_auditor(log: Log, n: int) -> None:
    await log.tamperer.write(row_of(await log.entry(n), actor="other"))
    end = ChainEnd(log.store, Checkpoints(SigningKeys(log.keys, "auditor")), lambda: 1_700_000_001.0)
    await end.append([record("later")])
    assert await log.store.has_audit(["later"]) == {"later"}
    assert await log.found() == (Kind.ALTERED, n, n)


async def test_an_end_removed_under_a_running_auditor_is_found(log: Log) -> None:
    end = ChainEnd(log.store, Checkpoints(SigningKeys(log.keys, "auditor")), lambda: 1_700_000_001.0)
    await end.append([record("a"), record("b")])
    await log.tamperer.delete(END + 2)
    await log.tamperer.delete_checkpoint(END + 2)
    await end.append([record("c")])
    assert await log.found() == (Kind.REMOVED, END + 2, END + 2)


async def test_that_others_wrote_is_on_record(log: Log) -> None:
    end = ChainEnd(log.store, Checkpoints(SigningKeys(log.keys, "auditor")), lambda: 1_700_000_001.0)
    await end.append([record("a")])
    last = await log.entry(END + 1)
    await log.write(rewritten(last, n=END + 2, previous=last.hash, actor="key:innocent"))
    await end.append([record("c")])
    report = await log.verified()
    assert (report.whole, report.signed_to) == (True, END + 4)
    note = (await log.entry(END + 4)).record
    assert (note.action, note.subject) == ("audit.others_wrote", "entries 22 to 22")
