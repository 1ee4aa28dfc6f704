"""The tables of the PostgreSQL store, and how a database gets them.

Text keys are compared byte by byte (``COLLATE "C"``): it is faster, and no upgrade of a locale's rules can break an
index. What only we read is ``bytea`` of JSON: neither side checks or converts it, it may hold what text may not, and
LZ4, where the server has it, took half the time of PostgreSQL's own compression for values of 20 kB.

Every index is paid for by each write, so there are few. Updates of headers change an indexed column (the status or
``wake_at``) nearly always, so pages are left no room for updates in place; dead rows are collected early instead.
"""

from dataclasses import dataclass
from typing import Any

import structlog

from services.runtime.store.base import StoreError
from services.runtime.store.postgres_pool import Connections

_MIGRATION_TIMEOUT = 600.0
_LOCK = 0x636F6E636C617665  # "conclave": one at a time changes the tables of a database

# Not to_regclass, which after waiting for a lock may still answer from a cache of before.
_IS_MIGRATED = """
SELECT EXISTS (
    SELECT FROM pg_tables WHERE tablename = 'conclave_migrations' AND schemaname = ANY (current_schemas(false))
)
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of the tables. What was released is never edited: the next change is a migration of its own."""

    version: int
    name: str
    sql: str


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "log, headers, payloads, definitions, workflows, agents",
        """
        CREATE TABLE log (
            execution_id text COLLATE "C" NOT NULL,
            n integer NOT NULL,
            entry bytea NOT NULL,
            PRIMARY KEY (execution_id, n)
        );
        CREATE TABLE payloads (
            payload_id text COLLATE "C" PRIMARY KEY,
            value bytea NOT NULL
        );
        CREATE TABLE definitions (
            definition_hash text COLLATE "C" PRIMARY KEY,
            definition bytea NOT NULL
        );
        CREATE TABLE headers (
            execution_id text COLLATE "C" PRIMARY KEY,
            n integer NOT NULL,
            status text COLLATE "C" NOT NULL,
            workflow_id text COLLATE "C",
            workflow_name text COLLATE "C" NOT NULL,
            started_at double precision NOT NULL,
            ended_at double precision,
            wake_at double precision
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
        CREATE INDEX headers_started ON headers (started_at, execution_id);
        CREATE INDEX headers_status_started ON headers (status, started_at, execution_id);
        CREATE INDEX headers_workflow_name_started ON headers (workflow_name, started_at, execution_id);
        CREATE INDEX headers_workflow_id_started ON headers (workflow_id, started_at, execution_id)
            WHERE workflow_id IS NOT NULL;
        CREATE INDEX headers_due ON headers (wake_at) WHERE status = 'running';
        CREATE TABLE workflows (
            workflow_id text COLLATE "C" PRIMARY KEY,
            name text COLLATE "C" NOT NULL,
            created_at double precision NOT NULL,
            workflow bytea NOT NULL
        );
        CREATE INDEX workflows_created ON workflows (created_at, workflow_id);
        CREATE INDEX workflows_name_created ON workflows (name, created_at, workflow_id);
        -- A few rows, each written again every few seconds: room for updates in place, which no index but the key bars.
        CREATE TABLE agents (
            host_id text COLLATE "C" PRIMARY KEY,
            seen_at double precision NOT NULL,
            announced bytea NOT NULL
        ) WITH (fillfactor = 50);
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
                ALTER TABLE log ALTER COLUMN entry SET COMPRESSION lz4;
                ALTER TABLE payloads ALTER COLUMN value SET COMPRESSION lz4;
                ALTER TABLE definitions ALTER COLUMN definition SET COMPRESSION lz4;
            END IF;
        END $$;
        """,
    ),
    Migration(
        2,
        "hosts, agents in place of what hosts said of themselves, dead letters",
        """
        -- Of no use to this version: hosts announce themselves again within seconds.
        DROP TABLE agents;
        -- A few rows, each marked again every few seconds: room for updates in place, which no index but the key bars.
        CREATE TABLE hosts (
            host_id text COLLATE "C" PRIMARY KEY,
            seen_at double precision NOT NULL,
            available boolean NOT NULL,
            announced bytea NOT NULL
        ) WITH (fillfactor = 50);
        CREATE TABLE agents (
            agent_id text COLLATE "C" PRIMARY KEY,
            agent_type text COLLATE "C" NOT NULL,
            status text COLLATE "C" NOT NULL,
            capabilities text[] COLLATE "C" NOT NULL,
            is_default boolean NOT NULL,
            agent bytea NOT NULL
        );
        CREATE INDEX agents_type ON agents (agent_type, agent_id);
        CREATE INDEX agents_status ON agents (status, agent_id);
        CREATE INDEX agents_capabilities ON agents USING gin (capabilities);
        CREATE INDEX agents_instances ON agents (agent_id) WHERE NOT is_default;
        CREATE TABLE dead_letters (
            letter_id text COLLATE "C" PRIMARY KEY,
            reason text COLLATE "C" NOT NULL,
            type text COLLATE "C" NOT NULL,
            queue text COLLATE "C" NOT NULL,
            died_at double precision NOT NULL,
            letter bytea NOT NULL
        );
        CREATE INDEX dead_letters_died ON dead_letters (died_at, letter_id);
        CREATE INDEX dead_letters_reason_died ON dead_letters (reason, died_at, letter_id);
        CREATE INDEX dead_letters_type_died ON dead_letters (type, died_at, letter_id);
        CREATE INDEX dead_letters_queue_died ON dead_letters (queue, died_at, letter_id);
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)) THEN
                ALTER TABLE dead_letters ALTER COLUMN letter SET COMPRESSION lz4;
            END IF;
        END $$;
        """,
    ),
    Migration(
        3,
        "claims, API keys, the audit log",
        """
        CREATE TABLE claims (
            name text COLLATE "C" PRIMARY KEY
        );
        CREATE TABLE api_keys (
            key_id text COLLATE "C" PRIMARY KEY,
            key bytea NOT NULL
        );
        CREATE TABLE audit (
            n bigint PRIMARY KEY,
            record_id text COLLATE "C" NOT NULL,
            actor text COLLATE "C" NOT NULL,
            action text COLLATE "C" NOT NULL,
            subject text COLLATE "C" NOT NULL,
            result text COLLATE "C" NOT NULL,
            correlation_id text COLLATE "C" NOT NULL,
            at double precision NOT NULL,
            record bytea NOT NULL,
            previous text COLLATE "C" NOT NULL,
            hash text COLLATE "C" NOT NULL
        );
        CREATE INDEX audit_record ON audit (record_id);
        CREATE INDEX audit_actor ON audit (actor, n);
        CREATE INDEX audit_subject ON audit (subject, n);
        CREATE INDEX audit_correlation ON audit (correlation_id, n);
        CREATE TABLE audit_checkpoints (
            n bigint PRIMARY KEY,
            checkpoint bytea NOT NULL
        );
        """,
    ),
)


