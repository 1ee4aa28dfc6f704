"""The PostgreSQL store when its server restarts, stands still, or is cut off after it has done what it was asked, and
when writers meet.

What it has in common with other stores: test_store_faults_parity.py.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from scripts.servers import PostgresServer
from services.runtime.store.base import StoreUnavailable
from services.runtime.store.documents import entry_json
from services.runtime.store.postgres import PostgresStore
from tests.support.postgres import PostgresProxy, sql
from tests.support.store_operations import entry, header, outcomes
from tests.support.stores import started, until_it_answers

pytestmark = pytest.mark.postgres


# Seconds for what is to be answered before and after the fault, on a machine that stands still for some of them.
ENOUGH: dict[str, Any] = {"connect_timeout": 5.0, "command_timeout": 5.0}


def impatient(url: str, database: str = "conclave", **options: Any) -> PostgresStore:
    return PostgresStore(url, database, **{"connect_timeout": 0.5, "command_timeout": 1.0, "retry": 0.1, **options})


def patient(url: str, database: str) -> PostgresStore:
    return PostgresStore(url, database, connect_timeout=30, command_timeout=30)


# ---- restarted, still, and cut off


async def test_a_pool_full_of_connections_heals_after_a_restart(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    async with started(impatient(own_postgres.url, connect_timeout=30.0, command_timeout=30.0)) as store:
        await asyncio.gather(*(store.append([entry(f"x{i}", 1)]) for i in range(40)))
        own_postgres.restart()
        await until_it_answers(store)
        inserted = await asyncio.gather(*(store.append([entry(f"x{i}", 2)]) for i in range(40)))
        assert set().union(*inserted) == {f"x{i}/000000002" for i in range(40)}


async def test_a_server_that_stands_still_is_unavailable_until_it_goes_on(own_postgres: PostgresServer) -> None:
    own_postgres.start()
    async with started(impatient(own_postgres.url, **ENOUGH)) as store:
        await until_it_answers(store)
        await asyncio.gather(*(store.append([entry(f"x{i}", 1)]) for i in range(8)))
        rows = await sql(own_postgres.url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'conclave'")
        backends = [row["pid"] for row in rows]
        assert len(backends) > 1
        for backend in backends:
            os.kill(backend, signal.SIGSTOP)
        try:
            answers = await asyncio.wait_for(
                asyncio.gather(*(store.append([entry(f"y{i}", 1)]) for i in backends), return_exceptions=True), 60
            )
        finally:
            for backend in backends:
                os.kill(backend, signal.SIGCONT)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
        await until_it_answers(store)
        assert await store.append([entry("z", 1)]) == {"z/000000001"}


async def test_a_network_that_loses_everything_is_unavailable_and_heals(postgres_url: str, database: str) -> None:
    async with PostgresProxy(postgres_url) as proxy, started(impatient(proxy.url, database)) as store:
        await until_it_answers(store)
        proxy.frozen = True
        assert {type(answer) for answer in (await outcomes(store)).values()} == {StoreUnavailable}
        proxy.frozen = False
        await until_it_answers(store)
        # An answer has a second: on a machine that stands still it comes too late once more.
        async with asyncio.timeout(60):
            found = await outcomes(store)
            while any(isinstance(answer, StoreUnavailable) for answer in found.values()):
                found = await outcomes(store)
        assert [answer for answer in found.values() if isinstance(answer, BaseException)] == []


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
        answers = await asyncio.wait_for(asyncio.gather(*appends, return_exceptions=True), 60)
        assert {type(answer) for answer in answers} == {StoreUnavailable}
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


async def test_an_idle_connection_that_the_server_ended_and_that_is_not_closed_yet_is_thrown_away(
    postgres_url: str, database: str
) -> None:
    """A server that shuts down says so on every connection first. The driver takes no statement on it from then on."""
    async with PostgresProxy(postgres_url) as proxy:
        store = PostgresStore(proxy.url, database, connect_timeout=30, command_timeout=30, connections=1)
        async with started(store):
            await store.append([entry("a", 1)])
            proxy.silent_end = True
            await sql(
                postgres_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
            )
            while not proxy.ended:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            with pytest.raises(StoreUnavailable, match="another operation"):
                await store.append([entry("a", 2)])
            assert await store.append([entry("a", 2)]) == {"a/000000002"}
            proxy.silent_end = False


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
    async with started(impatient(postgres_url, database, **ENOUGH)) as store:
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
