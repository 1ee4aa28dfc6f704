"""Every operation of a store, asked at once, for tests of stores whose servers fail."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from contracts.agents import AgentDescriptor, AgentRecord
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStatus, Header, LogEntry, StepSkipped
from contracts.hosts import HostAnnounced
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
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
    "delete_dead_letter": lambda store: store.delete_dead_letter("d"),
}


async def outcomes(store: Store) -> dict[str, Any]:
    """What each operation, of all at once, returned or raised."""
    calls = (ask(store) for ask in OPERATIONS.values())
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 120)
    return dict(zip(OPERATIONS, answers, strict=True))
