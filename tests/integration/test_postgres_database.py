"""The PostgreSQL store and its database: which is used, how it gets its tables, and when it is refused."""

import asyncio
import contextlib
import random
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from contracts.agents import AgentStatus
from contracts.history import ExecutionStatus, Header
from contracts.registry import AgentFilter
from services.runtime.settings import Settings
from services.runtime.store import postgres_agents, postgres_dead_letters, postgres_schema
from services.runtime.store import postgres_statements as statements
from services.runtime.store.base import DeadLetterFilter, HeaderFilter, Page, StoreError, StoreUnavailable, Unstorable
from services.runtime.store.cursor import Cursor
from services.runtime.store.open import open_store
from services.runtime.store.postgres import PostgresStore
from services.runtime.store.postgres_schema import MIGRATIONS, Migration
from tests.support.postgres import PostgresProxy, sql
from tests.support.store_operations import agent, entry
from tests.support.stores import postgres_patience, started

pytestmark = pytest.mark.postgres

TABLES = {
    *("log", "headers", "payloads", "definitions", "workflows", "hosts", "agents", "dead_letters"),
    *("claims", "api_keys", "audit", "audit_checkpoints"),
    "conclave_migrations",
}


def patient(url: str, database: str) -> PostgresStore:
    return PostgresStore(url, database, connect_timeout=30, command_timeout=30, retry=0.1)


async def tables(url: str, database: str) -> set[str]:
    rows = await sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database)
    return {row["tablename"] for row in rows}


async def applied(url: str, database: str) -> list[int]:
    rows = await sql(url, "SELECT version FROM conclave_migrations ORDER BY version", database=database)
    return [row["version"] for row in rows]


# ---- which database


async def test_the_settings_say_which_store_is_opened(postgres_url: str, database: str) -> None:
    url = urlsplit(postgres_url)._replace(path=f"/{database}", query=postgres_patience(30)).geturl()
    async with started(open_store(Settings(database_url=url))) as store:  # type: ignore[call-arg]
        await store.append([entry("a", 1)])
    rows = await sql(postgres_url, "SELECT execution_id, n FROM log", database=database)
    assert [tuple(row) for row in rows] == [("a", 1)]


async def test_a_database_that_does_not_exist_is_named_and_not_made(postgres_url: str) -> None:
    async with started(patient(postgres_url, "no_such_database")) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match='database "no_such_database" does not exist') as refused:
                await store.ping()
            assert not isinstance(refused.value, StoreUnavailable)
    assert await sql(postgres_url, "SELECT FROM pg_database WHERE datname = 'no_such_database'") == []


async def test_a_database_that_comes_to_be_is_used_without_a_restart(postgres_url: str, database: str) -> None:
    later = f"{database}_later"
    async with started(patient(postgres_url, later)) as store:
        with pytest.raises(StoreError, match="does not exist"):
            await store.ping()
        await sql(postgres_url, f'CREATE DATABASE "{later}"')
        await store.ping()
    await sql(postgres_url, f'DROP DATABASE "{later}"')


async def test_a_database_of_another_encoding_is_refused(postgres_url: str, database: str) -> None:
    latin = f"{database}_latin"
    await sql(postgres_url, f"CREATE DATABASE \"{latin}\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        async with started(patient(postgres_url, latin)) as store:
            with pytest.raises(StoreError, match=f"{latin} has the encoding LATIN1; it must be UTF8"):
                await store.append([entry("a", 1)])
    finally:
        await sql(postgres_url, f'DROP DATABASE "{latin}"')


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:hunter@host/x",
        "postgresql://user:hun/ter@host/x",
        "postgresql://user:hun:ter@host:port/x",
        "postgresql://user:hun@ter@ho st/x",
        "postgresql://user:hunter@host:99999999/x",
        "postgresql://user:hunter@[::1/x",
        "postgresql://user:hunter@host/x?connect_timeout=soon",
        "postgresql://user:hunter@host/x?command_timeout=0",
    ],
)
async def test_a_url_that_is_none_is_refused_at_start_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="URL of the store") as refused:
        await PostgresStore(url, "x").start()
    assert not any(part in repr(refused.value) for part in ("hun", "ter@"))
    assert refused.value.__cause__ is None


