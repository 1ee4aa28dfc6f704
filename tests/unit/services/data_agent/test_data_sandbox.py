"""The locks: a caller's SQL reaches nothing but its tables, and stops at its limits."""

import ast
import inspect
import threading
from collections import deque
from pathlib import Path

import duckdb
import pytest

from services.data_agent import sandbox as sandbox_module
from services.data_agent.config import DataAgentConfig
from services.data_agent.sandbox import Sandbox
from services.runtime.agent import CapabilityError

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
secret_variable = duckdb.sql("SELECT 42 AS leaked")

READS = [
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv(['{secret}'])",
    "SELECT * FROM read_csv_auto('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_blob('{folder}/*')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_json_objects('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM parquet_metadata('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_duckdb('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM '{folder}/*.csv'",
    'SELECT * FROM "{secret}"',
    "SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "WITH x AS (SELECT * FROM read_text('{secret}')) SELECT * FROM x",
    "SELECT * FROM data WHERE b IN (SELECT content FROM read_text('{secret}'))",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT * FROM read_text(''{secret}'')'))",
    "SELECT * FROM read_csv('https://example.com/x.csv')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_text('/dev/stdin')",
    "SELECT * FROM sqlite_scan('{secret}', 't')",
    "SELECT getenv('HOME')",
    "SELECT * FROM secret_variable",
    "SELECT * FROM ROWS",
]

STATEMENTS = [
    "COPY data TO '{folder}/out.csv'",
    "COPY data FROM '{secret}'",
    "COPY (SELECT 1) TO '{folder}/out.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/out.db'",
    "ATTACH ':memory:' AS other",
    "DETACH memory",
    "USE memory",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET threads = 8",
    "SET GLOBAL memory_limit = '100GB'",
    "SET VARIABLE x = 1",
    "PRAGMA threads = 8",
    "PRAGMA memory_limit = '100GB'",
    "PRAGMA version",
    "CALL pragma_version()",
    "CHECKPOINT",
    "CREATE TABLE t AS SELECT 1",
    "CREATE MACRO f(x) AS x",
    "CREATE SECRET (TYPE s3)",
    "INSERT INTO data VALUES (3, 'z')",
    "UPDATE data SET a = 0",
    "DELETE FROM data",
    "DROP TABLE data",
    "TRUNCATE data",
    "MERGE INTO data USING data d ON true WHEN MATCHED THEN DELETE",
    "ALTER TABLE data ADD COLUMN c INT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "PIVOT data ON b USING sum(a)",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE data",
    "SELECT 1; SET lock_configuration = false",
    ";",
    "-- nothing",
    "WITH x AS (INSERT INTO data VALUES (3, 'z') RETURNING *) SELECT * FROM x",
    "WITH x AS (DELETE FROM data RETURNING *) SELECT * FROM x",
    "SELECT 1) AS answer; DROP TABLE data; SELECT * FROM (SELECT 1",
    "SELECT 1) UNION ALL (SELECT 2",
]

# Those of them that only the lock of the database stops, not the lack of what they name.
LOCKED_STATEMENTS = [
    sql
    for sql in STATEMENTS
    if sql.split()[0] in ("COPY", "EXPORT", "INSTALL", "FORCE", "LOAD", "SET", "RESET") or "out.db" in sql
    if "VARIABLE" not in sql
]


@pytest.fixture
def places(folder: Path) -> dict[str, str]:
    # Inside the data folder on purpose: not even its files may be read by a caller's SQL.
    (folder / "secret.csv").write_text("password\nhunter2\n")
    (folder / "own.csv").write_text("a,b\n1,x\n")
    return {"secret": str(folder / "secret.csv"), "folder": str(folder)}


