"""The hash of an entry, and records at the end of the chain."""

import hashlib
import json

import pytest

from contracts.audit import AuditRecord, AuditResult
from services.runtime.audit_chain import BEFORE_THE_FIRST, append_records, canonical, entry_hash, link
from tests.support.memory_store import MemoryStore
from tests.support.store_operations import record

RECORD = AuditRecord(
    id="conclave.commands/1/m1",
    at=1_790_000_000.25,
    actor="key:zoë",
    action="execution.start.v1",
    subject='a"b\\\n',
    result=AuditResult.SENT,
)


def test_the_hash_is_over_number_previous_and_canonical_json() -> None:
    text = (
        '{"action":"execution.start.v1","actor":"key:zoë","at":1790000000.25,"id":"conclave.commands/1/m1",'
        '"result":"sent","subject":"a\\"b\\\\\\n"}'
    )
    assert canonical(RECORD) == text
    lines = f"7\n{'ab' * 32}\n{text}"
    assert entry_hash(7, "ab" * 32, RECORD) == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(("at", "text"), [(5.0, "5"), (0.0, "0"), (1e15, "1000000000000000"), (1.5, "1.5")])
def test_times_are_written_as_other_languages_write_them(at: float, text: str) -> None:
    assert f'"at":{text},' in canonical(record("r", at=at))


def test_fields_at_their_default_are_left_out() -> None:
    assert json.loads(canonical(record("r"))).keys() == {"action", "actor", "at", "id", "result"}


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_has_no_hash(at: float) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        canonical(record("r", at=at))


def test_each_entry_holds_the_hash_of_the_one_before() -> None:
    first, second, third = link(None, [record("a"), record("b"), record("c")])
    assert (first.n, first.previous) == (1, BEFORE_THE_FIRST)
    assert (second.n, second.previous) == (2, first.hash)
    assert third == link(second, [record("c")])[0]
    assert len({first.hash, second.hash, third.hash}) == 3


@pytest.mark.parametrize(
    "change", [{"n": 2}, {"previous": "1" * 64}, *({name: "other"} for name in ("id", "actor", "subject", "detail"))]
)
def test_everything_of_an_entry_is_in_its_hash(change: dict[str, object]) -> None:
    (entry,) = link(None, [RECORD])
    n, previous = change.pop("n", entry.n), change.pop("previous", entry.previous)
    assert entry_hash(n, previous, RECORD.model_copy(update=change)) != entry.hash  # type: ignore[arg-type]


async def test_records_that_are_there_are_left_out_when_asked() -> None:
    store = MemoryStore()
    await append_records(store, [record("a"), record("b")])
    entries = await append_records(store, [record("b"), record("c"), record("c"), record("d")], only_new=True)
    assert [(entry.n, entry.record.id) for entry in entries] == [(3, "c"), (4, "d")]
    assert await append_records(store, [record("a")], only_new=True) == []
    assert [entry.n for entry in await append_records(store, [record("a")])] == [5]


async def test_a_known_end_that_is_behind_is_found_out() -> None:
    store = MemoryStore()
    first, *_ = await append_records(store, [record("a"), record("b")])
    entries = await append_records(store, [record("c")], after=first)
    assert [(entry.n, entry.record.id) for entry in entries] == [(3, "c")]
    assert entries[0].previous == (await store.read_audit(1, 1))[0].hash


async def test_another_writer_between_the_look_and_the_write() -> None:
    """The other brings in the same record: it is in the log once, and the rest follows it."""
    store = MemoryStore()
    between = True

    async def hook(operation: str, moment: str) -> None:
        nonlocal between
        if between and operation == "append_audit" and moment == "before":
            between = False
            await append_records(store, [record("x"), record("b")])

    store.hook = hook
    entries = await append_records(store, [record("a"), record("b"), record("c")], only_new=True)
    assert [(entry.n, entry.record.id) for entry in entries] == [(3, "a"), (4, "c")]
    assert [entry.record.id for entry in await store.read_audit(0, 10)] == ["x", "b", "a", "c"]
