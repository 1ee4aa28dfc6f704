"""A store in memory, for tests of what stands on a store. It keeps the documents that a database would keep, so that
nothing written is shared with its writer and what no database holds is refused here too."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar

from contracts.access import ApiKey
from contracts.agents import AgentRecord
from contracts.audit import AuditCheckpoint, AuditEntry, AuditFilter
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStatus, Header, LogEntry, entry_id
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
from services.runtime.store import audit_documents, documents
from services.runtime.store.base import DeadLetterFilter, HeaderFilter, Host, Page
from services.runtime.store.cursor import Cursor, decode_cursor
from services.runtime.store.documents import Document
from services.runtime.store.letter_pages import KIND, Place, fitting

Moment = Literal["before", "after"]
Hook = Callable[[str, Moment], Awaitable[None]]
T = TypeVar("T")


class MemoryStore:
    """A ``Store`` whose operations are atomic and never give way to another task, unless a hook does.

    ``hook`` is awaited with the operation's name before and after it takes effect. To suspend there is to let others
    in between; to raise "before" is an operation that never happened; to raise "after" is one whose answer was lost.

    ``calls`` counts the operations that took effect, by name; ``rows`` is what is stored: documents by collection
    and id. ``log_of`` and ``header_of`` are for a test's own eyes: they go past the hook.
    """

    def __init__(self, hook: Hook | None = None) -> None:
        self.hook = hook
        self.calls: dict[str, int] = defaultdict(int)
        self.rows: dict[str, dict[Any, Document]] = defaultdict(dict)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def ping(self) -> None:
        await self._do("ping", lambda: None)

    # ---- the log

    async def append(self, entries: Sequence[LogEntry]) -> set[str]:
        rows = [documents.entry_document(entry) for entry in entries]
        return await self._do("append", lambda: self._insert("log", rows))

    async def read_log(self, after: Mapping[str, int]) -> dict[str, list[LogEntry]]:
        return await self._do(
            "read_log", lambda: {execution_id: self._log_after(execution_id, n) for execution_id, n in after.items()}
        )

    def log_of(self, execution_id: str) -> list[LogEntry]:
        return self._log_after(execution_id, 0)

    async def put_payloads(self, payloads: Mapping[str, Any]) -> None:
        rows = [documents.payload_document(key, value) for key, value in payloads.items()]
        await self._do("put_payloads", lambda: self._insert("payloads", rows))

    async def get_payloads(self, ids: Collection[str]) -> dict[str, Any]:
        return await self._do(
            "get_payloads", lambda: {row["_id"]: documents.payload_of(row) for row in self._by_ids("payloads", ids)}
        )

    # ---- headers

    async def write_headers(self, headers: Sequence[Header]) -> None:
        rows = [documents.header_document(header) for header in headers]
        await self._do("write_headers", lambda: self._write_newer("headers", "n", rows))

    async def read_headers(self, ids: Collection[str]) -> dict[str, Header]:
        return await self._do(
            "read_headers", lambda: {row["_id"]: documents.header_of(row) for row in self._by_ids("headers", ids)}
        )

    def header_of(self, execution_id: str) -> Header | None:
        row = self.rows["headers"].get(execution_id)
        return None if row is None else documents.header_of(row)

    async def due_headers(self, now: float, limit: int) -> list[Header]:
        def due() -> list[Header]:
            found = [header for header in self._headers() if header.wake_at is not None and header.wake_at <= now]
            running = [header for header in found if header.status is ExecutionStatus.RUNNING]
            return sorted(running, key=lambda header: header.wake_at or 0.0)[:limit]

        return await self._do("due_headers", due)

    async def open_headers(self, page: Page) -> tuple[list[Header], str | None]:
        def of_page() -> tuple[list[Header], str | None]:
            found = [header for header in self._headers() if header.status is ExecutionStatus.RUNNING]
            places = [(header.started_at, header.execution_id) for header in found]
            return _page("open executions", found, places, page, latest_first=False)

        return await self._do("open_headers", of_page)

    async def count_open(self, limit: int) -> int:
        def count() -> int:
            return min(limit, sum(header.status is ExecutionStatus.RUNNING for header in self._headers()))

        return await self._do("count_open", count)

    async def list_headers(self, filter: HeaderFilter, page: Page) -> tuple[list[Header], str | None]:
        def of_page() -> tuple[list[Header], str | None]:
            found = [header for header in self._headers() if _matches(header, filter)]
            return _page("executions", found, [(header.started_at, header.execution_id) for header in found], page)

        return await self._do("list_headers", of_page)

    # ---- definitions and workflows

    async def put_definition(self, definition_hash: str, definition: Mapping[str, Any]) -> None:
        row = documents.definition_document(definition_hash, definition)
        await self._do("put_definition", lambda: self._insert("definitions", [row]))

    async def get_definition(self, definition_hash: str) -> dict[str, Any] | None:
        rows = await self._do("get_definition", lambda: self._by_ids("definitions", [definition_hash]))
        return documents.definition_of(rows[0]) if rows else None

    async def put_workflow(self, workflow: Workflow) -> bool:
        row = documents.workflow_document(workflow)
        return bool(await self._do("put_workflow", lambda: self._insert("workflows", [row])))

    async def get_workflow(self, workflow_id: str) -> Workflow | None:
        rows = await self._do("get_workflow", lambda: self._by_ids("workflows", [workflow_id]))
        return documents.workflow_of(rows[0]) if rows else None

    async def list_workflows(self, page: Page, name: str | None = None) -> tuple[list[Workflow], str | None]:
        def of_page() -> tuple[list[Workflow], str | None]:
            workflows = [documents.workflow_of(row) for row in self.rows["workflows"].values()]
            found = [workflow for workflow in workflows if name is None or workflow.name == name]
            return _page("workflows", found, [(workflow.created_at, workflow.workflow_id) for workflow in found], page)

        return await self._do("list_workflows", of_page)

    async def delete_workflow(self, workflow_id: str) -> bool:
        return await self._do("delete_workflow", lambda: self._delete("workflows", workflow_id))

    # ---- hosts and agents

    async def put_host(self, host: Host) -> None:
        row = documents.host_document(host)
        await self._do("put_host", lambda: self._put("hosts", row))

    async def mark_host(self, host_id: str, seen_at: float, *, available: bool) -> bool:
        def mark() -> bool:
            known = self.rows["hosts"].get(host_id)
            return known is not None and self._put("hosts", {**known, "seen_at": seen_at, "available": available})

        return await self._do("mark_host", mark)

    async def list_hosts(self) -> list[Host]:
        def by_id() -> list[Host]:
            rows = self.rows["hosts"]
            return [documents.host_of(rows[key]) for key in sorted(rows)]

        return await self._do("list_hosts", by_id)

    async def delete_host(self, host_id: str) -> bool:
        return await self._do("delete_host", lambda: self._delete("hosts", host_id))

    async def add_agent(self, agent: AgentRecord) -> bool:
        row = documents.agent_document(agent)
        return bool(await self._do("add_agent", lambda: self._insert("agents", [row])))

    async def write_agent(self, agent: AgentRecord) -> bool:
        row = documents.agent_document(agent)
        return await self._do("write_agent", lambda: agent.agent_id in self.rows["agents"] and self._put("agents", row))

    async def get_agent(self, agent_id: str) -> AgentRecord | None:
        rows = await self._do("get_agent", lambda: self._by_ids("agents", [agent_id]))
        return documents.agent_of(rows[0]) if rows else None

    async def list_agents(self, filter: AgentFilter, page: Page) -> tuple[list[AgentRecord], str | None]:
        def of_page() -> tuple[list[AgentRecord], str | None]:
            agents = [documents.agent_of(row) for row in self.rows["agents"].values()]
            found = [agent for agent in agents if _is_meant(agent, filter)]
            return _page("agents", found, [(0.0, agent.agent_id) for agent in found], page, latest_first=False)

        return await self._do("list_agents", of_page)

    async def count_agents(self) -> int:
        return await self._do("count_agents", lambda: sum(not row["default"] for row in self.rows["agents"].values()))

    async def delete_agent(self, agent_id: str) -> bool:
        return await self._do("delete_agent", lambda: self._delete("agents", agent_id))

    # ---- dead letters

    async def put_dead_letter(self, letter: DeadLetter) -> None:
        row = documents.dead_letter_document(letter)
        await self._do("put_dead_letter", lambda: self._put("dead_letters", row))

    async def get_dead_letter(self, letter_id: str) -> DeadLetter | None:
        rows = await self._do("get_dead_letter", lambda: self._by_ids("dead_letters", [letter_id]))
        return documents.dead_letter_of(rows[0]) if rows else None

    async def list_dead_letters(self, filter: DeadLetterFilter, page: Page) -> tuple[list[DeadLetter], str | None]:
        def of_page() -> tuple[list[DeadLetter], str | None]:
            letters = [documents.dead_letter_of(row) for row in self.rows["dead_letters"].values()]
            found = [
                letter
                for letter in letters
                if filter.reason in (None, letter.reason)
                and filter.type in (None, letter.type)
                and filter.queue in (None, letter.queue)
            ]
            shown, cursor = _page(KIND, found, [(letter.died_at, letter.id) for letter in found], page)
            sizes = {key: row["bytes"] for key, row in self.rows["dead_letters"].items()}
            ids, cursor = fitting([Place(letter.id, letter.died_at, sizes[letter.id]) for letter in shown], cursor)
            return shown[: len(ids)], cursor

        return await self._do("list_dead_letters", of_page)

    async def count_dead_letters(self, limit: int, died_after: float = 0.0) -> int:
        def count() -> int:
            return min(limit, sum(bool(row["died_at"] >= died_after) for row in self.rows["dead_letters"].values()))

        return await self._do("count_dead_letters", count)

    async def delete_dead_letter(self, letter_id: str) -> bool:
        return await self._do("delete_dead_letter", lambda: self._delete("dead_letters", letter_id))

    # ---- API keys

    async def claim(self, name: str) -> bool:
        return bool(await self._do("claim", lambda: self._insert("claims", [{"_id": name}])))

    async def add_api_key(self, key: ApiKey) -> bool:
        row = documents.api_key_document(key)
        return bool(await self._do("add_api_key", lambda: self._insert("api_keys", [row])))

    async def write_api_key(self, key: ApiKey) -> bool:
        row = documents.api_key_document(key)
        return await self._do("write_api_key", lambda: key.id in self.rows["api_keys"] and self._put("api_keys", row))

    async def get_api_key(self, key_id: str) -> ApiKey | None:
        rows = await self._do("get_api_key", lambda: self._by_ids("api_keys", [key_id]))
        return documents.api_key_of(rows[0]) if rows else None

    async def list_api_keys(self, page: Page) -> tuple[list[ApiKey], str | None]:
        def of_page() -> tuple[list[ApiKey], str | None]:
            found = [documents.api_key_of(row) for row in self.rows["api_keys"].values()]
            return _page("API keys", found, [(0.0, key.id) for key in found], page, latest_first=False)

        return await self._do("list_api_keys", of_page)

    # ---- the audit log

    async def append_audit(self, entries: Sequence[AuditEntry]) -> int:
        rows = [audit_documents.entry_document(entry) for entry in entries]

        def until_taken() -> int:
            taken = (i for i, row in enumerate(rows) if row["_id"] in self.rows["audit"])
            return len(self._insert("audit", rows[: next(taken, len(rows))]))

        return await self._do("append_audit", until_taken)

    async def last_audit(self) -> AuditEntry | None:
        rows = await self._do("last_audit", lambda: self._above("audit", 0)[-1:])
        return audit_documents.entry_of(rows[0]) if rows else None

    async def read_audit(self, after: int, limit: int) -> list[AuditEntry]:
        rows = await self._do("read_audit", lambda: self._above("audit", after)[:limit])
        return audit_documents.until_altered(rows, audit_documents.entry_of)

    async def has_audit(self, record_ids: Collection[str]) -> set[str]:
        return await self._do(
            "has_audit", lambda: {row["record_id"] for row in self.rows["audit"].values()} & set(record_ids)
        )

    async def list_audit(self, filter: AuditFilter, page: Page) -> tuple[list[AuditEntry], str | None]:
        before = audit_documents.place_before(page)

        def of_page() -> tuple[list[AuditEntry], str | None]:
            latest_first = map(audit_documents.entry_of, reversed(self._above("audit", 0)))
            found = [e for e in latest_first if (before is None or e.n < before) and _is_asked_for(e, filter)]
            return audit_documents.shown(found, page)

        return await self._do("list_audit", of_page)

    async def add_audit_checkpoint(self, checkpoint: AuditCheckpoint) -> None:
        row = audit_documents.checkpoint_document(checkpoint)
        await self._do("add_audit_checkpoint", lambda: self._insert("audit_checkpoints", [row]))

    async def read_audit_checkpoints(self, after: int, limit: int) -> list[AuditCheckpoint]:
        rows = await self._do("read_audit_checkpoints", lambda: self._above("audit_checkpoints", after)[:limit])
        return [audit_documents.checkpoint_of(row) for row in rows]

    # ---- within

    async def _do(self, operation: str, effect: Callable[[], T]) -> T:
        if self.hook is not None:
            await self.hook(operation, "before")
        result = effect()
        self.calls[operation] += 1
        if self.hook is not None:
            await self.hook(operation, "after")
        return result

    def _insert(self, name: str, rows: Sequence[Document]) -> set[Any]:
        fresh = [row for row in rows if self.rows[name].setdefault(row["_id"], row) is row]
        return {row["_id"] for row in fresh}

    def _put(self, name: str, row: Document) -> bool:
        self.rows[name][row["_id"]] = row
        return True

    def _delete(self, name: str, key: str) -> bool:
        return self.rows[name].pop(key, None) is not None

    def _write_newer(self, name: str, version: str, rows: Sequence[Document]) -> None:
        for row in rows:
            known = self.rows[name].get(row["_id"])
            if known is None or known[version] <= row[version]:
                self.rows[name][row["_id"]] = row

    def _by_ids(self, name: str, ids: Collection[str]) -> list[Document]:
        return [row for key in ids if (row := self.rows[name].get(key)) is not None]

    def _above(self, name: str, n: int) -> list[Document]:
        """By number, those whose number is greater."""
        return [row for key, row in sorted(self.rows[name].items()) if key > n]

    def _headers(self) -> list[Header]:
        return [documents.header_of(row) for row in self.rows["headers"].values()]

    def _log_after(self, execution_id: str, n: int) -> list[LogEntry]:
        entries = []
        while (row := self.rows["log"].get(entry_id(execution_id, n + 1))) is not None:
            entries.append(documents.entry_of(row))
            n += 1
        return entries


def _matches(header: Header, filter: HeaderFilter) -> bool:
    return (
        filter.status in (None, header.status)
        and filter.workflow_id in (None, header.workflow_id)
        and filter.workflow_name in (None, header.workflow_name)
        and (filter.started_after is None or filter.started_after <= header.started_at)
        and (filter.started_before is None or header.started_at < filter.started_before)
    )


def _is_meant(agent: AgentRecord, filter: AgentFilter) -> bool:
    return (
        filter.agent_type in (None, agent.agent_type)
        and (filter.capability is None or filter.capability in agent.capabilities)
        and (filter.statuses is None or agent.status in filter.statuses)
        and (filter.agent_ids is None or agent.agent_id in filter.agent_ids)
    )


def _is_asked_for(entry: AuditEntry, filter: AuditFilter) -> bool:
    return (
        all(getattr(entry.record, name) == value for name, value in audit_documents.asked(filter).items())
        and (filter.since is None or filter.since <= entry.record.at)
        and (filter.until is None or entry.record.at < filter.until)
    )


def _page(
    kind: str, found: Sequence[T], places: Sequence[tuple[float, str]], page: Page, *, latest_first: bool = True
) -> tuple[list[T], str | None]:
    last = decode_cursor(kind, page.after)
    ordered = sorted(zip(places, found, strict=True), key=lambda pair: pair[0], reverse=latest_first)
    if last is not None:
        seen = (last.at, last.id)
        ordered = [pair for pair in ordered if (pair[0] < seen if latest_first else pair[0] > seen)]
    shown = ordered[: page.limit]
    cursor = Cursor(kind, *shown[-1][0]).encode() if len(ordered) > page.limit else None
    return [row for _, row in shown], cursor
