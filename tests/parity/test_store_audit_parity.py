"""What every store must do with the audit log, over the store in memory, MongoDB's protocol and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from contracts.audit import AuditEntry, AuditFilter, AuditRecord, AuditResult
from services.runtime.audit_chain import append_records, entry_hash, link
from services.runtime.store.base import BadCursor, Page, Store, Unstorable
from tests.support.store_operations import checkpoint, record
from tests.support.stores import STORES, opened_store

HARD_TEXT = ["\0", "a\0b", "\\", "\\0", "é'\"%$1{}", "\U0001d11e", "$ne", "\u2028", "x" * 300, "\U0001d11e" * 300]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


def records(count: int, name: str = "r") -> list[AuditRecord]:
    return [record(f"{name}{i}", at=float(i)) for i in range(count)]


def numbers(entries: list[AuditEntry]) -> list[int]:
    return [entry.n for entry in entries]


async def whole(store: Store) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    while more := await store.read_audit(len(found), 100):
        found += more
    return found


def assert_is_a_chain(entries: list[AuditEntry]) -> None:
    previous = "0" * 64
    for n, entry in enumerate(entries, 1):
        assert (entry.n, entry.previous, entry.hash) == (n, previous, entry_hash(n, previous, entry.record))
        previous = entry.hash


# ---- the log


async def test_an_empty_log(store: Store) -> None:
    assert await store.last_audit() is None
    assert await store.read_audit(0, 10) == []
    assert await store.has_audit([]) == set()
    assert await store.has_audit(["r"]) == set()
    assert await store.list_audit(AuditFilter(), Page()) == ([], None)
    assert await store.append_audit([]) == 0


async def test_entries_come_back_as_they_were(store: Store) -> None:
    written = link(
        None,
        [
            record(
                "m1/é\0",
                at=1_763_800_000.123456,
                actor="key:\0 \\0 \U0001d11e",
                action="POST /api/v1/executions",
                subject="a/b",
                source="10.0.0.1",
                result=AuditResult.REFUSED,
                detail='{"a": 1}\n\u2028',
                correlation_id="c",
            ),
            record("m2", at=5.0),
            record("m3", at=0.1 + 0.2),
        ],
    )
    assert await store.append_audit(written) == 3
    assert await store.read_audit(0, 10) == written
    assert await store.last_audit() == written[2]
    assert await store.list_audit(AuditFilter(), Page()) == (written[::-1], None)
    assert_is_a_chain(await store.read_audit(0, 10))


async def test_the_log_is_read_on_from_any_number(store: Store) -> None:
    written = link(None, records(12))
    await store.append_audit(written)
    assert await store.read_audit(0, 5) == written[:5]
    assert await store.read_audit(5, 5) == written[5:10]
    assert await store.read_audit(10, 5) == written[10:]
    assert await store.read_audit(12, 5) == []


async def test_entries_are_inserted_up_to_the_first_whose_number_is_taken(store: Store) -> None:
    """Those behind it, whose numbers are free, are not inserted either: they are linked to what is not there."""
    chain = link(None, records(9))
    assert await store.append_audit(chain[5:6]) == 1
    assert await store.append_audit(link(None, records(9, "other"))) == 5
    assert await store.append_audit(chain[4:]) == 0
    found = [(entry.n, entry.record.id) for entry in await store.read_audit(0, 20)]
    assert found == [(1, "other0"), (2, "other1"), (3, "other2"), (4, "other3"), (5, "other4"), (6, "r5")]
    assert await store.has_audit([f"other{i}" for i in range(9)]) == {f"other{i}" for i in range(5)}


async def test_appending_twice_inserts_once(store: Store) -> None:
    chain = link(None, records(3))
    assert [await store.append_audit(chain), await store.append_audit(chain)] == [3, 0]
    assert await store.read_audit(0, 10) == chain


async def test_of_twenty_who_append_at_the_same_place_one_does(store: Store) -> None:
    rivals = [link(None, records(4, f"w{i}-")) for i in range(20)]
    counts = await asyncio.gather(*map(store.append_audit, rivals))
    assert sorted(counts) == [*[0] * 19, 4]
    assert await store.read_audit(0, 100) == rivals[counts.index(4)]


async def test_writers_at_different_places_at_once_leave_no_entry_behind_another_of_theirs_that_lost(
    store: Store,
) -> None:
    for turn in range(10):
        base = turn * 20
        low = [_at(base, i, "low") for i in range(1, 13)]
        high = [_at(base, i, "high") for i in range(8, 13)]
        counts = await asyncio.gather(store.append_audit(low), store.append_audit(high))
        found = {entry.n - base: entry.record.id.split("-")[0] for entry in await store.read_audit(base, 20)}
        mine = [n for n in range(1, 13) if found.get(n) == "low"]
        assert mine == list(range(1, counts[0] + 1))
        assert [n for n in range(8, 13) if found.get(n) == "high"] == list(range(8, 8 + counts[1]))
        assert list(counts) in ([7, 5], [12, 0])


def _at(base: int, i: int, name: str) -> AuditEntry:
    return AuditEntry(n=base + i, record=record(f"{name}-{base + i}"), previous="0" * 64, hash="1" * 64)


async def test_two_who_write_at_once_make_one_whole_chain(store: Store) -> None:
    async def write(name: str) -> list[AuditEntry]:
        entries = []
        for i in range(0, 60, 6):
            entries += await append_records(store, [record(f"{name}{j}") for j in range(i, i + 6)])
        return entries

    written = await asyncio.gather(write("a"), write("b"))
    found = await whole(store)
    assert_is_a_chain(found)
    assert sorted(numbers(found)) == sorted(numbers(written[0]) + numbers(written[1]))
    for name, entries in zip("ab", written, strict=True):
        assert [e.record.id for e in found if e.record.id.startswith(name)] == [f"{name}{i}" for i in range(60)]
        assert [e for e in found if e.record.id.startswith(name)] == entries


async def test_records_brought_by_two_at_once_come_into_the_log_once(store: Store) -> None:
    parts = [records(90)[i : i + 9] for i in range(0, 90, 9)]

    async def write() -> None:
        for part in parts:
            await append_records(store, part, only_new=True)

    await asyncio.gather(write(), write(), write())
    found = await whole(store)
    assert_is_a_chain(found)
    assert sorted(entry.record.id for entry in found) == sorted(r.id for r in records(90))


async def test_it_is_known_which_records_are_in_the_log(store: Store) -> None:
    await store.append_audit(link(None, records(150)))
    asked = [f"r{i}" for i in range(100, 300)]
    assert await store.has_audit(asked) == {f"r{i}" for i in range(100, 150)}
    assert await store.has_audit(["r1", "r1", "r", "", "\0", "r1\0"]) == {"r1"}


async def test_a_record_whose_time_is_no_number_is_refused_and_nothing_is_written(store: Store) -> None:
    entries = [
        AuditEntry(n=1, record=record("a"), previous="", hash=""),
        AuditEntry(n=2, record=record("b", at=float("inf")), previous="", hash=""),
    ]
    with pytest.raises(Unstorable, match="audit record b cannot be written as JSON"):
        await store.append_audit(entries)
    assert await store.last_audit() is None


# ---- lists


async def many_entries(store: Store) -> list[AuditEntry]:
    """Times nearly in order, as records that come late are."""
    moved = random.Random(4)
    written = link(
        None,
        [
            record(
                f"x{i}",
                at=1000.0 + i // 2 + moved.randint(-5, 5),
                actor=f"key:{i % 3}",
                action=f"a{i % 4}",
                subject=f"s{i % 5}",
                result=list(AuditResult)[i % 4 if i % 11 else 2],
                correlation_id="" if i % 2 else f"c{i // 8}",
            )
            for i in range(120)
        ],
    )
    assert await store.append_audit(written) == 120
    return written


FILTERS = {
    "all": AuditFilter(),
    "actor": AuditFilter(actor="key:1"),
    "no such actor": AuditFilter(actor="key"),
    "action": AuditFilter(action="a3"),
    "subject": AuditFilter(subject="s4"),
    "no subject": AuditFilter(subject=""),
    "result": AuditFilter(result=AuditResult.REFUSED),
    "correlation": AuditFilter(correlation_id="c7"),
    "no correlation": AuditFilter(correlation_id=""),
    "since": AuditFilter(since=1030.0),
    "until": AuditFilter(until=1030.0),
    "between": AuditFilter(since=1020.0, until=1030.0),
    "of no time": AuditFilter(since=1030.0, until=1020.0),
    "everything": AuditFilter(
        actor="key:2",
        action="a2",
        subject="s0",
        result=AuditResult.REFUSED,
        correlation_id="c13",
        since=1000.0,
        until=1100.0,
    ),
}


def is_meant(entry: AuditEntry, filter: AuditFilter) -> bool:
    found = entry.record
    return (
        filter.actor in (None, found.actor)
        and filter.action in (None, found.action)
        and filter.subject in (None, found.subject)
        and filter.result in (None, found.result)
        and filter.correlation_id in (None, found.correlation_id)
        and (filter.since is None or found.at >= filter.since)
        and (filter.until is None or found.at < filter.until)
    )


async def all_pages(store: Store, filter: AuditFilter, limit: int) -> list[AuditEntry]:
    found, cursor = await store.list_audit(filter, Page(limit))
    while cursor is not None:
        assert len(found) % limit == 0
        more, cursor = await store.list_audit(filter, Page(limit, cursor))
        assert more, "a cursor led to nothing"
        found += more
    return found


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS.keys())
async def test_entries_are_filtered_and_latest_first_in_pages_of_any_size(store: Store, filter: AuditFilter) -> None:
    expected = [entry for entry in reversed(await many_entries(store)) if is_meant(entry, filter)]
    assert bool(expected) == (filter not in (FILTERS["no such actor"], FILTERS["no subject"], FILTERS["of no time"]))
    for limit in (4, 50, 120):
        assert await all_pages(store, filter, limit) == expected


async def test_a_page_is_not_moved_by_entries_that_come_meanwhile(store: Store) -> None:
    await append_records(store, records(9))
    first, cursor = await store.list_audit(AuditFilter(), Page(4))
    await append_records(store, records(5, "new"))
    second, end = await store.list_audit(AuditFilter(), Page(20, cursor))
    assert (numbers(first), numbers(second), end) == ([9, 8, 7, 6], [5, 4, 3, 2, 1], None)


async def test_numbers_are_in_order_whatever_their_digits(store: Store) -> None:
    await append_records(store, records(1_005))
    found, _ = await store.list_audit(AuditFilter(), Page(8))
    assert numbers(found) == [1005, 1004, 1003, 1002, 1001, 1000, 999, 998]
    assert numbers(await store.read_audit(7, 5)) == [8, 9, 10, 11, 12]
    assert (last := await store.last_audit()) is not None
    assert last.n == 1005


async def test_a_filter_may_be_any_text(store: Store) -> None:
    await append_records(
        store,
        [record(text, actor=text, action=text, subject=text, correlation_id=text[:200]) for text in HARD_TEXT],
    )
    for text in HARD_TEXT:
        for filter in (
            AuditFilter(actor=text),
            AuditFilter(action=text),
            AuditFilter(subject=text),
            AuditFilter(correlation_id=text[:200]),
        ):
            assert [entry.record.id for entry in await all_pages(store, filter, 2)] == [text]
    assert await store.has_audit(HARD_TEXT) == set(HARD_TEXT)


@pytest.mark.parametrize("text", ["", "x", "!", "WzEsMiwzXQ", "é", "a" * 10_000])
async def test_a_text_that_is_no_cursor_of_entries_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of audit entries"):
        await store.list_audit(AuditFilter(), Page(10, text))


# ["audit entries",0.0,"x"], and with "-1", "²" and 19 digits
@pytest.mark.parametrize(
    "text",
    [
        "WyJhdWRpdCBlbnRyaWVzIiwwLjAsIngiXQ",
        "WyJhdWRpdCBlbnRyaWVzIiwwLjAsIi0xIl0",
        "WyJhdWRpdCBlbnRyaWVzIiwwLjAsIsKyIl0",
        "WyJhdWRpdCBlbnRyaWVzIiwwLjAsIjk5OTk5OTk5OTk5OTk5OTk5OTkiXQ",
    ],
)
async def test_a_cursor_of_no_number_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of audit entries"):
        await store.list_audit(AuditFilter(), Page(10, text))


# ---- checkpoints


async def test_checkpoints_come_back_in_order_and_the_first_of_a_number_stays(store: Store) -> None:
    for n in (30, 4, 100):
        await store.add_audit_checkpoint(checkpoint(n, f"s{n}\0é"))
    await store.add_audit_checkpoint(checkpoint(4, "another"))
    expected = [checkpoint(n, f"s{n}\0é") for n in (4, 30, 100)]
    assert await store.read_audit_checkpoints(0, 10) == expected
    assert await store.read_audit_checkpoints(4, 10) == expected[1:]
    assert await store.read_audit_checkpoints(0, 2) == expected[:2]
    assert await store.read_audit_checkpoints(100, 2) == []
