"""Every operation of a store, asked at once, for tests of stores whose servers fail."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from contracts.access import ApiKey, Role
from contracts.agents import AgentDescriptor, AgentRecord
from contracts.audit import AuditCheckpoint, AuditFilter, AuditRecord, AuditResult
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStatus, Header, LogEntry, StepSkipped
from contracts.hosts import HostAnnounced
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
from services.runtime.audit_chain import link
from services.runtime.store.base import DeadLetterFilter, HeaderFilter, Host, Page, Store


def entry(execution_id: str, n: int, text: str = "") -> LogEntry:
    events = (StepSkipped(step="s", reason=text),)
    return LogEntry(execution_id=execution_id, n=n, at=1.0, applied=(f"m{n}",), events=events)


def header(execution_id: str, n: int = 1) -> Header:
    return Header(execution_id=execution_id, n=n, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)


def host(host_id: str) -> Host:
    offered = (AgentDescriptor(agent_type="t"),)
    return Host(HostAnnounced(host_id=host_id, service="s", descriptors=offered, heartbeat_seconds=5), 1.0)


def agent(agent_id: str) -> AgentRecord:
    return AgentRecord(agent_id=agent_id, agent_type="t", created_at=1.0)


def letter(letter_id: str) -> DeadLetter:
    return DeadLetter(id=letter_id, reason="r", body="é", size=2, died_at=1.0)


def api_key(key_id: str = "ck_aaaaaaaaaaaa", **fields: Any) -> ApiKey:
    given: dict[str, Any] = {"name": "n", "role": Role.VIEWER, "secret_hash": "0" * 64, "created_at": 1.0, **fields}
    return ApiKey(id=key_id, **given)


def record(record_id: str, **fields: Any) -> AuditRecord:
    given: dict[str, Any] = {"at": 1.0, "actor": "key:a", "action": "x", "result": AuditResult.DONE, **fields}
    return AuditRecord(id=record_id, **given)


def checkpoint(n: int, text: str = "s") -> AuditCheckpoint:
    return AuditCheckpoint(n=n, hash="0" * 64, at=1.5, signature=text)


OPERATIONS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "ping": lambda store: store.ping(),
    "append": lambda store: store.append([entry("a", 1)]),
    "read_log": lambda store: store.read_log({"a": 0}),
    "put_payloads": lambda store: store.put_payloads({"p": 1}),
    "get_payloads": lambda store: store.get_payloads(["p"]),
    "write_headers": lambda store: store.write_headers([header("a")]),
    "read_headers": lambda store: store.read_headers(["a"]),
    "due_headers": lambda store: store.due_headers(1.0, 10),
    "open_headers": lambda store: store.open_headers(Page()),
    "count_open": lambda store: store.count_open(10),
    "list_headers": lambda store: store.list_headers(HeaderFilter(), Page()),
    "put_definition": lambda store: store.put_definition("h", {}),
    "get_definition": lambda store: store.get_definition("h"),
    "put_workflow": lambda store: store.put_workflow(
        Workflow(workflow_id="w", name="n", definition_hash="h", created_at=1.0, steps=1)
    ),
    "get_workflow": lambda store: store.get_workflow("w"),
    "list_workflows": lambda store: store.list_workflows(Page()),
    "delete_workflow": lambda store: store.delete_workflow("w"),
    "put_host": lambda store: store.put_host(host("h")),
    "mark_host": lambda store: store.mark_host("h", 2.0, available=True),
    "list_hosts": lambda store: store.list_hosts(),
    "delete_host": lambda store: store.delete_host("h"),
    "add_agent": lambda store: store.add_agent(agent("a")),
    "write_agent": lambda store: store.write_agent(agent("a")),
    "get_agent": lambda store: store.get_agent("a"),
    "list_agents": lambda store: store.list_agents(AgentFilter(), Page()),
    "count_agents": lambda store: store.count_agents(),
    "delete_agent": lambda store: store.delete_agent("a"),
    "put_dead_letter": lambda store: store.put_dead_letter(letter("d")),
    "get_dead_letter": lambda store: store.get_dead_letter("d"),
    "list_dead_letters": lambda store: store.list_dead_letters(DeadLetterFilter(), Page()),
    "count_dead_letters": lambda store: store.count_dead_letters(10),
    "delete_dead_letter": lambda store: store.delete_dead_letter("d"),
    "claim": lambda store: store.claim("c"),
    "add_api_key": lambda store: store.add_api_key(api_key()),
    "write_api_key": lambda store: store.write_api_key(api_key()),
    "get_api_key": lambda store: store.get_api_key(api_key().id),
    "list_api_keys": lambda store: store.list_api_keys(Page()),
    "append_audit": lambda store: store.append_audit(link(None, [record("r")])),
    "last_audit": lambda store: store.last_audit(),
    "read_audit": lambda store: store.read_audit(0, 10),
    "has_audit": lambda store: store.has_audit(["r"]),
    "list_audit": lambda store: store.list_audit(AuditFilter(), Page()),
    "add_audit_checkpoint": lambda store: store.add_audit_checkpoint(checkpoint(1)),
    "read_audit_checkpoints": lambda store: store.read_audit_checkpoints(0, 10),
}


async def outcomes(store: Store) -> dict[str, Any]:
    """What each operation, of all at once, returned or raised."""
    calls = (ask(store) for ask in OPERATIONS.values())
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 120)
    return dict(zip(OPERATIONS, answers, strict=True))
