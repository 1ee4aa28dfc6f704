"""Executions that do not go on, over headers and logs as the orchestrator writes them."""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.history import (
    AttemptFailed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    Header,
    LogEntry,
    StepDispatched,
    StepError,
    StepProgressed,
    StepResent,
    StepSucceeded,
    wake_of_restored,
)
from services.monitor.stuck import STUCK_LIMIT, HaltedWatch, stuck_since
from services.runtime.store.base import StoreUnavailable, Unreadable
from tests.support.memory_store import MemoryStore

START = 1_800_000_000.0
STUCK_AFTER = 60.0


def header(key: str = "e1", n: int = 1, wake_at: float | None = None, **fields: Any) -> Header:
    given = {"execution_id": key, "n": n, "status": ExecutionStatus.RUNNING, "workflow_name": "w"}
    return Header(**{**given, "started_at": START, "wake_at": wake_at, **fields})


def entry(n: int, at: float, *events: Event, key: str = "e1") -> LogEntry:
    return LogEntry(execution_id=key, n=n, at=at, applied=(f"m{n}",), events=events)


BEGUN = ExecutionStarted(definition_hash="d", request_hash="r", workflow_name="w")
DISPATCHED = StepDispatched(step="s", attempt=1, deadline=START + 100)


def watch(store: MemoryStore) -> HaltedWatch:
    return HaltedWatch(store, overdue_after=30.0, stuck_after=STUCK_AFTER, open_limit=10_000)


async def stored(*entries: LogEntry, headers: Sequence[Header]) -> MemoryStore:
    store = MemoryStore()
    for one in entries:
        await store.append([one])
    await store.write_headers(headers)
    return store


def ids(found: Sequence[Any]) -> list[str]:
    return [one.execution_id for one in found]


# ---- what a log says


@pytest.mark.parametrize(
    ("wake_at", "entries", "expected_until"),
    [
        (START + 100, [entry(1, START, BEGUN, DISPATCHED)], START + 100),
        # Its header came with a deadline that later ones follow without it being written again.
        (START + 100, [entry(1, START, BEGUN, DISPATCHED), entry(2, START + 500)], START + 500),
        (
            START + 100,
            [entry(1, START, DISPATCHED), entry(2, START + 90, StepResent(step="s", attempt=1, deadline=START + 900))],
            START + 900,
        ),
        (
            START + 10,
            [
                entry(1, START, DISPATCHED),
                entry(
                    2,
                    START + 5,
                    AttemptFailed(step="s", attempt=1, error=StepError(type="E", message=""), retry_at=START + 3_600),
                ),
            ],
            START + 3_600,
        ),
        (
            START + 10,
            [entry(1, START, StepProgressed(step="s", attempt=1, fraction=0.5, at=START, deadline=START + 700))],
            START + 700,
        ),
        # No timer, and nothing that is to come: only its last word counts.
        (None, [entry(1, START, BEGUN), entry(2, START + 7, StepSucceeded(step="s", attempt=1))], START + 7),
        (None, [], START),
    ],
)
def test_it_is_stuck_so_long_after_the_last_moment_at_which_something_must_happen(
    wake_at: float | None, entries: list[LogEntry], expected_until: float
) -> None:
    one = header(wake_at=wake_at)
    assert stuck_since(one, entries, expected_until + STUCK_AFTER, STUCK_AFTER) is None
    last_at = max([START, *(entry.at for entry in entries)])
    assert stuck_since(one, entries, expected_until + STUCK_AFTER + 0.1, STUCK_AFTER) == last_at


def test_what_has_ended_is_not_stuck_though_its_header_is_behind() -> None:
    ended = entry(2, START + 1, ExecutionEnded(status=ExecutionStatus.COMPLETED))
    assert stuck_since(header(), [entry(1, START, BEGUN), ended], START + 10_000, STUCK_AFTER) is None


# ---- looks


async def test_what_waits_for_its_timer_is_neither_overdue_nor_stuck() -> None:
    store = await stored(entry(1, START, BEGUN, DISPATCHED), headers=[header(wake_at=START + 100)])
    found = await watch(store).look(START + 129)
    assert (found.open, found.overdue, found.stuck) == (1, (), ())
    assert store.calls["read_log"] == 0