@pytest.mark.parametrize("source", ["inline", "file"])
@pytest.mark.parametrize("sql", READS)
def test_sql_reads_nothing_but_its_tables(refused, places, sql, source) -> None:
    error = refused("query", sql=sql.format(**places), data_source=ROWS if source == "inline" else "own")
    assert error.code in ("ForbiddenSql", "UnknownTable", "BadSql")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("source", ["inline", "file"])
@pytest.mark.parametrize("sql", STATEMENTS)
def test_sql_is_one_select_and_changes_nothing(run, refused, places, folder, sql, source) -> None:
    data = ROWS if source == "inline" else "own"
    before = sorted(folder.rglob("*"))
    error = refused("query", sql=sql.format(**places), data_source=data)
    assert error.code in ("ForbiddenSql", "BadSql")
    assert sorted(folder.rglob("*")) == before
    again = run("query", sql="SELECT count(*) AS n FROM data", data_source=data)
    assert again["records"] == [{"n": 2 if source == "inline" else 1}]


@pytest.mark.parametrize("sealed_later", [False, True])
def test_the_database_itself_is_locked_whatever_statement_reaches_it(config, folder, places, sealed_later) -> None:
    """The second lock, without the check that there is but one SELECT."""
    box = Sandbox(config)
    with box.session(reads_files=sealed_later) as session:
        if sealed_later:
            session.seal()
        for sql in [*LOCKED_STATEMENTS, *READS]:
            with pytest.raises(CapabilityError):
                session.execute(sql.format(**places))
        settings = dict(session.rows("SELECT name, value FROM duckdb_settings()"))
    box.close()
    assert settings["enable_external_access"] == "false"
    assert settings["lock_configuration"] == "true"
    assert settings["autoload_known_extensions"] == settings["autoinstall_known_extensions"] == "false"
    assert settings["python_enable_replacements"] == settings["allow_persistent_secrets"] == "false"
    assert (settings["threads"], settings["temp_directory"]) == ("1", "")
    assert settings["memory_limit"].startswith("244.1")
    assert not (folder / "out.csv").exists()
    assert not (folder / "out.db").exists()


def test_a_session_that_is_not_sealed_could_read_files(config, places) -> None:
    """So the tests above fail if sealing does nothing."""
    box = Sandbox(config)
    with box.session(reads_files=True) as session:
        assert session.rows(f"SELECT * FROM read_csv('{places['secret']}')") == [("hunter2",)]
        session.seal()
        with pytest.raises(CapabilityError, match="not allowed") as caught:
            session.rows(f"SELECT * FROM read_csv('{places['secret']}')")
    assert caught.value.code == "ForbiddenSql"


@pytest.mark.parametrize("source", ["inline", "file"])
def test_expressions_run_behind_the_same_locks(run, places, source) -> None:
    data = ROWS if source == "inline" else "own"
    locked = "current_setting('enable_external_access') = false AND current_setting('lock_configuration') = true"
    operations = [{"op": "derive", "columns": {"locked": locked}}, {"op": "limit", "count": 1}]
    assert run("process_data", data_source=data, operations=operations)["records"][0]["locked"] is True
    checked = run("validate_data", data_source=data, checks=[{"name": "locked", "expression": locked}])
    assert checked["valid"] is True


def test_one_call_sees_nothing_of_another(run, refused) -> None:
    run("query", sql="SELECT * FROM mine", tables={"mine": ROWS})
    run("query", sql="SELECT setseed(0.5)")
    assert refused("query", sql="SELECT * FROM mine").code == "UnknownTable"
    left = run("query", sql="SELECT table_name FROM duckdb_tables()")
    assert left["records"] == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000000000)",
        "SELECT sum(x.a * y.a) FROM range(1000000) AS x(a), range(1000000) AS y(a)",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT * FROM range(1000000000000) AS t(n) WHERE n < 0",
    ],
)
def test_work_stops_at_its_time_limit_and_the_next_goes_on(run, refused, sql) -> None:
    error = refused("query", sql=sql, timeout_seconds=0.2)
    assert error.code == "QueryTimeout"
    assert "0.2 s" in str(error)
    assert run("query", sql="SELECT 1 AS n")["records"] == [{"n": 1}]


