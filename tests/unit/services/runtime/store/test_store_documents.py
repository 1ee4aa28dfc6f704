"""What is kept of a value, and what is refused before it reaches a database."""

import json
from typing import Any

import pytest

from contracts.agents import AgentRecord, AgentStatus
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStatus, Header, LogEntry, StepSucceeded
from contracts.hosts import HostAnnounced
from services.runtime.store import documents
from services.runtime.store.base import Host, StoreError


def entry(output: Any) -> LogEntry:
    events = (StepSucceeded(step="s", attempt=1, output=output),)
    return LogEntry(execution_id="x", n=3, at=1.5, applied=("m",), events=events)


def test_an_entry_is_its_id_and_one_text_without_what_is_absent() -> None:
    document = documents.entry_document(entry({"kept": None}))
    assert list(document) == ["_id", "entry"]
    assert document["_id"] == "x/000000003"
    assert json.loads(document["entry"])["events"] == [
        {"cause": 0, "kind": "step_succeeded", "step": "s", "attempt": 1, "output": {"kept": None}}
        | {"agent_id": "", "cached": False}
    ]


def test_a_header_keeps_its_fields_apart_and_leaves_out_what_is_absent() -> None:
    header = Header(execution_id="x", n=2, status=ExecutionStatus.RUNNING, workflow_name="w", started_at=1.0)
    document = documents.header_document(header)
    assert document == {"_id": "x", "n": 2, "status": "running", "workflow_name": "w", "started_at": 1.0}
    assert type(document["status"]) is str
    assert documents.header_of(document) == header


@pytest.mark.parametrize("value", ["x" * (documents.MAX_TEXT_BYTES - 2), "é" * (documents.MAX_TEXT_BYTES // 2 - 1)])
def test_the_limit_counts_bytes_not_characters(value: str) -> None:
    assert documents.payload_of(documents.payload_document("p", value)) == value
    with pytest.raises(StoreError, match=rf"payload p is {documents.MAX_TEXT_BYTES + 1:,} bytes"):
        documents.payload_document("p", value + "x")


def test_an_entry_too_large_is_refused_by_its_id() -> None:
    with pytest.raises(StoreError, match=r"log entry x/000000003 is .* bytes of JSON; the limit is 16,760,832"):
        documents.entry_document(entry("x" * documents.MAX_TEXT_BYTES))


@pytest.mark.parametrize("text", ["", "{", '{"execution_id": "x"}', "[" * 300])
def test_a_document_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(StoreError, match="log entry x/000000003 cannot be read"):
        documents.entry_of({"_id": "x/000000003", "entry": text})


def test_a_payload_that_cannot_be_read_is_named() -> None:
    with pytest.raises(StoreError, match="payload p cannot be read"):
        documents.payload_of({"_id": "p", "value": "["})
    with pytest.raises(StoreError, match="definition d cannot be read"):
        documents.definition_of({"_id": "d", "definition": "{"})


def test_an_entry_of_a_newer_version_is_read_without_what_is_new_in_it() -> None:
    text = json.loads(documents.entry_document(entry(1))["entry"])
    text["events"][0]["added"] = text["added"] = 1
    assert documents.entry_of({"_id": "x/000000003", "entry": json.dumps(text)}) == entry(1)


# ---- hosts, agents, dead letters


def test_a_host_keeps_apart_what_a_mark_changes() -> None:
    announced = HostAnnounced(host_id="h", service="s", descriptors=(), heartbeat_seconds=5)
    document = documents.host_document(Host(announced, 1.5, available=False))
    assert list(document) == ["_id", "seen_at", "available", "announced"]
    assert (document["_id"], document["seen_at"], document["available"]) == ("h", 1.5, False)
    marked = documents.host_of({**document, "seen_at": 2.5, "available": True})
    assert marked == Host(announced, 2.5, available=True)


def test_a_host_that_said_that_it_ends_is_told_from_one_of_which_nothing_is_known() -> None:
    announced = HostAnnounced(host_id="h", service="s", descriptors=(), heartbeat_seconds=5)
    ended = Host(announced, 1.5, available=False, stopped=True)
    document = documents.host_document(ended)
    assert documents.host_of(document) == ended
    assert HostAnnounced.model_validate_json(document["announced"]) == announced, "so earlier versions read it"
    old = {**document, "announced": announced.model_dump_json()}
    assert documents.host_of(old) == Host(announced, 1.5, available=False)


def test_an_agent_keeps_apart_what_is_asked_for() -> None:
    agent = AgentRecord(
        agent_id="a", agent_type="t", capabilities=("x", "y"), status=AgentStatus.IDLE, config={"n": None}, created_at=1
    )
    document = documents.agent_document(agent)
    asked = {name: value for name, value in document.items() if name != "agent"}
    assert asked == {"_id": "a", "agent_type": "t", "status": "idle", "capabilities": ["x", "y"], "default": False}
    assert type(document["status"]) is str
    assert documents.agent_of(document) == agent


def test_a_dead_letter_says_how_many_bytes_it_is() -> None:
    letter = DeadLetter(id="d", reason="r", type="t", queue="q", body="é", size=2, died_at=1.5)
    document = documents.dead_letter_document(letter)
    asked = {name: value for name, value in document.items() if name != "letter"}
    size = len(document["letter"].encode())
    assert asked == {"_id": "d", "reason": "r", "type": "t", "queue": "q", "died_at": 1.5, "bytes": size}
    assert size == len(document["letter"]) + 1
    assert documents.dead_letter_of(document) == letter


def test_what_cannot_be_read_is_named_by_its_kind() -> None:
    with pytest.raises(StoreError, match="host h cannot be read"):
        documents.host_of({"_id": "h", "seen_at": 1.0, "available": True, "announced": "{}"})
    with pytest.raises(StoreError, match="agent a cannot be read"):
        documents.agent_of({"_id": "a", "agent": "["})
    with pytest.raises(StoreError, match="dead letter d cannot be read"):
        documents.dead_letter_of({"_id": "d", "letter": ""})
