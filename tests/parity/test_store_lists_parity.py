"""What every store must do with headers and workflows, and the lists of them, over the store in memory, MongoDB's
protocol and PostgreSQL.

Logs, payloads and definitions: test_store_parity.py. Hosts and agents: test_store_agents_parity.py. Dead letters:
test_store_dead_letters_parity.py.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.history import ExecutionStatus, Header
from contracts.workflow import Workflow
from services.runtime.store.base import BadCursor, HeaderFilter, Page, Store
from tests.support.stores import ENCRYPTED_IN_MEMORY, STORES, opened_store

RUNNING, COMPLETED, FAILED = ExecutionStatus.RUNNING, ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


@pytest.fixture(params=[*STORES, *ENCRYPTED_IN_MEMORY])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


def header(execution_id: str, n: int = 1, **fields: Any) -> Header:
    given: dict[str, Any] = {"status": RUNNING, "workflow_name": "w", "started_at": 100.0, **fields}
    return Header(execution_id=execution_id, n=n, **given)


def ids(headers: list[Header]) -> list[str]:
    return [found.execution_id for found in headers]


async def all_pages(store: Store, filter: HeaderFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        headers, cursor = await store.list_headers(filter, Page(limit, cursor))
        assert not set(ids(headers)) & set(found), "a page shows what an earlier one showed"
        found += ids(headers)
        if cursor is None:
            return found
        assert len(headers) == limit


# ---- headers


async def test_a_header_comes_back_as_it_was(store: Store) -> None:
    written = [
        header("a", 7, status=COMPLETED, workflow_id="id", workflow_name="é", started_at=1.25, ended_at=2.5),
        header("b", 1, wake_at=3.125),
    ]
    await store.write_headers(written)
    assert await store.read_headers(["a", "b", "missing"]) == {"a": written[0], "b": written[1]}


async def test_a_header_is_written_over_a_lower_or_equal_number_only(store: Store) -> None:
    seen = []
    for n, wake_at in [(3, 1.0), (3, 2.0), (2, 3.0), (5, 4.0), (1, 5.0), (4, 6.0), (5, 7.0)]:
        await store.write_headers([header("a", n, wake_at=wake_at)])
        found = (await store.read_headers(["a"]))["a"]
        seen.append((found.n, found.wake_at))
    assert seen == [(3, 1.0), (3, 2.0), (3, 2.0), (5, 4.0), (5, 4.0), (5, 4.0), (5, 7.0)]


async def test_a_header_that_is_behind_does_not_keep_the_others_out(store: Store) -> None:
    await store.write_headers([header("a", 5), header("b", 1), header("c", 1)])
    await store.write_headers(
        [header("a", 4), header("b", 2), header("d", 1), header("c", 1, wake_at=1.0), header("e", 3)]
    )
    found = await store.read_headers("abcde")
    assert {key: (value.n, value.wake_at) for key, value in found.items()} == {
        "a": (5, None),
        "b": (2, None),
        "c": (1, 1.0),
        "d": (1, None),
        "e": (3, None),
    }


async def test_what_a_newer_header_no_longer_says_is_gone(store: Store) -> None:
    await store.write_headers([header("a", 1, wake_at=5.0, workflow_id="id")])
    await store.write_headers([header("a", 2, status=COMPLETED, workflow_id="id", ended_at=9.0)])
    assert (await store.read_headers(["a"]))["a"].wake_at is None
    assert await store.due_headers(1e9, 10) == []


async def test_of_two_headers_of_one_execution_in_a_batch_the_newer_stays(store: Store) -> None:
    await store.write_headers([header("a", 2), header("a", 1), header("a", 3), header("a", 3, wake_at=1.0)])
    assert await store.read_headers(["a"]) == {"a": header("a", 3, wake_at=1.0)}
    await store.write_headers([])


async def test_of_many_writers_of_a_header_at_once_the_newest_stays(store: Store) -> None:
    rng = random.Random(1)
    for attempt in range(15):
        names = [f"x{attempt}-{i}" for i in range(4)]
        writes = [[header(name, n, wake_at=float(n)) for name in names] for n in range(1, 9)]
        rng.shuffle(writes)
        await asyncio.gather(*map(store.write_headers, writes))
        found = await store.read_headers(names)
        assert {name: (value.n, value.wake_at) for name, value in found.items()} == dict.fromkeys(names, (8, 8.0))


async def test_due_are_those_that_run_and_whose_time_has_come_earliest_first(store: Store) -> None:
    await store.write_headers(
        [
            header("late", wake_at=30.0),
            header("early", wake_at=10.0),
            header("now", wake_at=40.0),
            header("future", wake_at=40.000001),
            header("never"),
            header("ended", status=COMPLETED, wake_at=5.0, ended_at=6.0),
        ]
    )
    assert ids(await store.due_headers(40.0, 10)) == ["early", "late", "now"]
    assert ids(await store.due_headers(40.0, 2)) == ["early", "late"]
    assert await store.due_headers(9.0, 10) == []
    await store.write_headers([header("early", 2, wake_at=50.0), header("late", 2, status=FAILED)])
    assert ids(await store.due_headers(40.0, 10)) == ["now"]


async def test_open_are_those_that_run_in_pages(store: Store) -> None:
    await store.write_headers([header(f"r{i:02d}", started_at=float(i // 4)) for i in range(10)])
    await store.write_headers([header(f"e{i}", status=COMPLETED) for i in range(3)])
    first, cursor = await store.open_headers(Page(4))
    second, cursor = await store.open_headers(Page(4, cursor))
    third, end = await store.open_headers(Page(4, cursor))
    assert ids(first + second + third) == [f"r{i:02d}" for i in range(10)]
    assert end is None


async def test_open_executions_are_counted_up_to_a_limit(store: Store) -> None:
    assert await store.count_open(5) == 0
    await store.write_headers([header(f"r{i}") for i in range(7)])
    await store.write_headers([header(f"e{i}", status=status) for i, status in enumerate((COMPLETED, FAILED))])
    assert [await store.count_open(limit) for limit in (1, 6, 7, 8, 1000)] == [1, 6, 7, 7, 7]
    await store.write_headers([header("r0", 2, status=COMPLETED), header("r1", 2, status=FAILED)])
    assert await store.count_open(1000) == 5


async def test_pages_of_open_executions_end_where_the_rows_do(store: Store) -> None:
    await store.write_headers([header(f"r{i}") for i in range(4)])
    first, cursor = await store.open_headers(Page(2))
    second, end = await store.open_headers(Page(2, cursor))
    assert (ids(first), ids(second), end) == (["r0", "r1"], ["r2", "r3"], None)
    assert await store.open_headers(Page(4)) == ((first + second), None)


async def many_headers(store: Store) -> list[Header]:
    """A few hundred in no order, several of a moment, as one commit starts several."""
    headers = [
        header(
            f"x{i:03d}",
            status=[RUNNING, COMPLETED, FAILED][i % 3],
            workflow_id=f"w{i % 4}" if i % 2 else None,
            workflow_name=f"name {i % 5}",
            started_at=1000.0 + i // 7,
        )
        for i in range(200)
    ]
    shuffled = random.Random(2).sample(headers, len(headers))
    await store.write_headers(shuffled)
    return headers


FILTERS = {
    "all": HeaderFilter(),
    "status": HeaderFilter(status=FAILED),
    "workflow": HeaderFilter(workflow_id="w1"),
    "no such workflow": HeaderFilter(workflow_id="w2"),
    "name": HeaderFilter(workflow_name="name 3"),
    "time": HeaderFilter(started_after=1005.0, started_before=1010.0),
    "after": HeaderFilter(started_after=1020.0),
    "before": HeaderFilter(started_before=1003.0, workflow_name="name 1"),
    "everything": HeaderFilter(
        status=COMPLETED, workflow_id="w3", workflow_name="name 2", started_after=1000.0, started_before=1028.0
    ),
}


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("limit", [9, 50, 200])
async def test_lists_are_filtered_and_latest_first_in_pages_of_any_size(
    store: Store, filter: HeaderFilter, limit: int
) -> None:
    expected = [
        found.execution_id
        for found in sorted(await many_headers(store), key=lambda h: (h.started_at, h.execution_id), reverse=True)
        if (filter.status is None or found.status == filter.status)
        and (filter.workflow_id is None or found.workflow_id == filter.workflow_id)
        and (filter.workflow_name is None or found.workflow_name == filter.workflow_name)
        and (filter.started_after is None or found.started_at >= filter.started_after)
        and (filter.started_before is None or found.started_at < filter.started_before)
    ]
    assert await all_pages(store, filter, limit) == expected


NAMES = ["\0", "a\0b", "\\", "\\0", "a\\\0", "é'\"%", "\U0001d11e"]


async def test_any_text_may_name_a_workflow(store: Store) -> None:
    named = {name: header(f"x{i}", workflow_id=name, workflow_name=name) for i, name in enumerate(NAMES)}
    await store.write_headers(list(named.values()))
    for name, expected in named.items():
        assert await store.list_headers(HeaderFilter(workflow_name=name), Page()) == ([expected], None)
        assert await store.list_headers(HeaderFilter(workflow_id=name), Page()) == ([expected], None)
        kept = workflow(name, name=name)
        assert await store.put_workflow(kept) is True
        assert await store.get_workflow(name) == kept
        assert await store.list_workflows(Page(), name) == ([kept], None)
    assert await all_pages(store, HeaderFilter(), 2) == [f"x{i}" for i in reversed(range(len(NAMES)))]


async def test_workflows_with_any_id_are_paged(store: Store) -> None:
    for name in NAMES:
        await store.put_workflow(workflow(name))
    found: list[str] = []
    cursor = None
    while len(found) < len(NAMES):
        page, cursor = await store.list_workflows(Page(2, cursor))
        found += [shown.workflow_id for shown in page]
    assert cursor is None
    assert sorted(found) == sorted(NAMES)


async def test_a_page_is_not_moved_by_what_starts_meanwhile(store: Store) -> None:
    await store.write_headers([header(f"x{i}", started_at=float(i // 2)) for i in range(10)])
    first, cursor = await store.list_headers(HeaderFilter(), Page(3))
    await store.write_headers([header(f"new{i}", started_at=50.0) for i in range(5)])
    await store.write_headers([header("x9", 2, status=COMPLETED, started_at=4.0)])
    second, _ = await store.list_headers(HeaderFilter(), Page(20, cursor))
    assert ids(first + second) == [f"x{i}" for i in reversed(range(10))]


async def test_a_cursor_shows_nothing_outside_of_another_filter(store: Store) -> None:
    await store.write_headers([header(f"x{i}", started_at=float(i // 2)) for i in range(10)])
    _, cursor = await store.list_headers(HeaderFilter(), Page(3))
    older, _ = await store.list_headers(HeaderFilter(started_before=3.0), Page(20, cursor))
    assert ids(older) == ["x5", "x4", "x3", "x2", "x1", "x0"]
    newer, _ = await store.list_headers(HeaderFilter(started_after=4.0), Page(20, cursor))
    assert ids(newer) == []


@pytest.mark.parametrize("text", ["", "x", "!", "bm90IGpzb24", "WzEsMiwzXQ", "é", "a" * 10_000])
async def test_a_text_that_is_no_cursor_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor"):
        await store.list_headers(HeaderFilter(), Page(10, text))
    with pytest.raises(BadCursor, match="is not a cursor"):
        await store.list_workflows(Page(10, text))
    with pytest.raises(BadCursor, match="is not a cursor"):
        await store.open_headers(Page(10, text))


async def test_a_cursor_of_one_list_is_none_of_another(store: Store) -> None:
    await store.write_headers([header(f"x{i}") for i in range(3)])
    _, cursor = await store.list_headers(HeaderFilter(), Page(1))
    with pytest.raises(BadCursor):
        await store.list_workflows(Page(1, cursor))
    with pytest.raises(BadCursor):
        await store.open_headers(Page(1, cursor))


# ---- workflows


def workflow(key: str, **fields: Any) -> Workflow:
    given: dict[str, Any] = {"name": "n", "definition_hash": "h", "created_at": 1.0, "steps": 2, **fields}
    return Workflow(workflow_id=key, **given)


async def test_a_workflow_id_is_taken_once(store: Store) -> None:
    first = workflow("w", description="text \0 é", created_at=1.5)
    assert await store.put_workflow(first) is True
    assert await store.put_workflow(workflow("w", name="other")) is False
    assert await store.get_workflow("w") == first
    assert await store.get_workflow("other") is None


async def test_a_deleted_workflow_is_gone_and_its_id_free(store: Store) -> None:
    await store.put_workflow(workflow("w"))
    assert await store.delete_workflow("w") is True
    assert await store.delete_workflow("w") is False
    assert await store.get_workflow("w") is None
    assert await store.put_workflow(workflow("w", name="again")) is True


async def test_workflows_are_listed_latest_first_in_pages(store: Store) -> None:
    for i in random.Random(3).sample(range(9), 9):
        await store.put_workflow(workflow(f"w{i}", name=f"n{i % 2}", created_at=float(i // 3)))
    first, cursor = await store.list_workflows(Page(4))
    second, cursor = await store.list_workflows(Page(4, cursor))
    third, end = await store.list_workflows(Page(4, cursor))
    assert [found.workflow_id for found in first + second + third] == [f"w{i}" for i in reversed(range(9))]
    assert end is None
    named, _ = await store.list_workflows(Page(10), name="n1")
    assert [found.workflow_id for found in named] == ["w7", "w5", "w3", "w1"]
    assert await store.list_workflows(Page(10), name="n2") == ([], None)


# ---- pages


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_has_at_least_one_row(limit: int) -> None:
    with pytest.raises(ValueError, match="1 row or more"):
        Page(limit)
