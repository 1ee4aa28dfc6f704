"""The audit log in real databases, whose rows somebody changes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.audit import AuditEntry, AuditFilter
from services.runtime.audit_chain import append_records, canonical, entry_hash
from services.runtime.store.audit_documents import AlteredEntry
from services.runtime.store.base import Page, Store
from tests.support.raw_stores import RAW, RawStore, raw_store
from tests.support.store_operations import record


@pytest.fixture(params=RAW)
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[RawStore]:
    async with raw_store(request) as raw:
        await append_records(raw.store, [record(f"r{i}", at=float(i), subject=f"s{i}") for i in range(1, 8)])
        yield raw


async def numbers(store: Store, after: int = 0) -> list[int]:
    return [entry.n for entry in await store.read_audit(after, 100)]


TEXT = canonical(record("r4", at=4.0, subject="s4"))


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("record", TEXT.replace("key:a", "key:b").encode(), "actor does not go with its record"),
        ("record", TEXT.replace('"at":4', '"at":5').encode(), "at does not go with its record"),
        ("record", TEXT.replace("{", "{ ").encode(), "record does not go with its record"),
        ("record", TEXT.replace("}", ',"more":1}').encode(), "record does not go with its record"),
        ("record", TEXT.replace("r4", "r9").encode(), "record_id does not go with its record"),
        ("record", b"{", "what is stored is no entry"),
        ("record", b'{"id":"r4"}', "what is stored is no entry"),
        ("record", b"\xff", "what is stored is no entry"),
        ("record_id", "r9", "record_id does not go with its record"),
        ("actor", "key:b", "actor does not go with its record"),
        ("action", "y", "action does not go with its record"),
        ("subject", "s5", "subject does not go with its record"),
        ("result", "refused", "result does not go with its record"),
        ("correlation_id", "c", "correlation_id does not go with its record"),
        ("at", 5.0, "at does not go with its record"),
    ],
)
async def test_an_altered_entry_is_named_and_those_before_it_are_read(
    raw: RawStore, column: str, value: Any, fault: str
) -> None:
    await raw.change("audit", "n", 4, column, value)
    assert await numbers(raw.store) == [1, 2, 3]
    with pytest.raises(AlteredEntry, match=f"audit entry 4 was altered in the store: .*{fault}") as altered:
        await raw.store.read_audit(3, 100)
    assert altered.value.n == 4
    assert await numbers(raw.store, 4) == [5, 6, 7]
    with pytest.raises(AlteredEntry, match="audit entry 4 "):
        await raw.store.list_audit(AuditFilter(), Page())


@pytest.mark.parametrize("column", ["hash", "previous"])
async def test_an_altered_hash_is_left_to_who_verifies_the_chain(raw: RawStore, column: str) -> None:
    await raw.change("audit", "n", 4, column, "f" * 64)
    (found,) = await raw.store.read_audit(3, 1)
    assert (getattr(found, column), found.record.id) == ("f" * 64, "r4")


async def test_a_record_that_was_altered_whole_has_another_hash(raw: RawStore) -> None:
    forged = record("r4", at=4.0, subject="s4", actor="key:b")
    await raw.change("audit", "n", 4, "record", canonical(forged).encode())
    await raw.change("audit", "n", 4, "actor", "key:b")
    (found,) = await raw.store.read_audit(3, 1)
    assert found.record == forged
    assert found.hash != entry_hash(4, found.previous, found.record)


async def test_a_removed_entry_leaves_a_gap_and_the_log_goes_on_behind_its_end(raw: RawStore) -> None:
    await raw.delete("audit", "n", 4)
    assert await numbers(raw.store) == [1, 2, 3, 5, 6, 7]
    assert await numbers(raw.store, 3) == [5, 6, 7]
    assert [entry.n for entry in (await raw.store.list_audit(AuditFilter(), Page(4)))[0]] == [7, 6, 5, 3]
    (added,) = await append_records(raw.store, [record("r8")])
    assert added.n == 8


async def test_a_page_that_begins_in_a_long_gap_goes_on_behind_it(raw: RawStore) -> None:
    for n in range(2, 7):
        await raw.delete("audit", "n", n)
    assert [entry.n for entry in await raw.store.read_audit(1, 2)] == [7]
    assert [entry.n for entry in await raw.store.read_audit(0, 2)] == [1, 7]


async def test_a_log_whose_end_was_cut_off_ends_there(raw: RawStore) -> None:
    for n in (6, 7):
        await raw.delete("audit", "n", n)
    last: AuditEntry | None = await raw.store.last_audit()
    assert last is not None
    assert last.n == 5


async def test_a_log_that_was_emptied_begins_again(raw: RawStore) -> None:
    for n in range(1, 8):
        await raw.delete("audit", "n", n)
    assert await raw.store.last_audit() is None
    assert await raw.store.list_audit(AuditFilter(), Page()) == ([], None)
    (added,) = await append_records(raw.store, [record("r8")])
    assert added.n == 1
