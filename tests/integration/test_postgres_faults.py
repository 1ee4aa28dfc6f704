"""The PostgreSQL store when its server is late, killed, deaf, or cut off after it has done what it was asked."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import asyncpg
import pytest

from contracts.history import ExecutionStatus, Header, LogEntry, StepSkipped
from scripts.servers import PostgresServer, free_port
from services.runtime.store.base import HeaderFilter, Page, Store, StoreError, StoreUnavailable
from services.runtime.store.documents import entry_json
from services.runtime.store.postgres import PostgresStore
from tests.support.postgres import PostgresProxy, own_postgres_database, sql

S = TypeVar("S", bound=Store)

pytestmark = pytest.mark.postgres


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[str]:
    """A database of this test's own in the shared server."""
    async with own_postgres_database(postgres_url) as name:
        yield name


@contextlib.asynccontextmanager
async def started(store: S) -> AsyncIterator[S]:
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def impatient(url: str, database: str = "conclave", **options: Any) -> PostgresStore:
    return PostgresStore(url, database, **{"connect_timeout": 0.5, "command_timeout": 1.0, "retry": 0.1, **options})


def patient(url: str, database: str) -> PostgresStore:
    return PostgresStore(url, database, connect_timeout=30, command_timeout=30)


def entry(execution_id: str, n: int, text: str = "") -> LogEntry:
    events = (StepSkipped(step="s", reason=text),)
    return LogEntry(execution_id=execution_id, n=n, at=1.0, applied=(f"m{n}",), events=events)


def header(execution_id: str, n: int = 1) -> Header:
    return Header(execution_id=execution_id, n=n, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)


async def eventually_answers(store: PostgresStore) -> None:
    while True:
        with contextlib.suppress(StoreUnavailable):
            return await store.ping()
        await asyncio.sleep(0.01)


async def operations(store: PostgresStore) -> list[BaseException | Any]:
    calls = [
        store.ping(),
        store.append([entry("a", 1)]),
        store.read_log({"a": 0}),
        store.put_payloads({"p": 1}),
        store.get_payloads(["p"]),
        store.write_headers([header("a")]),
        store.read_headers(["a"]),
        store.due_headers(1.0, 10),
        store.open_headers(Page()),
        store.count_open(10),
        store.list_headers(HeaderFilter(), Page()),
        store.get_definition("h"),
        store.get_workflow("w"),
        store.list_workflows(Page()),
        store.delete_workflow("w"),
        store.list_agent_hosts(0.0),
    ]
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 120)


# ---- late


async def test_a_store_that_is_away_at_start_is_unavailable_and_then_comes(own_postgres: PostgresServer) -> None:
    async with started(impatient(own_postgres.url)) as store:
        assert {type(outcome) for outcome in await operations(store)} == {StoreUnavailable}
        own_postgres.start()
        await asyncio.wait_for(eventually_answers(store), 60)
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


async def test_a_store_that_is_not_started_says_so() -> None:
    store = PostgresStore("postgresql://localhost:1/x", "x")
    with pytest.raises(StoreError, match="not started"):
        await store.ping()
    await store.stop()


async def test_a_stopped_store_says_so_and_can_be_stopped_while_the_server_is_away() -> None:
    store = impatient(f"postgresql://127.0.0.1:{free_port()}/x")
    await store.start()
    waiting = asyncio.create_task(store.append([entry("a", 1)]))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.stop(), 60)
    with pytest.raises(StoreError):
        await asyncio.wait_for(waiting, 60)
    with pytest.raises(StoreError, match="not started"):
        await store.ping()


async def test_the_end_of_the_loop_ends_a_store_that_nobody_stopped(postgres_url: str, database: str) -> None:
    for url in (f"postgresql://127.0.0.1:{free_port()}/x", postgres_url):
        store = impatient(url, database)

        async def forgetful(store: PostgresStore = store) -> None:
            await store.start()
            await asyncio.sleep(0.2)

        await asyncio.wait_for(asyncio.to_thread(asyncio.run, forgetful()), 60)


# ---- killed


