"""A store in PostgreSQL: its tables as COPY writes them, all of one moment.

Everything is read in one transaction of isolation REPEATABLE READ, so the backup is what the database held when that
began, whatever is written meanwhile. It goes through the store's own driver: nothing more need be installed, and no
version of pg_dump has to fit the server's. The format is COPY's text, which every version of PostgreSQL reads.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from contracts.history import ExecutionStatus, wake_of_restored
from scripts.backups.files import chunks_of, rows_file
from scripts.backups.manifest import BackupError, FileFacts, Manifest
from scripts.backups.order import PLACEHOLDER, READ_IN_THIS_ORDER, Progress
from services.runtime.settings import Settings
from services.runtime.store.postgres_pool import Connections
from services.runtime.store.postgres_schema import MIGRATIONS, apply
from services.runtime.tls import postgres_context

_MIGRATIONS: Final = "conclave_migrations"
_CONNECT_SECONDS: Final = 10.0

# Values that are read back as they were, whatever the server's own settings are; and as long as it takes.
_SESSION: Final = """
SET LOCAL bytea_output = hex; SET LOCAL extra_float_digits = 3; SET LOCAL client_encoding = 'UTF8';
SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on;
"""
_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
_COLUMNS: Final = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position
"""
# An execution that was being started may be in the log alone. No broker will bring its start again, so nobody would
# ever look at it.
_ADD_HEADERS: Final = """
INSERT INTO headers (execution_id, n, status, workflow_name, started_at, wake_at)
SELECT execution_id, 1, $1, $2, $3, $4 FROM log
WHERE n = 1 AND NOT EXISTS (SELECT FROM headers WHERE headers.execution_id = log.execution_id)
"""

Read = tuple[str, tuple[FileFacts, ...], tuple[int, ...], tuple[str, ...]]
"""The server's version, the files, the versions of the tables, other tables."""