async def prepare(connections: Connections) -> None:
    """Check that the database keeps what it confirms, and bring its tables up to this code's version.

    Services that start at once wait for each other; a migration that fails leaves nothing behind.

    Raises:
        StoreError: the database is not fit, newer than this code, or refuses a migration.
        StoreUnavailable: it does not answer, or another service has been changing the tables for too long.
    """
    async with connections.connection("prepare the database") as connection:
        await _check_fitness(connection, connections)
        if await _missing(connection, connections.command_timeout):
            async with connection.transaction():
                await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", timeout=connections.command_timeout)
                await connection.execute("SET LOCAL statement_timeout = 0")
                for migration in await _missing(connection, connections.command_timeout):
                    await apply(connection, migration)


async def _check_fitness(connection: Any, connections: Connections) -> None:
    row = await connection.fetchrow(
        "SELECT current_setting('server_encoding') AS encoding, current_setting('synchronous_commit') AS commit,"
        " current_setting('fsync') AS fsync",
        timeout=connections.command_timeout,
    )
    if row["encoding"] != "UTF8":
        raise StoreError(f"database {connections.database} has the encoding {row['encoding']}; it must be UTF8")
    if row["commit"] != "on":
        raise StoreError(f"sessions have synchronous_commit={row['commit']} although we ask for on: is it a pooler's?")
    if row["fsync"] != "on":
        _log.warning("store_may_forget", reason=f"the server has fsync={row['fsync']}")


async def _missing(connection: Any, timeout: float) -> list[Migration]:
    """The migrations that this database lacks. A role that may change no tables can ask, so that it can work on a
    database that another prepared."""
    applied = {}
    if await connection.fetchval(_IS_MIGRATED, timeout=timeout):
        rows = await connection.fetch("SELECT version, name FROM conclave_migrations", timeout=timeout)
        applied = {row["version"]: row["name"] for row in rows}
    known = {migration.version for migration in MIGRATIONS}
    for version, name in sorted(applied.items()):
        if version not in known:
            raise StoreError(
                f"the database has version {version} of the tables ({name}), this Conclave knows {max(known)} and"
                " earlier: a newer one works here, and this one must be upgraded"
            )
    return [migration for migration in MIGRATIONS if migration.version not in applied]


async def apply(connection: Any, migration: Migration) -> None:
    """Change the tables, and note that they are; within the caller's transaction."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS conclave_migrations (version integer PRIMARY KEY, name text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())"
    )
    await connection.execute(migration.sql, timeout=_MIGRATION_TIMEOUT)
    await connection.execute(
        "INSERT INTO conclave_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name
    )
    _log.info("migrated", version=migration.version, name=migration.name)
