"""DuckDB, closed: no files, no extensions, no settings; limited in time and memory.

A session that reads files of the data folder gets a database of its own: trusted code loads the files into
memory, then ``seal`` turns external access off for good and locks the configuration, and only then does anything
a caller wrote reach it. Inline records need no file, so their sessions share one database that was sealed when
it was opened, each on a connection of its own with temporary tables that vanish with it: opening a database
costs tens of milliseconds, a connection well under one.
"""

import threading
import time
from types import TracebackType
from typing import Any

import duckdb

from services.data_agent.config import DataAgentConfig
from services.data_agent.engine_errors import translate
from services.data_agent.faults import timed_out

_INTERRUPT_EVERY = 0.05


class Sandbox:
    """Opens sessions. One per process; one session at a time."""

    def __init__(self, config: DataAgentConfig) -> None:
        self._config = config
        self._sealed: duckdb.DuckDBPyConnection | None = None

    def session(self, *, reads_files: bool, time_limit: float | None = None) -> "Session":
        limit = min(time_limit or self._config.time_limit_seconds, self._config.time_limit_seconds)
        if reads_files:
            return Session(_open(self._config), limit)
        if self._sealed is None:
            self._sealed = _open(self._config)
            _seal(self._sealed)
        return Session(self._sealed.cursor(), limit)

    def close(self) -> None:
        if self._sealed is not None:
            self._sealed.close()
            self._sealed = None


class Session:
    """One call's connection. Leaving it closes the connection and forgets its tables.

    Every method that runs SQL raises CapabilityError: ``QueryTimeout``, ``MemoryLimit``, ``ForbiddenSql``,
    ``UnknownColumn``, ``UnknownTable``, ``TypeMismatch``, ``InvalidValue``, ``BadSql``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, time_limit: float) -> None:
        self._connection = connection
        self._time_limit = time_limit
        self._ends_at = time.monotonic() + time_limit
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._interrupt_late_work, name="time-limit", daemon=True)

    def __enter__(self) -> "Session":
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watch.join()
        self._connection.close()

    def seal(self) -> None:
        """From here on nothing outside the database can be reached, by anyone."""
        _seal(self._connection)

    def execute(self, sql: str, parameters: Any = None) -> duckdb.DuckDBPyConnection:
        self.check_time()
        try:
            return self._connection.execute(sql, parameters)
        except duckdb.Error as error:
            raise self._fault(error) from error

    def fetch(self, cursor: duckdb.DuckDBPyConnection, count: int) -> list[tuple[Any, ...]]:
        """Up to ``count`` more rows; what a streaming result computes late fails here."""
        self.check_time()
        try:
            return cursor.fetchmany(count)
        except duckdb.Error as error:
            raise self._fault(error) from error

    def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        cursor = self.execute(sql, parameters)
        try:
            return cursor.fetchall()
        except duckdb.Error as error:
            raise self._fault(error) from error

    def row(self, sql: str, parameters: Any = None) -> tuple[Any, ...]:
        return self.rows(sql, parameters)[0]

    def value(self, sql: str, parameters: Any = None) -> Any:
        return self.row(sql, parameters)[0]

    def parse(self, sql: str) -> list[duckdb.Statement]:
        try:
            return self._connection.extract_statements(sql)
        except duckdb.Error as error:
            raise translate(error) from error

    def check_time(self) -> None:
        if time.monotonic() >= self._ends_at:
            raise timed_out(self._time_limit)

    def _fault(self, error: duckdb.Error) -> Exception:
        return timed_out(self._time_limit) if isinstance(error, duckdb.InterruptException) else translate(error)

    def _interrupt_late_work(self) -> None:
        if self._done.wait(max(0.0, self._ends_at - time.monotonic())):
            return
        # Again and again: an interrupt between two statements is forgotten when the next begins.
        while not self._done.wait(_INTERRUPT_EVERY):
            self._connection.interrupt()


def _open(config: DataAgentConfig) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": config.threads,
            "memory_limit": f"{config.memory_limit_mb}MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "enable_external_file_cache": False,
            # Without this a name in SQL may stand for a Python variable of the caller.
            "python_enable_replacements": False,
            "errors_as_json": True,
        },
    )
    # Timestamps with a zone are compared and shown in UTC, whatever machine this runs on.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _seal(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