async def test_what_was_acknowledged_outlives_kill_9_and_the_client_recovers(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    acknowledged: set[str] = set()
    failures: list[StoreError] = []
    enough = asyncio.Event()

    async def write(store: PostgresStore, writer: int) -> None:
        for n in range(1, 100_000):
            try:
                acknowledged.update(await store.append([entry(f"w{writer}-{i}", n) for i in range(5)]))
            except StoreUnavailable as error:
                failures.append(error)
                return
            if len(acknowledged) >= 300 * (1 + len(failures) // 3):
                enough.set()

    async with started(impatient(own_postgres.url, command_timeout=5.0)) as store:
        await asyncio.wait_for(eventually_answers(store), 60)
        for _ in range(2):
            enough.clear()
            writers = [asyncio.create_task(write(store, len(failures) + i)) for i in range(3)]
            await asyncio.wait_for(enough.wait(), 60)
            own_postgres.kill()
            await asyncio.wait_for(asyncio.gather(*writers), 120)
            own_postgres.start()
            await asyncio.wait_for(eventually_answers(store), 60)
            names = {key.rsplit("/", 1)[0] for key in acknowledged}
            logs = await store.read_log(dict.fromkeys(names, 0))
            stored = {written.id for log in logs.values() for written in log}
            assert acknowledged - stored == set()
        assert len(failures) == 6
        assert len(acknowledged) >= 600


async def test_headers_and_payloads_outlive_kill_9(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    async with started(impatient(own_postgres.url, command_timeout=30.0)) as store:
        headers = [header(f"x{i}", n) for n in (1, 2) for i in range(20)]
        await store.write_headers(headers[:20])
        await store.write_headers(headers[20:])
        await store.put_payloads({"p": ["é", 2**70]})
        own_postgres.kill()
        own_postgres.start()
        await asyncio.wait_for(eventually_answers(store), 60)
        assert await store.read_headers([row.execution_id for row in headers]) == {
            row.execution_id: row for row in headers[20:]
        }
        assert await store.get_payloads(["p"]) == {"p": ["é", 2**70]}


async def test_a_pool_full_of_connections_heals_after_a_restart(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    async with started(impatient(own_postgres.url, command_timeout=30.0)) as store:
        await asyncio.gather(*(store.append([entry(f"x{i}", 1)]) for i in range(40)))
        own_postgres.restart()
        await asyncio.wait_for(eventually_answers(store), 60)
        inserted = await asyncio.gather(*(store.append([entry(f"x{i}", 2)]) for i in range(40)))
        assert set().union(*inserted) == {f"x{i}/000000002" for i in range(40)}


# ---- deaf, and cut off


async def test_a_server_that_takes_connections_and_never_answers_is_unavailable() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with started(impatient(f"postgresql://u@127.0.0.1:{port}/x?sslmode=disable")) as store:
        assert {type(outcome) for outcome in await operations(store)} == {StoreUnavailable}
    server.close()


async def test_a_server_that_stands_still_is_unavailable_until_it_goes_on(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    async with started(impatient(own_postgres.url)) as store:
        await asyncio.wait_for(eventually_answers(store), 60)
        await asyncio.gather(*(store.append([entry(f"x{i}", 1)]) for i in range(8)))
        rows = await sql(own_postgres.url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'conclave'")
        backends = [row["pid"] for row in rows]
        assert len(backends) > 1
        for backend in backends:
            os.kill(backend, signal.SIGSTOP)
        try:
            outcomes = await asyncio.wait_for(
                asyncio.gather(*(store.append([entry(f"y{i}", 1)]) for i in backends), return_exceptions=True), 60
            )
        finally:
            for backend in backends:
                os.kill(backend, signal.SIGCONT)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        await asyncio.wait_for(eventually_answers(store), 60)
        assert await store.append([entry("z", 1)]) == {"z/000000001"}


async def test_a_network_that_loses_everything_is_unavailable_and_heals(postgres_url: str, database: str) -> None:
    async with PostgresProxy(postgres_url) as proxy, started(impatient(proxy.url, database)) as store:
        await asyncio.wait_for(eventually_answers(store), 60)
        proxy.frozen = True
        assert {type(outcome) for outcome in await operations(store)} == {StoreUnavailable}
        proxy.frozen = False
        await asyncio.wait_for(eventually_answers(store), 60)
        assert [outcome for outcome in await operations(store) if isinstance(outcome, BaseException)] == []


async def test_an_append_whose_answer_is_lost_is_found_in_the_log(postgres_url: str, database: str) -> None:
    async with PostgresProxy(postgres_url) as proxy, started(patient(proxy.url, database)) as store:
        await store.append([entry("a", 1)])
        proxy.mute = b'"mine"'
        batch = [entry("a", 2, "mine"), entry("b", 1, "mine"), entry("a", 1, "lost")]
        with pytest.raises(StoreUnavailable, match="append to the log"):
            await store.append(batch)
        assert proxy.muted == 1
        assert await store.append(batch) == set()
        assert await store.read_log({"a": 0, "b": 0}) == {"a": [entry("a", 1), batch[0]], "b": [batch[1]]}


async def test_connections_cut_in_the_middle_of_work_are_unavailable_and_replaced(
    postgres_url: str, database: str
) -> None:
    async with PostgresProxy(postgres_url, delay=0.3) as proxy, started(patient(proxy.url, database)) as store:
        await store.ping()
        appends = [asyncio.create_task(store.append([entry(f"x{i}", 1)])) for i in range(6)]
        while proxy.connections < 6:
            await asyncio.sleep(0.01)
        proxy.cut()
        outcomes = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 60)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert await store.append([entry("y", 1)]) == {"y/000000001"}


async def test_a_statement_that_is_abandoned_does_not_answer_the_next(postgres_url: str, database: str) -> None:
    async with PostgresProxy(postgres_url) as proxy:
        store = PostgresStore(proxy.url, database, connect_timeout=30, command_timeout=30, connections=1)
        async with started(store):
            await store.append([entry("a", 1)])
            proxy.frozen = True
            abandoned = asyncio.create_task(store.read_log({"a": 0}))
            await asyncio.sleep(0.1)
            abandoned.cancel()
            proxy.frozen = False
            with pytest.raises(asyncio.CancelledError):
                await abandoned
            assert await store.read_log({"b": 0}) == {"b": []}
            assert await store.append([entry("b", 1)]) == {"b/000000001"}


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_a_statement_that_an_operator_ends_is_unavailable(postgres_url: str, database: str, how: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
        async with held_entry(postgres_url, database, "a", 1):
            waiting = asyncio.create_task(store.append([entry("a", 1)]))
            await until_waiting_for_a_lock(postgres_url, database)
            for row in await waiting_for_a_lock(postgres_url, database):
                await sql(postgres_url, f"SELECT {how}({row['pid']})")
            with pytest.raises(StoreUnavailable, match=r"SQLSTATE (57014|08003)"):
                await asyncio.wait_for(waiting, 60)
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


# ---- races


async def test_a_loser_waits_for_the_winner_and_then_sees_its_entry(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as loser:
        await loser.ping()
        async with held_entry(postgres_url, database, "a", 1, "won") as winner:
            losing = asyncio.create_task(loser.append([entry("a", 1, "lost"), entry("b", 1)]))
            await until_waiting_for_a_lock(postgres_url, database)
            assert await loser.read_log({"a": 0}) == {"a": []}
            assert not losing.done()
            await winner.commit()
            assert await asyncio.wait_for(losing, 60) == {"b/000000001"}
            assert await loser.read_log({"a": 0}) == {"a": [entry("a", 1, "won")]}


async def test_a_loser_wins_if_the_winner_gives_up(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
        async with held_entry(postgres_url, database, "a", 1) as other:
            waiting = asyncio.create_task(store.append([entry("a", 1)]))
            await until_waiting_for_a_lock(postgres_url, database)
            await other.rollback()
            assert await asyncio.wait_for(waiting, 60) == {"a/000000001"}


async def test_a_lock_that_is_held_too_long_is_unavailable_and_the_statement_ends(
    postgres_url: str, database: str
) -> None:
    async with started(impatient(postgres_url, database)) as store:
        await store.ping()
        async with held_entry(postgres_url, database, "a", 1):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(store.append([entry("a", 1)]), 60)
            while await waiting_for_a_lock(postgres_url, database):
                await asyncio.sleep(0.01)
        assert await store.read_log({"a": 0}) == {"a": []}
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


async def test_writers_of_the_same_rows_in_any_order_do_not_wait_in_a_circle(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
        for turn in range(10):
            rows = [entry(f"x{turn}-{i}", 1) for i in range(300)]
            headers = [header(row.execution_id) for row in rows]
            inserted = await asyncio.gather(*(store.append(rows[::step]) for step in (1, -1, 1, -1)))
            assert sum(map(len, inserted)) == len(set().union(*inserted)) == 300
            await asyncio.gather(*(store.write_headers(headers[::step]) for step in (1, -1, 1, -1)))
            await asyncio.gather(*(store.put_payloads({row.id: 1 for row in rows[::step]}) for step in (1, -1)))
        deadlocks = await sql(postgres_url, f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{database}'")
        assert deadlocks[0]["deadlocks"] == 0


@contextlib.asynccontextmanager
async def held_entry(url: str, database: str, execution_id: str, n: int, text: str = "") -> AsyncIterator[Any]:
    """A transaction of another client that has written an entry and is not ended yet; at the end it is given up."""
    connection = await asyncpg.connect(url, database=database)
    try:
        transaction = connection.transaction()
        await transaction.start()
        written = entry_json(entry(execution_id, n, text))
        await connection.execute("INSERT INTO log VALUES ($1, $2, $3)", execution_id, n, written)
        yield transaction
    finally:
        await connection.close()


async def waiting_for_a_lock(url: str, database: str) -> list[Any]:
    return await sql(url, f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'")


async def until_waiting_for_a_lock(url: str, database: str) -> None:
    while not await waiting_for_a_lock(url, database):
        await asyncio.sleep(0.01)
