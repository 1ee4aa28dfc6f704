"""What the store in memory offers to tests beyond what every store does."""

import asyncio

import pytest

from contracts.history import ExecutionStatus, Header, LogEntry, StepSkipped
from services.runtime.store.base import StoreUnavailable
from tests.support.memory_store import MemoryStore, Moment


def entry(n: int) -> LogEntry:
    return LogEntry(execution_id="a", n=n, at=1.0, applied=(), events=(StepSkipped(step="s", reason=""),))


def header(n: int) -> Header:
    return Header(execution_id="a", n=n, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)


async def test_an_operation_that_fails_before_never_happened() -> None:
    async def hook(operation: str, moment: Moment) -> None:
        if (operation, moment) == ("append", "before"):
            raise StoreUnavailable("gone")

    store = MemoryStore(hook)
    with pytest.raises(StoreUnavailable):
        await store.append([entry(1)])
    assert store.log_of("a") == []
    assert store.calls["append"] == 0


async def test_an_operation_that_fails_after_has_happened() -> None:
    async def hook(operation: str, moment: Moment) -> None:
        if (operation, moment) == ("append", "after"):
            raise StoreUnavailable("answer lost")

    store = MemoryStore(hook)
    with pytest.raises(StoreUnavailable):
        await store.append([entry(1)])
    assert store.log_of("a") == [entry(1)]
    assert store.calls["append"] == 1


async def test_others_come_in_between_only_where_the_hook_lets_them() -> None:
    store = MemoryStore()
    order: list[str] = []

    async def write(name: str) -> None:
        for n in (1, 2):
            await store.append([entry(n)])
            order.append(name)

    await asyncio.gather(write("a"), write("b"))
    assert order == ["a", "a", "b", "b"]

    async def give_way(operation: str, moment: Moment) -> None:
        await asyncio.sleep(0)

    store.hook = give_way
    order.clear()
    await asyncio.gather(write("a"), write("b"))
    assert order == ["a", "b", "a", "b"]


async def test_a_test_sees_what_is_stored_past_the_hook() -> None:
    async def away(operation: str, moment: Moment) -> None:
        raise StoreUnavailable("away")

    store = MemoryStore()
    await store.append([entry(1), entry(2)])
    await store.write_headers([header(2)])
    store.hook = away
    assert store.log_of("a") == [entry(1), entry(2)]
    assert store.header_of("a") == header(2)
    assert (store.log_of("b"), store.header_of("b")) == ([], None)
