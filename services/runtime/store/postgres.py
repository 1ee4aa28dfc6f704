"""The store on PostgreSQL, through asyncpg.

Every statement commits by itself and is on disk when it returns (``synchronous_commit=on``, set by each session; with
synchronous standbys, on theirs too), and reads what was committed, from the server that takes writes. A loser of a
race for an entry waits for the winner's commit before it is told, so its next read has the winner's entry.

A statement whose answer is lost may have been committed, now or a moment later: nothing is sent twice, the caller is
told StoreUnavailable, and unique keys and rising version numbers make it harmless.

Rows go in by order of their keys, so that writers of the same rows wait for each other and never in a circle.
"""

import ssl
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

from contracts.history import ExecutionStatus, Header, LogEntry, entry_id
from contracts.workflow import Workflow
from services.runtime.store import documents
from services.runtime.store import postgres_statements as sql
from services.runtime.store.base import HeaderFilter, Page
from services.runtime.store.cursor import Cursor
from services.runtime.store.postgres_access import PostgresAccess
from services.runtime.store.postgres_agents import PostgresAgents
from services.runtime.store.postgres_audit import PostgresAudit
from services.runtime.store.postgres_dead_letters import PostgresDeadLetters
from services.runtime.store.postgres_pool import Connections, Row
from services.runtime.store.postgres_schema import prepare
from services.runtime.store.postgres_statements import in_parts, packed, unpacked
from services.runtime.store.preparation import Preparation


