"""Stores to back up, filled as the services fill them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import OKPKey
from pymongo import MongoClient

from contracts.audit import AuditEntry
from contracts.history import (
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    Header,
    LogEntry,
    StepDispatched,
    StepSucceeded,
)
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
from scripts import backup
from services.auditor import checkpoints
from services.orchestrator.payloads import reference, references, set_apart
from services.runtime.audit_chain import append_records
from services.runtime.security.signatures import SigningKey
from services.runtime.settings import Settings
from services.runtime.store.base import DeadLetterFilter, Page, Store
from services.runtime.store.open import open_store
from tests.support.postgres import own_postgres_database, sql
from tests.support.store_operations import agent, api_key, host, letter, record
from tests.support.stores import mongo_patience, postgres_patience, started

KINDS = [pytest.param("mongodb", marks=pytest.mark.mongodb), pytest.param("postgres", marks=pytest.mark.postgres)]
HARD = "\0 a\tb\\N\n\r\\. é\U0001d11e \\x00 \u2028"
LARGE = "x" * 100_000
PATIENT = {"mongodb": mongo_patience(), "postgres": postgres_patience()}


class Databases:
    """Databases of one test's own on the server of one kind."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self._url = url

    @asynccontextmanager
    async def new(self) -> AsyncIterator[Settings]:
        if self.kind == "postgres":
            async with own_postgres_database(self._url) as name:
                yield self.settings(name)
        else:  # never dropped: that takes the embedded store seconds, and its data goes with the server
            yield self.settings(f"test_{uuid.uuid4().hex}")

    def settings(self, name: str) -> Settings:
        url = urlsplit(self._url)._replace(path=f"/{name}", query=PATIENT[self.kind]).geturl()
        return Settings(database_url=url)  # type: ignore[call-arg]


class Life:
    """Writes what the services write, in their order, with an execution's every step at hand."""

    def __init__(self, store: Store, prefix: str = "e") -> None:
        self.store = store
        self.begun: list[str] = []
        self.key = SigningKey("a-key", OKPKey.generate_key("Ed25519"), 0)
        self._prefix = prefix
        self._last: AuditEntry | None = None
        self._signed = 0

    async def begin(self) -> str:
        """Entry 1 and what it refers to; the header is not there yet."""
        execution_id = f"{self._prefix}{len(self.begun)}"
        definition_hash = f"h-{execution_id}"
        await self.store.put_definition(definition_hash, {"name": HARD, "of": execution_id})
        inputs = {"text": LARGE}
        begun = ExecutionStarted(
            definition_hash=definition_hash,
            request_hash="r",
            workflow_name=HARD,
            inputs=inputs,
            inputs_ref=reference(execution_id, inputs),
        )
        await self.append(execution_id, 1, begun, StepDispatched(step="s1", attempt=1, deadline=9e9))
        self.begun.append(execution_id)
        return execution_id

    async def head(
        self, execution_id: str, n: int = 1, status: ExecutionStatus = ExecutionStatus.RUNNING, wake_at: float = 9e9
    ) -> None:
        woken = None if status.ended else wake_at
        header = Header(
            execution_id=execution_id, n=n, status=status, workflow_name=HARD, started_at=1.5, wake_at=woken
        )
        await self.store.write_headers([header])

    async def go_on(self, execution_id: str, n: int) -> None:
        output = {"text": f"{n}{LARGE}"}
        of = reference(execution_id, output)
        done = StepSucceeded(step=f"s{n - 1}", attempt=1, output=output, output_ref=of, finished_at=0.1 + n)
        await self.append(execution_id, n, done, StepDispatched(step=f"s{n}", attempt=1, deadline=9e9))

    async def end(self, execution_id: str, n: int) -> None:
        await self.append(execution_id, n, ExecutionEnded(status=ExecutionStatus.COMPLETED))
        await self.head(execution_id, n, ExecutionStatus.COMPLETED)

    async def append(self, execution_id: str, n: int, *events: Any) -> None:
        stored, payloads = set_apart(events)
        await self.store.put_payloads(payloads)
        entry = LogEntry(execution_id=execution_id, n=n, at=float(n), applied=(f"m{n}",), events=tuple(stored))
        assert await self.store.append([entry]) == {entry.id}

    async def audit(self, count: int = 3) -> None:
        records = [record(f"a-{uuid.uuid4().hex}", subject="é\U0001d11e", at=i + 0.1) for i in range(count)]
        self._last = (await append_records(self.store, records, after=self._last))[-1]
        await self.store.add_audit_checkpoint(checkpoints.sign(self._last, 1.5, self._signed, self.key))
        self._signed = self._last.n

    async def everything(self) -> None:
        """Something of each kind that a store keeps."""
        for n in range(3):
            execution_id = await self.begin()
            await self.head(execution_id)
            await self.go_on(execution_id, 2)
            if n == 2:
                await self.end(execution_id, 3)
        await self.store.put_workflow(
            Workflow(workflow_id="w", name=HARD, definition_hash="h-e0", created_at=1.5, steps=1)
        )
        await self.store.put_host(host("h"))
        await self.store.add_agent(agent("a").model_copy(update={"capabilities": ("x", 'y"{},')}))
        await self.store.put_dead_letter(letter("l").model_copy(update={"body": HARD}))
        await self.store.claim("first")
        await self.store.add_api_key(api_key())
        await self.audit()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    async with started(open_store(settings)) as store:
        await store.ping()
        yield store


async def create(settings: Settings, folder: Path, **options: Any) -> Path:
    return await asyncio.to_thread(lambda: backup.create(settings, folder, **options))


async def restore(settings: Settings, place: Path) -> int:
    return (await asyncio.to_thread(backup.restore, settings, place))[1]


async def all_that_is_in(store: Store, executions: list[str]) -> dict[str, Any]:
    logs = await store.read_log(dict.fromkeys(executions, 0))
    entries = [entry for log in logs.values() for entry in log]
    begun = [event for entry in entries for event in entry.events if isinstance(event, ExecutionStarted)]
    return {
        "log": logs,
        "payloads": await store.get_payloads(sorted(references(entries))),
        "headers": await store.read_headers(executions),
        "definitions": [await store.get_definition(event.definition_hash) for event in begun],
        "workflows": (await store.list_workflows(Page()))[0],
        "hosts": await store.list_hosts(),
        "agents": (await store.list_agents(AgentFilter(), Page()))[0],
        "dead_letters": (await store.list_dead_letters(DeadLetterFilter(), Page()))[0],
        "api_keys": (await store.list_api_keys(Page()))[0],
        "claimed": not await store.claim("first"),
        "audit": await store.read_audit(0, 1_000),
        "audit_checkpoints": await store.read_audit_checkpoints(0, 1_000),
    }


async def tables_of(settings: Settings) -> set[str]:
    if settings.database_url.startswith("mongodb"):
        with MongoClient[Any](settings.database_url) as client:
            return set(client.get_default_database().list_collection_names())
    rows = await sql(
        settings.database_url.partition("?")[0], "SELECT tablename FROM pg_tables WHERE schemaname='public'"
    )
    return {row["tablename"] for row in rows}