async def test_a_timer_that_did_not_fire_is_overdue_and_later_stuck() -> None:
    store = await stored(entry(1, START, BEGUN, DISPATCHED), headers=[header(wake_at=START + 100)])
    looking = watch(store)
    found = await looking.look(START + 131)
    assert (ids(found.overdue), found.overdue[0].overdue_by, found.stuck) == (["e1"], 31.0, ())
    found = await looking.look(START + 161)
    assert (ids(found.overdue), ids(found.stuck)) == (["e1"], ["e1"])
    assert found.stuck[0].last_at == START


async def test_what_was_restored_is_due_since_then_and_not_since_ever() -> None:
    restored_at = START + 100_000
    store = await stored(entry(1, START, BEGUN, DISPATCHED), headers=[header(wake_at=wake_of_restored(restored_at))])
    looking = watch(store)
    found = await looking.look(restored_at + 29)
    assert (found.open, found.overdue, found.stuck) == (1, (), ())
    found = await looking.look(restored_at + 31)
    assert (ids(found.overdue), found.overdue[0].overdue_by, found.stuck) == (["e1"], 31.0, ())
    found = await looking.look(restored_at + 61)
    assert (ids(found.overdue), ids(found.stuck)) == (["e1"], ["e1"])


async def test_an_overdue_header_whose_log_goes_on_is_not_stuck() -> None:
    later = StepDispatched(step="t", attempt=1, deadline=START + 1_000)
    store = await stored(
        entry(1, START, BEGUN, DISPATCHED), entry(2, START + 50, later), headers=[header(wake_at=START + 100)]
    )
    found = await watch(store).look(START + 500)
    assert (ids(found.overdue), found.stuck) == (["e1"], ())


async def test_one_without_a_timer_is_found_and_goes_away_when_it_ends() -> None:
    store = await stored(entry(1, START, BEGUN), headers=[header()])
    looking = watch(store)
    assert ids((await looking.look(START + 100)).stuck) == ["e1"]
    assert ids((await looking.look(START + 105)).stuck) == ["e1"]
    await store.write_headers([header(n=2, status=ExecutionStatus.CANCELLED, ended_at=START + 106)])
    found = await looking.look(START + 110)
    assert (found.open, found.stuck) == (0, ())


async def test_one_that_goes_on_is_stuck_no_more() -> None:
    store = await stored(entry(1, START, BEGUN), headers=[header()])
    looking = watch(store)
    assert ids((await looking.look(START + 100)).stuck) == ["e1"]
    await store.append([entry(2, START + 101, StepDispatched(step="s", attempt=1, deadline=START + 400))])
    assert (await looking.look(START + 105)).stuck == ()


async def test_of_very_many_a_bounded_number_is_looked_at_each_time_and_all_in_the_end() -> None:
    store = MemoryStore()
    keys = [f"e{i:04d}" for i in range(700)]
    for key in keys:
        await store.append([entry(1, START, BEGUN, key=key)])
    await store.write_headers([header(key) for key in keys])
    read: list[int] = []

    async def note(name: str, moment: str) -> None:
        if name == "read_log" and moment == "before":
            read.append(1)

    store.hook = note
    looking = watch(store)
    sizes = [len((await looking.look(START + 100 + i)).stuck) for i in range(8)]
    assert sizes == [20, 40, 60, 80, 100, 100, 100, 100]
    assert sizes[-1] == STUCK_LIMIT
    assert len(read) == 8


async def test_a_log_that_cannot_be_read_hides_no_other() -> None:
    store = await stored(
        entry(1, START, BEGUN, key="e1"), entry(1, START, BEGUN, key="e2"), headers=[header("e1"), header("e2")]
    )
    inner = store.read_log

    async def read_log(after: dict[str, int]) -> dict[str, list[LogEntry]]:
        if "e1" in after:
            raise Unreadable("e1 was altered")
        return await inner(after)

    store.read_log = read_log  # type: ignore[method-assign, assignment]
    assert ids((await watch(store).look(START + 100)).stuck) == ["e2"]


async def test_a_store_that_is_away_is_said() -> None:
    store = await stored(headers=[header()])

    async def away(_: str, __: str) -> None:
        raise StoreUnavailable("gone")

    store.hook = away
    with pytest.raises(StoreUnavailable):
        await watch(store).look(START)


async def test_no_more_suspects_are_remembered_than_are_soon_looked_at() -> None:
    store = MemoryStore()
    keys = [f"e{i:04d}" for i in range(1_600)]
    await store.write_headers([header(key) for key in keys])
    looking = watch(store)
    for i in range(6):
        await looking.look(START + 100 + i)
    assert len(looking._suspects) <= 1_000