async def test_a_wrong_password_is_an_error_and_is_not_shown(postgres_url: str, database: str) -> None:
    role = f"role_{database[-8:]}"
    await sql(postgres_url, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    place = urlsplit(postgres_url)
    url = place._replace(netloc=f"{role}:hunter2@{place.hostname}:{place.port}").geturl()
    try:
        async with started(patient(url, database)) as store:
            with pytest.raises(StoreError) as refused:
                await store.ping()
        assert "hunter2" not in str(refused.value)
    finally:
        await sql(postgres_url, f"DROP ROLE {role}")


# ---- its sessions


async def test_no_option_of_the_url_or_the_database_makes_writes_less_durable(postgres_url: str, database: str) -> None:
    await sql(postgres_url, f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    url = f"{postgres_url}?synchronous_commit=off&default_transaction_isolation=serializable"
    store = patient(url, database)
    async with started(store):
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        row = (await store._fetch("ask", "SELECT current_setting('synchronous_commit') AS commit,"
                                  " current_setting('transaction_isolation') AS isolation"))[0]  # fmt: skip
        assert (row["commit"], row["isolation"]) == ("on", "read committed")


async def test_sessions_have_a_name_that_the_url_can_choose(postgres_url: str, database: str) -> None:
    for query, name in (("", "conclave"), ("?application_name=orders", "orders")):
        async with started(patient(postgres_url + query, database)) as store:
            await store.ping()
            rows = await sql(
                postgres_url, f"SELECT application_name FROM pg_stat_activity WHERE datname = '{database}'"
            )
            assert {row["application_name"] for row in rows} == {name}


async def test_an_option_of_the_url_wins_over_a_timeout(postgres_url: str, database: str) -> None:
    async with PostgresProxy(postgres_url, delay=0.2) as proxy:
        url = f"{proxy.url}&connect_timeout=60&command_timeout=60"
        async with started(PostgresStore(url, database, connect_timeout=0.1, command_timeout=0.1)) as store:
            assert await store.append([entry("a", 1)]) == {"a/000000001"}
        async with started(PostgresStore(proxy.url, database, connect_timeout=30, command_timeout=0.1)) as store:
            with pytest.raises(StoreUnavailable):
                await store.append([entry("a", 2)])


async def test_of_several_hosts_the_one_that_answers_is_used(postgres_url: str, database: str) -> None:
    place = urlsplit(postgres_url)
    url = place._replace(netloc=f"{place.username}@127.0.0.1:1,{place.hostname}:{place.port}").geturl()
    async with started(patient(url, database)) as store:
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


async def test_a_server_that_takes_no_writes_is_unavailable(postgres_url: str, database: str) -> None:
    await sql(postgres_url, f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    async with started(patient(postgres_url, database)) as store:
        with pytest.raises(StoreUnavailable, match="no server of the URL takes writes"):
            await store.append([entry("a", 1)])
        await sql(postgres_url, f'ALTER DATABASE "{database}" SET default_transaction_read_only = off')
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


# ---- its tables


async def test_stores_that_start_at_once_make_the_tables_once(postgres_url: str, database: str) -> None:
    stores = [patient(postgres_url, database) for _ in range(6)]
    async with contextlib.AsyncExitStack() as stack:
        for store in stores:
            await stack.enter_async_context(started(store))
        await asyncio.wait_for(asyncio.gather(*(store.ping() for store in stores)), 60)
    assert await applied(postgres_url, database) == [migration.version for migration in MIGRATIONS]
    assert await tables(postgres_url, database) == TABLES


async def test_a_database_with_its_tables_is_left_as_it_is(postgres_url: str, database: str) -> None:
    moments = []
    for n in (1, 2):
        async with started(patient(postgres_url, database)) as store:
            assert await store.append([entry("a", n)]) == {f"a/00000000{n}"}
        moments.append(await sql(postgres_url, "SELECT * FROM conclave_migrations", database=database))
    assert moments[0] == moments[1]


async def test_a_database_of_the_first_version_is_upgraded_and_keeps_its_log(
    postgres_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(postgres_schema, "MIGRATIONS", MIGRATIONS[:1])
        async with started(patient(postgres_url, database)) as store:
            await store.append([entry("a", 1)])
        await sql(postgres_url, "INSERT INTO agents VALUES ('a', 5.0, '{}')", database=database)
        assert await applied(postgres_url, database) == [1]
    async with started(patient(postgres_url, database)) as store:
        assert await store.read_log({"a": 0}) == {"a": [entry("a", 1)]}
        assert await store.list_hosts() == []
        assert await store.list_agents(AgentFilter(), Page()) == ([], None)
        assert await store.add_agent(agent("a")) is True
    assert await applied(postgres_url, database) == [migration.version for migration in MIGRATIONS]
    assert await tables(postgres_url, database) == TABLES


async def test_the_next_version_adds_what_is_missing_and_keeps_what_is_there(
    postgres_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.append([entry("a", 1)])
    added = Migration(99, "a column", "ALTER TABLE log ADD COLUMN extra integer; CREATE TABLE more (x integer)")
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", (*MIGRATIONS, added))
    async with started(patient(postgres_url, database)) as store:
        assert await store.read_log({"a": 0}) == {"a": [entry("a", 1)]}
        assert await store.append([entry("a", 2)]) == {"a/000000002"}
    assert await applied(postgres_url, database) == [*(migration.version for migration in MIGRATIONS), 99]
    assert await tables(postgres_url, database) == {*TABLES, "more"}


async def test_tables_of_a_newer_version_are_refused_by_name(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
    newer = "INSERT INTO conclave_migrations (version, name) VALUES (1000, 'what is to come')"
    await sql(postgres_url, newer, database=database)
    async with started(patient(postgres_url, database)) as store:
        with pytest.raises(StoreError, match=r"version 1000 of the tables \(what is to come\), this Conclave knows"):
            await store.append([entry("a", 1)])
        with pytest.raises(StoreError, match="version 1000"):
            await store.ping()
    assert await sql(postgres_url, "SELECT FROM log", database=database) == []


async def test_a_migration_that_fails_leaves_nothing_behind_and_is_told_by_every_ping(
    postgres_url: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(99, "broken", "CREATE TABLE half (x integer); SELECT no_such_column FROM log")
    monkeypatch.setattr(postgres_schema, "MIGRATIONS", (*MIGRATIONS, broken))
    async with started(patient(postgres_url, database)) as store:
        for _ in range(2):
            with pytest.raises(StoreError, match="no_such_column"):
                await store.ping()
        assert await tables(postgres_url, database) == set()
        monkeypatch.setattr(postgres_schema, "MIGRATIONS", MIGRATIONS)
        with contextlib.suppress(StoreError):  # one that had begun before then still tells of it
            await store.ping()
        await store.ping()
    assert await tables(postgres_url, database) == TABLES


async def test_tables_of_somebody_else_are_not_taken_for_ours(postgres_url: str, database: str) -> None:
    await sql(postgres_url, "CREATE TABLE log (line text)", database=database)
    async with started(patient(postgres_url, database)) as store:
        with pytest.raises(StoreError, match='relation "log" already exists'):
            await store.ping()
    assert await tables(postgres_url, database) == {"log"}


async def test_a_role_that_may_change_no_tables_can_work_on_prepared_ones(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
    role = f"role_{database[-8:]}"
    place = urlsplit(postgres_url)
    url = place._replace(netloc=f"{role}:x@{place.hostname}:{place.port}").geturl()
    await sql(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        database=database,
    )
    try:
        async with started(patient(url, database)) as store:
            assert await store.append([entry("a", 1)]) == {"a/000000001"}
    finally:
        await sql(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=database)


# ---- its plans


async def plan(connection: Any, statement: str, values: list[Any]) -> str:
    """How the server would run a statement whose values it does not know yet, on tables that were empty when asked."""
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE asked AS {statement}")
    unknown = f" ({', '.join('NULL' for _ in values)})" if values else ""
    rows = await connection.fetch(f"EXPLAIN EXECUTE asked{unknown}")
    await connection.execute("DEALLOCATE asked")
    return "\n".join(row[0] for row in rows)


async def test_every_read_of_a_growing_table_is_served_by_an_index(postgres_url: str, database: str) -> None:
    page = Page(5, Cursor("executions", 1.0, "x").encode())
    matches: list[dict[str, str | None]] = [{}, {"status": "failed"}, {"workflow_id": "w"}, {"workflow_name": "n"}]
    letters = Page(5, Cursor("dead letters", 1.0, "x").encode())
    filters = [DeadLetterFilter(), DeadLetterFilter("r"), DeadLetterFilter(type="t"), DeadLetterFilter(queue="q")]
    agents = Page(5, Cursor("agents", 0.0, "x").encode())
    asked: list[tuple[str, list[Any]]] = [
        (statements.READ_LOG, [[], []]),
        (statements.GET_PAYLOADS, [[]]),
        (statements.READ_HEADERS, [[]]),
        (statements.DUE_HEADERS, [1.0, 1]),
        (statements.COUNT_OPEN, [1]),
        *(statements.page_of_headers(match, page, "executions", since=1.0) for match in matches),
        statements.page_of_workflows(None, Page(5), "workflows"),
        statements.page_of_workflows("n", Page(5), "workflows"),
        *(postgres_dead_letters.page_of_dead_letters(filter, letters) for filter in filters),
        postgres_agents.page_of_agents(AgentFilter(), agents),
        postgres_agents.page_of_agents(AgentFilter(agent_type="t"), agents),
        (postgres_agents.COUNT_AGENTS, []),
    ]
    store = patient(postgres_url, database)
    async with started(store):
        await store.ping()
        async with store._connections.connection("explain") as connection:  # type: ignore[union-attr]
            for statement, values in asked:
                found = await plan(connection, statement, values)
                assert "Index" in found, (statement, found)
                assert "Seq Scan" not in found, (statement, found)
                if "LIMIT" in statement:
                    assert "Sort" not in found, (statement, found)


async def test_agents_are_found_by_what_they_can_do_and_how_they_are_without_reading_them_all(
    postgres_url: str, database: str
) -> None:
    """Their order is made of what was found, which an index finds."""
    filters = {
        "agents_capabilities": AgentFilter(capability="c"),
        "agents_status": AgentFilter(statuses=(AgentStatus.IDLE, AgentStatus.ERROR)),
        "agents_pkey": AgentFilter(agent_ids=("a", "b")),
    }
    rows = (
        "INSERT INTO agents SELECT 'a' || i, 't', CASE WHEN i % 500 = 0 THEN 'idle' ELSE 'starting' END,"
        " ARRAY[CASE WHEN i % 500 = 0 THEN 'c' ELSE 'd' END], false, '{}' FROM generate_series(1, 5000) AS i"
    )
    async with started(patient(postgres_url, database)) as store:
        await store.ping()
        await sql(postgres_url, rows, "ANALYZE agents", database=database)
        async with store._connections.connection("explain") as connection:  # type: ignore[union-attr]
            for index, filter in filters.items():
                statement, values = postgres_agents.page_of_agents(filter, Page(50))
                found = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
                assert index in found, found
                assert "Seq Scan" not in found, found


async def test_lists_with_every_filter_can_be_asked(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        kept = Header(
            execution_id="x",
            n=1,
            status=ExecutionStatus.FAILED,
            workflow_id="a\0b",
            workflow_name="\\0",
            started_at=2.0,
        )
        await store.write_headers([kept])
        every = HeaderFilter(ExecutionStatus.FAILED, "a\0b", "\\0", 1.0, 3.0)
        assert await store.list_headers(every, Page(1)) == ([kept], None)


async def test_a_value_that_no_column_holds_is_told_apart(postgres_url: str, database: str) -> None:
    async with started(patient(postgres_url, database)) as store:
        too_long_for_an_index = random.Random(1).randbytes(5000).hex()
        for bad in (entry("a", 2**31), entry("x\ud800", 1), entry(too_long_for_an_index, 1)):
            with pytest.raises(Unstorable):
                await store.append([bad])
        with pytest.raises(Unstorable):
            await store.read_log({"x\ud800": 0})
        assert await store.append([entry("a", 1)]) == {"a/000000001"}


async def test_rows_can_be_read_without_the_store(postgres_url: str, database: str) -> None:
    """What an operator does with psql: the JSON is there to be seen."""
    async with started(patient(postgres_url, database)) as store:
        await store.append([entry("a", 1)])
    shown = "SELECT convert_from(entry, 'UTF8')::json ->> 'n' AS n FROM log WHERE execution_id = 'a'"
    connection = await asyncpg.connect(postgres_url, database=database)
    try:
        assert await connection.fetchval(shown) == "1"
    finally:
        await connection.close()