def test_an_operation_stops_at_the_time_limit_too(refused) -> None:
    slow = (
        "list_sum(list_transform(range(3000), lambda x: list_sum(list_transform(range(2000), lambda y: x * y + id))))"
    )
    rows = [{"id": number} for number in range(2_000)]
    operations = [{"op": "derive", "columns": {"x": slow}}]
    error = refused("process_data", data_source=rows, operations=operations, timeout_seconds=0.3)
    assert error.code == "QueryTimeout"
    assert "operation 0 (derive)" in str(error)


def test_the_time_limit_covers_all_statements_together(config) -> None:
    box = Sandbox(config)
    with box.session(reads_files=False, time_limit=0.3) as session, pytest.raises(CapabilityError) as caught:
        deque((session.value("SELECT 1") for _ in range(1_000_000)), maxlen=0)
    assert caught.value.code == "QueryTimeout"
    box.close()


def test_a_request_cannot_raise_the_time_limit(config) -> None:
    box = Sandbox(config.model_copy(update={"time_limit_seconds": 0.2}))
    with box.session(reads_files=False, time_limit=60) as session, pytest.raises(CapabilityError) as caught:
        session.rows("SELECT count(*) FROM range(1000000000000)")
    assert "0.2 s" in str(caught.value)
    box.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM range(1000000000000) ORDER BY random()",
        "SELECT list(n) FROM range(1000000000) AS t(n)",
        "SELECT string_agg(n::VARCHAR, ',') FROM range(1000000000) AS t(n)",
        "SELECT count(DISTINCT n) FROM range(1000000000) AS t(n)",
    ],
)
def test_work_stops_at_its_memory_limit_and_the_next_goes_on(run, refused, sql) -> None:
    assert refused("query", sql=sql).code == "MemoryLimit"
    assert run("query", sql="SELECT 1 AS n")["records"] == [{"n": 1}]


def test_deeply_nested_sql_is_an_error_and_not_a_crash(refused) -> None:
    for sql in (
        "SELECT " + "(" * 9_000 + "1" + ")" * 9_000,
        "SELECT " + "+".join(["1"] * 9_000),
        "SELECT " + "[" * 9_000 + "]" * 9_000,
        "SELECT * FROM " + "(FROM " * 2_000 + "data" + ")" * 2_000,
        "SELECT " + "NOT " * 4_000 + "true",
    ):
        assert refused("query", sql=sql, data_source=ROWS).code == "BadSql"


def test_sessions_of_several_threads_do_not_meet(folder, config) -> None:
    (folder / "own.csv").write_text("a\n" + "".join(f"{number}\n" for number in range(1_000)))
    totals: dict[int, list[int]] = {}

    def work(number: int) -> None:
        box = Sandbox(config)
        totals[number] = []
        for _ in range(5):
            with box.session(reads_files=True) as session:
                session.execute(f"CREATE TEMP TABLE t AS SELECT a + {number} AS a FROM read_csv('{folder}/own.csv')")
                session.seal()
                totals[number].append(session.value("SELECT sum(a) FROM t"))
        box.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == {number: [499_500 + 1_000 * number] * 5 for number in range(6)}


def test_no_watch_outlives_its_session(config) -> None:
    box = Sandbox(config)
    for _ in range(20):
        with box.session(reads_files=False) as session:
            session.value("SELECT 1")
    box.close()
    assert [thread for thread in threading.enumerate() if thread.name == "time-limit"] == []


def test_only_the_sandbox_opens_databases() -> None:
    package = Path(inspect.getfile(sandbox_module)).parent
    openers = set()
    for path in package.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "connect":
                openers.add(path.name)
    assert openers == {"sandbox.py"}


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="max_row"):
        DataAgentConfig.model_validate({"max_row": 5})