class PostgresStore(PostgresAgents, PostgresDeadLetters, PostgresAccess, PostgresAudit):
    """A ``Store`` in one PostgreSQL database, which must exist; its tables are made and upgraded at start.

    Args:
        url: ``postgresql://[user[:password]@]host[:port][,host[:port]]/...?option=value``, options as libpq has them;
            ``connect_timeout`` and ``command_timeout`` (seconds) in it win over the timeouts given here.
        database: name of the database.
        tls: TLS, with verification on, and no connection without it; None: as the URL says.
        connect_timeout: seconds to connect and log in before the store counts as unavailable.
        command_timeout: seconds to wait for a free connection, and for the answer to one statement.
        connections: how many there may be at once.
        retry: seconds between attempts to prepare the database while it is away.
    """

    def __init__(
        self,
        url: str,
        database: str,
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = 1.5,
        command_timeout: float = 5.0,
        connections: int = 8,
        retry: float = 1.0,
    ) -> None:
        self._url = url
        self._database = database
        self._tls = tls
        self._timeouts = {"connect_timeout": connect_timeout, "command_timeout": command_timeout}
        self._size = connections
        self._retry = retry

    # ---- life

    async def start(self) -> None:
        connections = Connections(self._url, self._database, tls=self._tls, **self._timeouts, size=self._size)
        await connections.open()
        self._connections = connections
        self._preparation = Preparation(lambda: prepare(connections), self._retry)
        self._preparation.begin()

    async def stop(self) -> None:
        connections, preparation = self._connections, self._preparation
        self._connections = self._preparation = None
        if connections is None or preparation is None:
            return
        await preparation.give_up()
        await connections.close()

    async def ping(self) -> None:
        """Also raises the StoreError that kept the tables from being made or upgraded."""
        await self._fetch("ping", "SELECT 1")

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        rows = [(packed(entry.execution_id), entry.n, documents.entry_json(entry)) for entry in entries]
        rows.sort(key=itemgetter(0, 1))
        inserted: set[str] = set()
        for part in in_parts(rows, [len(row[2]) for row in rows]):
            answer = await self._fetch("append to the log", sql.APPEND, *_columns(part))
            inserted.update(entry_id(unpacked(execution_id), n) for execution_id, n in answer)
        return inserted

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        """In one statement, of one moment; what stands behind a gap is left for the next read."""
        found: dict[str, list[LogEntry]] = {execution_id: [] for execution_id in after}
        if not after:
            return found
        rows = await self._fetch("read the log", sql.READ_LOG, [packed(key) for key in after], list(after.values()))
        for row in sorted(rows, key=itemgetter(0, 1)):
            execution_id = unpacked(row[0])
            entries = found[execution_id]
            if row[1] == after[execution_id] + len(entries) + 1:
                entries.append(documents.entry_of_json(entry_id(execution_id, row[1]), row[2]))
        return found

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        rows = sorted((packed(key), documents.payload_json(key, value)) for key, value in payloads.items())
        for part in in_parts(rows, [len(row[1]) for row in rows]):
            await self._fetch("put payloads", sql.PUT_PAYLOADS, *_columns(part))

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        if not ids:
            return {}
        rows = await self._fetch("get payloads", sql.GET_PAYLOADS, [packed(key) for key in ids])
        return {(key := unpacked(row[0])): documents.payload_of_json(key, row[1]) for row in rows}

    # ---- headers

    async def write_headers(self, headers: Sequence[Header]) -> None:
        newest: dict[str, Header] = {}
        for header in headers:
            known = newest.get(header.execution_id)
            if known is None or known.n <= header.n:
                newest[header.execution_id] = header
        if newest:
            rows = [_header_row(newest[key]) for key in sorted(newest)]
            await self._fetch("write headers", sql.WRITE_HEADERS, *_columns(rows))

    async def read_headers(self, ids: Collection[str]) -> dict[str, Header]:
        if not ids:
            return {}
        rows = await self._fetch("read headers", sql.READ_HEADERS, [packed(key) for key in ids])
        return {header.execution_id: header for header in map(_header_of, rows)}

    async def due_headers(self, now: float, limit: int) -> list[Header]:
        return [_header_of(row) for row in await self._fetch("read due headers", sql.DUE_HEADERS, now, limit)]

    async def open_headers(self, page: Page) -> tuple[list[Header], str | None]:
        kind = "open executions"
        running = {"status": ExecutionStatus.RUNNING.value}
        return await self._headers(kind, page, sql.page_of_headers(running, page, kind, latest_first=False))

    async def count_open(self, limit: int) -> int:
        rows = await self._fetch("count open executions", sql.COUNT_OPEN, limit)
        return int(rows[0][0])

    async def list_headers(self, filter: HeaderFilter, page: Page) -> tuple[list[Header], str | None]:
        kind = "executions"
        match = {
            "status": filter.status.value if filter.status else None,
            "workflow_id": filter.workflow_id,
            "workflow_name": filter.workflow_name,
        }
        since, until = filter.started_after, filter.started_before
        return await self._headers(kind, page, sql.page_of_headers(match, page, kind, since=since, until=until))

    async def _headers(self, kind: str, page: Page, asked: tuple[str, list[Any]]) -> tuple[list[Header], str | None]:
        statement, values = asked
        headers = [_header_of(row) for row in await self._fetch(f"list {kind}", statement, *values)]
        shown = headers[: page.limit]
        if len(headers) == len(shown):
            return shown, None
        return shown, Cursor(kind, shown[-1].started_at, shown[-1].execution_id).encode()

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        value = documents.definition_json(definition_hash, definition)
        await self._fetch("put a definition", sql.PUT_DEFINITION, packed(definition_hash), value)

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None:
        rows = await self._fetch("get a definition", sql.GET_DEFINITION, packed(definition_hash))
        return documents.definition_of_json(definition_hash, rows[0][0]) if rows else None

    async def put_workflow(self, workflow: Workflow) -> bool:
        key, name = packed(workflow.workflow_id), packed(workflow.name)
        value = documents.workflow_json(workflow)
        return bool(await self._fetch("put a workflow", sql.PUT_WORKFLOW, key, name, workflow.created_at, value))

    async def get_workflow(self, workflow_id: str) -> Workflow | None:
        rows = await self._fetch("get a workflow", sql.GET_WORKFLOW, packed(workflow_id))
        return documents.workflow_of_json(workflow_id, rows[0][0]) if rows else None

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        kind = "workflows"
        statement, values = sql.page_of_workflows(name, page, kind)
        rows = await self._fetch("list workflows", statement, *values)
        shown = [documents.workflow_of_json(unpacked(row[0]), row[2]) for row in rows[: page.limit]]
        if len(rows) == len(shown):
            return shown, None
        return shown, Cursor(kind, shown[-1].created_at, shown[-1].workflow_id).encode()

    async def delete_workflow(self, workflow_id: str) -> bool:
        return bool(await self._fetch("delete a workflow", sql.DELETE_WORKFLOW, packed(workflow_id)))


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _header_row(header: Header) -> tuple[Any, ...]:
    return (
        packed(header.execution_id),
        header.n,
        header.status.value,
        None if header.workflow_id is None else packed(header.workflow_id),
        packed(header.workflow_name),
        header.started_at,
        header.ended_at,
        header.wake_at,
    )


def _header_of(row: Row) -> Header:
    values = dict(row)
    for name in ("execution_id", "workflow_id", "workflow_name"):
        values[name] = None if values[name] is None else unpacked(values[name])
    return Header.model_validate(values)
