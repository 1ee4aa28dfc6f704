"""The store on MongoDB. The only module that names motor.

Every write is confirmed by a majority and journalled, every read is of majority-committed state from the primary,
whatever the URL says. A loser of a race sees the winner's entry in its next read: MongoDB waits for the majority before
it answers "duplicate key", too (its own test of that is jstests/replsets/noop_writes_wait_for_write_concern.js).

After a network error the driver sends a write once more. MongoDB knows the statement again and answers as it did the
first time; a server that does not answers "duplicate key", which is told as a lost race. Either way nothing is counted
as written that was not, and whoever reads the log on finds their own entry in it. A write whose answer never came may
even land after later reads: unique ids and rising version numbers make that harmless too.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ASCENDING, ReadPreference
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from contracts.history import ExecutionStatus, Header, LogEntry, entry_id
from contracts.workflow import Workflow
from services.runtime.store import documents
from services.runtime.store.base import HeaderFilter, Page, StoreError
from services.runtime.store.documents import Document
from services.runtime.store.mongo_access import MongoAccess
from services.runtime.store.mongo_agents import MongoAgents
from services.runtime.store.mongo_audit import MongoAudit
from services.runtime.store.mongo_collections import Collections
from services.runtime.store.mongo_dead_letters import MongoDeadLetters
from services.runtime.store.mongo_errors import translated
from services.runtime.store.mongo_layout import Layout
from services.runtime.store.mongo_tls import driver_options
from services.runtime.store.preparation import Preparation
from services.runtime.tls import TlsFiles

_WINDOW_OF_NEW = 16
_WINDOW_OF_KNOWN = 4
_WINDOW_GROWTH = 4
_MAX_WINDOW = 1024

_STATUSES = [status.value for status in ExecutionStatus]


class MongoStore(MongoAgents, MongoDeadLetters, MongoAccess, MongoAudit):
    """A ``Store`` in one MongoDB database, on a server, a replica set or anything that speaks the protocol.

    Args:
        url: ``mongodb://...``; an option in it wins over the timeouts given here, never over durability.
        database: name of the database.
        tls: TLS, verified, with these files; None: as the URL says.
        selection_timeout: seconds to wait for a primary before the store counts as unavailable.
        socket_timeout: seconds to wait for the answer to one request.
        retry: seconds between attempts to make collections and indexes while the store is away.
    """

    def __init__(
        self,
        url: str,
        database: str,
        *,
        tls: TlsFiles | None = None,
        selection_timeout: float = 1.5,
        socket_timeout: float = 5.0,
        retry: float = 1.0,
    ) -> None:
        self._url = url
        self._database = database
        self._timeouts = {
            "serverSelectionTimeoutMS": round(selection_timeout * 1000),
            "connectTimeoutMS": round(selection_timeout * 1000),
            "socketTimeoutMS": round(socket_timeout * 1000),
            "waitQueueTimeoutMS": round(socket_timeout * 1000),
        }
        self._retry = retry
        self._tls = tls
        self._open_files = ExitStack()
        self._client: Any = None
        self._layout: Layout | None = None
        self._preparation: Preparation | None = None

    # ---- life

    async def start(self) -> None:
        try:
            with translated("connect"):
                tls = self._open_files.enter_context(driver_options(self._tls))
                self._client = AsyncIOMotorClient(self._url, **self._timeouts_not_in_url(), **tls)
                database = self._client.get_database(
                    self._database,
                    read_preference=ReadPreference.PRIMARY,
                    read_concern=ReadConcern("majority"),
                    write_concern=WriteConcern(w="majority", j=True),
                )
        except ValueError as error:
            self._open_files.close()
            raise StoreError(f"the URL of the store is not one of MongoDB: {error}") from error
        self._layout = Layout(database)
        self._preparation = Preparation(self._layout.make, self._retry)
        self._collections = Collections(database, self._preparation.ready)
        self._preparation.begin()

    async def stop(self) -> None:
        preparation, client = self._preparation, self._client
        self._preparation = self._layout = self._collections = self._client = None
        if preparation is None:
            return
        await preparation.give_up()
        # Closing says goodbye to the server, which may take as long as looking for one that is away.
        await asyncio.to_thread(client.close)
        self._open_files.close()

    async def ping(self) -> None:
        """Also raises the StoreError that kept an index from being made; without it operations work, but slowly."""
        await self._stored.ping()
        if self._layout is not None and self._layout.fault is not None:
            raise self._layout.fault

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        rows = [documents.entry_document(entry) for entry in entries]
        lost = await self._stored.insert("log", rows)
        return {row["_id"] for i, row in enumerate(rows) if i not in lost}

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        """Numbers are dense, so entries are asked for by id, in windows that grow until one is not full.

        What stands behind a gap is left for the next read: the entry in the gap was written while this read went on.
        """
        found: dict[str, list[LogEntry]] = {execution_id: [] for execution_id in after}
        windows = {
            execution_id: range(n + 1, n + 1 + (_WINDOW_OF_KNOWN if n else _WINDOW_OF_NEW))
            for execution_id, n in after.items()
        }
        while windows:
            rows = await self._stored.by_ids(
                "log", (entry_id(key, n) for key, window in windows.items() for n in window)
            )
            for execution_id, window in list(windows.items()):
                entries = _until_gap(rows, execution_id, window)
                found[execution_id] += entries
                if len(entries) < len(window):
                    del windows[execution_id]
                else:
                    size = min(len(window) * _WINDOW_GROWTH, _MAX_WINDOW)
                    windows[execution_id] = range(window.stop, window.stop + size)
        return found

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        rows = [documents.payload_document(key, value) for key, value in payloads.items()]
        await self._stored.insert("payloads", rows)

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        rows = await self._stored.by_ids("payloads", ids)
        return {key: documents.payload_of(row) for key, row in rows.items()}

    # ---- headers

    async def write_headers(self, headers: Sequence[Header]) -> None:
        newest: dict[str, Header] = {}
        for header in headers:
            known = newest.get(header.execution_id)
            if known is None or known.n <= header.n:
                newest[header.execution_id] = header
        await self._stored.write_newer(
            "headers", "n", [documents.header_document(header) for header in newest.values()]
        )

    async def read_headers(self, ids: Collection[str]) -> dict[str, Header]:
        rows = await self._stored.by_ids("headers", ids)
        return {key: documents.header_of(row) for key, row in rows.items()}

    async def due_headers(self, now: float, limit: int) -> list[Header]:
        query = {"status": ExecutionStatus.RUNNING.value, "wake_at": {"$lte": now}}
        rows = await self._stored.find("headers", query, order=[("wake_at", ASCENDING)], limit=limit)
        return [documents.header_of(row) for row in rows]

    async def open_headers(self, page: Page) -> tuple[list[Header], str | None]:
        match = {"status": ExecutionStatus.RUNNING.value}
        rows, cursor = await self._stored.page(
            "headers", match, "started_at", page, kind="open executions", latest_first=False
        )
        return [documents.header_of(row) for row in rows], cursor

    async def count_open(self, limit: int) -> int:
        return await self._stored.count("headers", {"status": ExecutionStatus.RUNNING.value}, limit)

    async def list_headers(self, filter: HeaderFilter, page: Page) -> tuple[list[Header], str | None]:
        chosen = {
            "status": filter.status.value if filter.status else None,
            "workflow_id": filter.workflow_id,
            "workflow_name": filter.workflow_name,
        }
        match: Document = {name: value for name, value in chosen.items() if value is not None}
        rows, cursor = await self._stored.page(
            "headers",
            # Naming every status lets the index of lists of one status serve lists of all, in order.
            match or {"status": {"$in": _STATUSES}},
            "started_at",
            page,
            kind="executions",
            since=filter.started_after,
            until=filter.started_before,
        )
        return [documents.header_of(row) for row in rows], cursor

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        await self._stored.insert("definitions", [documents.definition_document(definition_hash, definition)])

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None:
        row = await self._stored.get("definitions", definition_hash)
        return None if row is None else documents.definition_of(row)

    async def put_workflow(self, workflow: Workflow) -> bool:
        return not await self._stored.insert("workflows", [documents.workflow_document(workflow)])

    async def get_workflow(self, workflow_id: str) -> Workflow | None:
        row = await self._stored.get("workflows", workflow_id)
        return None if row is None else documents.workflow_of(row)

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        match = {} if name is None else {"name": name}
        rows, cursor = await self._stored.page("workflows", match, "created_at", page, kind="workflows")
        return [documents.workflow_of(row) for row in rows], cursor

    async def delete_workflow(self, workflow_id: str) -> bool:
        return await self._stored.delete("workflows", workflow_id)

    # ---- within

    def _timeouts_not_in_url(self) -> dict[str, Any]:
        given = {name.lower() for name, _ in parse_qsl(urlsplit(self._url).query, keep_blank_values=True)}
        return {name: value for name, value in self._timeouts.items() if name.lower() not in given}


def _until_gap(rows: Mapping[str, Document], execution_id: str, window: range) -> list[LogEntry]:
    entries: list[LogEntry] = []
    for n in window:
        row = rows.get(entry_id(execution_id, n))
        if row is None:
            break
        entries.append(documents.entry_of(row))
    return entries