async def write_files(settings: Settings, folder: Path, progress: Progress) -> Read:
    """Read every table of the store into a file of this folder.

    Raises:
        BackupError: the database has not got the store's tables, or those of a newer version.
        StoreError: as the store says.
    """
    async with (
        _opened(settings, "back up") as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(_SESSION)
        there = await _tables(connection)
        migrations = await _migrations(connection, there)
        if migrations is None:
            raise BackupError("the database has none of the store's tables: is it the right one?")
        known = {migration.version for migration in MIGRATIONS}
        if newer := sorted(set(migrations) - known):
            raise BackupError(
                f"the tables are of version {newer[-1]}, this Conclave knows {max(known)} and earlier:"
                " make the backup with the version that runs here"
            )
        server = str(await connection.fetchval("SHOW server_version"))
        # Those of an earlier version are fewer.
        ours = [name for name in READ_IN_THIS_ORDER if name in there]
        facts = [await _write_file(connection, name, folder, progress) for name in ours]
        others = tuple(name for name in there if name not in (*READ_IN_THIS_ORDER, _MIGRATIONS))
    return server, tuple(facts), migrations, others


async def check_empty(settings: Settings, manifest: Manifest) -> None:
    """
    Raises:
        BackupError: there are rows in the database, or its tables are of another version than those of the backup.
        StoreError: as the store says.
    """
    async with _opened(settings, "look into the database") as connection:
        await _check_empty(connection, manifest)


async def read_files(
    settings: Settings, folder: Path, manifest: Manifest, restored_at: float, progress: Progress
) -> int:
    """Write what a backup has into an empty database, all of it or nothing; returns how many headers were made for
    executions that had none in the backup. The tables are of the backup's version then.

    Raises:
        BackupError: a file is damaged, or the database is not empty.
        StoreError: as the store says.
    """
    async with _opened(settings, "restore") as connection:
        async with connection.transaction():
            await connection.execute(_SESSION)
            await _check_empty(connection, manifest)
            applied = await _migrations(connection, await _tables(connection)) or ()
            for migration in MIGRATIONS:
                if migration.version in manifest.migrations and migration.version not in applied:
                    await apply(connection, migration)
            for facts in reversed(manifest.files):
                await _read_file(connection, folder, facts, progress)
            wake_at = wake_of_restored(restored_at)
            running = ExecutionStatus.RUNNING.value
            await connection.execute("UPDATE headers SET wake_at = $1 WHERE status = $2", wake_at, running)
            made = await connection.execute(_ADD_HEADERS, running, PLACEHOLDER, manifest.began_at, wake_at)
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(f"ANALYZE {', '.join(facts.collection for facts in manifest.files)}")
    return _count(made)


async def _write_file(connection: Any, name: str, folder: Path, progress: Progress) -> FileFacts:
    progress(name, 0)
    columns = tuple(row["column_name"] for row in await connection.fetch(_COLUMNS, name))
    with rows_file(folder, f"{name}.copy.gz", name, columns) as file:

        async def write(data: bytes) -> None:
            # Compression leaves the loop no time; the server waits meanwhile, as it should.
            await asyncio.to_thread(file.write, data, data.count(b"\n"))
            progress(name, file.rows)

        told = await connection.copy_from_table(name, columns=columns, output=write, format="text")
        if _count(told) != file.rows:
            raise BackupError(f"{name}: the server sent {_count(told):,} rows, {file.rows:,} were written")
        return file.finish()


async def _read_file(connection: Any, folder: Path, facts: FileFacts, progress: Progress) -> None:
    progress(facts.collection, 0)

    async def chunks() -> AsyncIterator[bytes]:
        rows = 0
        pieces = chunks_of(folder / facts.file)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece
            rows += piece.count(b"\n")
            progress(facts.collection, rows)

    told = await connection.copy_to_table(facts.collection, source=chunks(), columns=list(facts.columns), format="text")
    if _count(told) != facts.rows:
        raise BackupError(f"{facts.collection}: {_count(told):,} rows were restored, not {facts.rows:,}")


async def _check_empty(connection: Any, manifest: Manifest) -> None:
    known = {migration.version for migration in MIGRATIONS}
    if newer := sorted(set(manifest.migrations) - known):
        raise BackupError(
            f"the backup has tables of version {newer[-1]}, this Conclave knows {max(known)} and earlier:"
            f" restore it with Conclave {manifest.conclave} or later"
        )
    there = await _tables(connection)
    full = []
    for name in there:
        if name != _MIGRATIONS and await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{name}")'):
            count = await connection.fetchval(f'SELECT count(*) FROM "{name}"')
            full.append(f"{name} {count:,}")
    database = await connection.fetchval("SELECT current_database()")
    if full:
        raise BackupError(f"database {database} is not empty: it has rows in {', '.join(full)}")
    applied = await _migrations(connection, there)
    if applied is not None and applied != manifest.migrations:
        ours, theirs = (", ".join(map(str, versions)) for versions in (applied, manifest.migrations))
        raise BackupError(
            f"database {database} has tables of the versions {ours}, and the backup is of {theirs}:"
            " it goes into a database without tables, which are upgraded afterwards"
        )


async def _tables(connection: Any) -> list[str]:
    return [row["tablename"] for row in await connection.fetch(_TABLES)]


async def _migrations(connection: Any, tables: Sequence[str]) -> tuple[int, ...] | None:
    if _MIGRATIONS not in tables:
        return None
    return tuple(
        row["version"] for row in await connection.fetch(f"SELECT version FROM {_MIGRATIONS} ORDER BY version")
    )


def _count(told: str) -> int:
    """Of a command tag, such as ``COPY 5`` or ``INSERT 0 5``."""
    return int(told.rpartition(" ")[2])


@asynccontextmanager
async def _opened(settings: Settings, action: str) -> AsyncIterator[Any]:
    connections = Connections(
        **settings.get_database_config(),
        connect_timeout=_CONNECT_SECONDS,
        command_timeout=_CONNECT_SECONDS,
        size=1,
        tls=postgres_context(settings),
    )
    await connections.open()
    try:
        async with connections.connection(action) as connection:
            yield connection
    finally:
        await connections.close()
