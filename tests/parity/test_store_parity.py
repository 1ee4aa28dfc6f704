"""What every store must do with logs, payloads and definitions, over the store in memory, MongoDB's protocol and
PostgreSQL.

Headers and lists: test_store_lists_parity.py. What they do when their servers fail: test_store_faults_parity.py.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

from contracts.history import (
    AttemptFailed,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepDispatched,
    StepError,
    StepSkipped,
    StepSucceeded,
)
from services.runtime.store.base import Store, StoreError
from tests.support.stores import ENCRYPTED, STORES, largest, opened_store


@pytest.fixture(params=[*STORES, *ENCRYPTED])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


def entry(execution_id: str, n: int, *events: Any, applied: tuple[str, ...] = ()) -> LogEntry:
    return LogEntry(
        execution_id=execution_id,
        n=n,
        at=1_763_800_000.123456 + n,
        applied=applied or (f"message-{n}",),
        events=events or (StepDispatched(step="s", attempt=n, deadline=5.5),),
    )


def log(execution_id: str, length: int) -> list[LogEntry]:
    return [entry(execution_id, n) for n in range(1, length + 1)]


# ---- the log


async def test_append_returns_the_ids_that_it_inserted(store: Store) -> None:
    first, second = entry("a", 1), entry("b", 1)
    assert await store.append([first, second]) == {"a/000000001", "b/000000001"}
    assert await store.read_log({"a": 0, "b": 0}) == {"a": [first], "b": [second]}


async def test_of_two_entries_of_one_number_the_first_stays(store: Store) -> None:
    winner = entry("a", 1, StepSkipped(step="s", reason="first"))
    await store.append([winner])
    assert await store.append([entry("a", 1, StepSkipped(step="s", reason="second"))]) == set()
    assert await store.read_log({"a": 0}) == {"a": [winner]}


async def test_a_loser_does_not_keep_the_rest_of_its_batch_out(store: Store) -> None:
    await store.append([entry("b", 1), entry("d", 1)])
    batch = [entry(name, 1) for name in "abcde"]
    assert await store.append(batch) == {"a/000000001", "c/000000001", "e/000000001"}
    assert {name: len(found) for name, found in (await store.read_log(dict.fromkeys("abcde", 0))).items()} == (
        dict.fromkeys("abcde", 1)
    )


async def test_of_many_writers_at_once_exactly_one_wins_each_number(store: Store) -> None:
    def batch(writer: int) -> list[LogEntry]:
        events = StepSkipped(step="s", reason=f"writer {writer}")
        return [entry(f"x{i}", 1, events) for i in range(20)]

    inserted = await asyncio.gather(*(store.append(batch(writer)) for writer in range(8)))
    won = {key: writer for writer, keys in enumerate(inserted) for key in keys}
    assert sum(map(len, inserted)) == len(won) == 20
    logs = await store.read_log({f"x{i}": 0 for i in range(20)})
    assert {found[0].id: found[0].events[0] for found in logs.values()} == {
        key: StepSkipped(step="s", reason=f"writer {writer}") for key, writer in won.items()
    }


async def test_whoever_loses_a_number_reads_the_winner_at_once(store: Store) -> None:
    async def race(writer: int) -> bool:
        mine = [entry(f"x{i}", 1, StepSkipped(step="s", reason=f"writer {writer}")) for i in range(10)]
        inserted = await store.append(mine[:: 1 if writer % 2 else -1])
        logs = await store.read_log({f"x{i}": 0 for i in range(10)})
        return all((logs[lone.execution_id] == [lone]) == (lone.id in inserted) for lone in mine) and all(logs.values())

    assert await asyncio.gather(*(race(writer) for writer in range(6))) == [True] * 6


async def test_nothing_appended_is_nothing_inserted(store: Store) -> None:
    assert await store.append([]) == set()
    assert await store.read_log({}) == {}


@pytest.mark.parametrize("after", [0, 1, 3, 5])
async def test_reading_on_gives_what_came_after_in_order(store: Store, after: int) -> None:
    entries = log("a", 5)
    await store.append(entries)
    assert await store.read_log({"a": after}) == {"a": entries[after:]}


async def test_logs_of_any_length_are_read_at_once(store: Store) -> None:
    logs = {f"x{length}": log(f"x{length}", length) for length in (0, 1, 2, 4, 15, 16, 17, 79, 80, 81, 400)}
    await store.append([written for entries in logs.values() for written in entries])
    assert await store.read_log(dict.fromkeys(logs, 0)) == logs
    known = {key: len(entries) // 2 for key, entries in logs.items()}
    assert await store.read_log(known) == {key: entries[known[key] :] for key, entries in logs.items()}


async def test_an_unknown_execution_has_an_empty_log(store: Store) -> None:
    await store.append([entry("a", 1)])
    assert await store.read_log({"b": 0, "a": 0, "a.b": 3}) == {"b": [], "a": [entry("a", 1)], "a.b": []}


async def test_ids_that_begin_alike_do_not_meet(store: Store) -> None:
    names = ["a", "a-1", "a.b", "aa", "A", "a0", "a_"]
    for name in names:
        await store.append(log(name, 2))
    assert await store.read_log(dict.fromkeys(names, 1)) == {name: [entry(name, 2)] for name in names}


@pytest.mark.parametrize("name", ["nul\0", "\0", "\\", "\\0", "\\\\0\0\\", "é/'\"%_$1", "\U0001d11e", " "])
async def test_any_text_may_name_an_execution(store: Store, name: str) -> None:
    others = [name + "\0", name + "\\", name + "0", name + "\\0"]
    assert await store.append(log(name, 2)) == {f"{name}/000000001", f"{name}/000000002"}
    assert await store.read_log(dict.fromkeys([name, *others], 1)) == {
        name: [entry(name, 2)],
        **{o: [] for o in others},
    }
    await store.put_payloads({name: 1})
    assert await store.get_payloads([name, *others]) == {name: 1}


async def test_nothing_is_read_past_a_gap(store: Store) -> None:
    await store.append([entry("a", 1), entry("a", 2), entry("a", 4)])
    assert await store.read_log({"a": 0}) == {"a": [entry("a", 1), entry("a", 2)]}
    await store.append([entry("a", 3)])
    assert await store.read_log({"a": 2}) == {"a": [entry("a", 3), entry("a", 4)]}


async def test_every_kind_of_event_comes_back_as_it_was(store: Store) -> None:
    error = StepError(type="Boom", message="no", retryable=True, details={"at": [1, None]})
    written = entry(
        "a",
        1,
        ExecutionStarted(definition_hash="d", request_hash="r", workflow_name="w", inputs={"x": None}, client="c"),
        StepSucceeded(step="s", attempt=1, output=None, cached=True, started_at=1.5),
        StepSucceeded(step="s", attempt=1, output={"none": None, "nones": [None]}),
        AttemptFailed(step="s", attempt=1, error=error, retry_at=9.25, cause=1),
        ExecutionEnded(status=ExecutionStatus.FAILED, reason="because"),
        applied=("m1", "m2"),
    )
    await store.append([written])
    assert await store.read_log({"a": 0}) == {"a": [written]}


async def test_what_was_appended_is_not_shared_with_its_writer(store: Store) -> None:
    output = {"list": [1]}
    await store.append([entry("a", 1, StepSucceeded(step="s", attempt=1, output=output))])
    output["list"].append(2)
    first = (await store.read_log({"a": 0}))["a"][0]
    assert first.events[0].output == {"list": [1]}  # type: ignore[union-attr]
    first.events[0].output["list"].append(3)  # type: ignore[union-attr]
    assert (await store.read_log({"a": 0}))["a"][0].events[0].output == {"list": [1]}  # type: ignore[union-attr]


# ---- free JSON


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def nested(depth: int) -> Any:
    value: Any = "deep"
    for i in range(depth):
        value = [value] if i % 2 else {"in": value}
    return value


HARD_VALUES = {
    "keys of operators": {"$set": {"$where": 1}, "$": 2, "_id": 3},
    "keys with dots": {"a.b": {"": {".": 1}}, "a": {"b": 2}},
    "keys with nul": {"a\0b": "c\0d", "\0": "\0"},
    "integers beyond 64 bits": [2**63, -(2**63) - 1, 10**400],
    "floats and integers": [1, 1.0, -0.0, 0, 5e-324, 1.7976931348623157e308, 0.1, 1e22, 2.0**53],
    "booleans and numbers": [True, 1, False, 0, None],
    "text": ["", "\U0001d11e", "\u2028", "\ufeff", "\x7f", "é" * 1000],
    "nested": nested(150),
    "dates are text": "2026-01-01T00:00:00Z",
    "empty": [{}, [], "", None],
}


async def round_trips(store: Store, value: Any) -> list[Any]:
    key = uuid.uuid4().hex
    failure = StepError(type="T", message="m", details=value)
    events = (
        StepSucceeded(step="s", attempt=1, output=value),
        AttemptFailed(step="s", attempt=1, error=failure, retry_at=1.0),
    )
    await store.append([entry(key, 1, *events)])
    await store.put_payloads({key: value})
    await store.put_definition(key, {"definition": value})
    read: Any = (await store.read_log({key: 0}))[key][0].events
    definition = await store.get_definition(key)
    assert definition is not None
    return [read[0].output, read[1].error.details, (await store.get_payloads([key]))[key], definition["definition"]]


def exactly(value: Any) -> bytes:
    """Text that tells apart whatever JSON tells apart: 1 and 1.0, 0.0 and -0.0, the order of keys."""
    return to_json(value)


@pytest.mark.parametrize("value", HARD_VALUES.values(), ids=HARD_VALUES.keys())
async def test_hard_values_come_back_exactly(store: Store, value: Any) -> None:
    assert [exactly(found) for found in await round_trips(store, value)] == [exactly(value)] * 4


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
async def test_any_value_comes_back_exactly(store: Store, value: Any) -> None:
    assert [exactly(found) for found in await round_trips(store, value)] == [exactly(value)] * 4


async def test_a_value_that_is_no_json_is_refused_by_name_and_nothing_is_stored(store: Store) -> None:
    bad = entry("b", 1, StepSucceeded(step="s", attempt=1, output="\ud800"))
    with pytest.raises(StoreError, match="log entry b/000000001 cannot be written"):
        await store.append([entry("a", 1), bad])
    assert await store.read_log({"a": 0, "b": 0}) == {"a": [], "b": []}
    with pytest.raises(StoreError, match="payload p cannot be written"):
        await store.put_payloads({"p": {"x": object()}})
    with pytest.raises(StoreError, match="definition d cannot be written"):
        await store.put_definition("d", {"x": b"\xff"})


# ---- payloads


async def test_a_payload_is_written_once(store: Store) -> None:
    await store.put_payloads({"p": 1, "q": None})
    await store.put_payloads({"p": 2, "r": 3})
    assert await store.get_payloads(["p", "q", "r", "missing"]) == {"p": 1, "q": None, "r": 3}


async def test_no_payloads(store: Store) -> None:
    await store.put_payloads({})
    assert await store.get_payloads([]) == {}


async def test_a_payload_at_the_limit_is_stored_and_one_above_is_refused_with_both_sizes(store: Store) -> None:
    limit = largest(store)
    fits = "é" * ((limit - 2) // 2)
    await store.put_payloads({"fits": fits})
    assert await store.get_payloads(["fits"]) == {"fits": fits}
    with pytest.raises(StoreError, match=rf"payload above is {limit + 1:,} bytes .* limit is {limit:,}"):
        await store.put_payloads({"small": 1, "above": "x" * (limit - 1)})
    assert await store.get_payloads(["small", "above"]) == {}


async def test_more_large_payloads_than_one_message_holds(store: Store) -> None:
    payloads = {f"p{i}": {"text": str(i) * 12_000_000} for i in range(5)}
    await store.put_payloads(payloads)
    assert await store.get_payloads(payloads.keys()) == payloads


# ---- definitions


async def test_a_definition_is_written_once_and_found_by_its_hash(store: Store) -> None:
    await store.put_definition("h", {"name": "first", "$x.y": [1.0, 1]})
    await store.put_definition("h", {"name": "second"})
    assert await store.get_definition("h") == {"name": "first", "$x.y": [1.0, 1]}
    assert await store.get_definition("other") is None


# ---- life


async def test_a_running_store_answers_a_ping(store: Store) -> None:
    await store.ping()
