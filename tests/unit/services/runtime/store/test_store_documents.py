"""What is kept of a value, and what is refused before it reaches a database."""

import json
from typing import Any

import pytest

from contracts.history import ExecutionStatus, Header, LogEntry, StepSucceeded
from services.runtime.store import documents
from services.runtime.store.base import StoreError


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
