"""Encrypted values in real databases: nothing of them is there to be read, moved or left behind."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.agents import AgentRecord
from contracts.dead_letters import DeadLetter
from contracts.history import ExecutionStarted, LogEntry, StepSucceeded
from contracts.workflow import Workflow
from services.runtime.security import watched_file
from services.runtime.security.encryption import Cipher
from services.runtime.store.base import Page, Unreadable
from services.runtime.store.encrypted import EncryptedStore
from tests.support.encryption import key_file, retired, rotated
from tests.support.raw_stores import RAW, RawStore, raw_store

MARKER = "the-marker-4711"


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "EVERY", 0.0)


@pytest.fixture(params=RAW)
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[RawStore]:
    async with raw_store(request) as raw:
        yield raw


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return key_file(tmp_path)


@pytest.fixture
def store(raw: RawStore, keys: Path) -> EncryptedStore:
    return EncryptedStore(raw.store, Cipher(keys), required=True)


def started(execution_id: str, text: str) -> LogEntry:
    begun = ExecutionStarted(definition_hash="h", request_hash=text, workflow_name="w", inputs={"text": text})
    succeeded = StepSucceeded(step="s", attempt=1, output=[text])
    return LogEntry(execution_id=execution_id, n=1, at=1.0, applied=(text,), events=(begun, succeeded))


async def write_all(store: EncryptedStore, key: str, text: str) -> None:
    await store.append([started(key, text)])
    # What is large is compressed, or stored in another place, by some databases.
    await store.put_payloads({key: {"text": text, "more": text * 20_000}})
    await store.put_definition(key, {"name": "n", "steps": [{"inputs": {"text": text}}]})
    await store.put_workflow(
        Workflow(workflow_id=key, name="n", description=text, definition_hash="h", created_at=1.0, steps=1)
    )
    await store.add_agent(
        AgentRecord(agent_id=key, agent_type="t", config={"password": text}, error=text, created_at=1.0)
    )
    await store.put_dead_letter(
        DeadLetter(id=key, reason="r", detail=text, headers={"x": text}, body=text, size=1, died_at=1.0)
    )


async def read_all(store: EncryptedStore, key: str) -> list[Any]:
    return [
        await store.read_log({key: 0}),
        await store.get_payloads([key]),
        await store.get_definition(key),
        await store.get_workflow(key),
        await store.get_agent(key),
        await store.get_dead_letter(key),
    ]


async def test_the_marker_is_nowhere_in_the_database_and_comes_back_to_who_has_the_keys(
    raw: RawStore, store: EncryptedStore
) -> None:
    await write_all(store, "a", MARKER)
    found = await raw.everything()
    assert len(found) > 100_000
    assert found.count(b"eyJhbGciOiJkaXIi") == 6
    for trace in (MARKER, MARKER[4:], MARKER.upper()):
        assert trace.encode() not in found
        assert trace.encode().hex().encode() not in found
    assert repr(await read_all(store, "a")).count(MARKER) >= 10 + 20_000
    assert (await store.list_workflows(Page()))[0] == [await store.get_workflow("a")]


async def test_the_same_search_finds_the_marker_where_it_is_not_encrypted(raw: RawStore) -> None:
    await raw.store.append([started("a", MARKER)])
    assert MARKER.encode() in await raw.everything()


async def test_after_a_rotation_all_is_read_and_the_retired_key_is_missed_by_its_name(
    raw: RawStore, store: EncryptedStore, keys: Path
) -> None:
    await write_all(store, "a", "old")
    before = await read_all(store, "a")
    added = rotated(keys)
    await write_all(store, "b", "new")
    assert await read_all(store, "a") == before
    after = await read_all(store, "b")
    retired(keys, added.kid)
    assert await read_all(store, "a") == before
    for read in (store.get_workflow, store.get_agent, store.get_definition, store.get_dead_letter):
        with pytest.raises(Unreadable, match=f" b cannot be decrypted: there is no key {added.kid} in "):
            await read("b")
    assert len(after) == 6


@pytest.mark.parametrize(
    ("name", "key", "column", "of"),
    [
        ("payloads", "payload_id", "value", "payload"),
        ("definitions", "definition_hash", "definition", "definition"),
        ("workflows", "workflow_id", "workflow", "workflow"),
        ("agents", "agent_id", "agent", "agent"),
        ("dead_letters", "letter_id", "letter", "dead letter"),
    ],
)
async def test_two_stored_values_cannot_be_exchanged(
    raw: RawStore, store: EncryptedStore, name: str, key: str, column: str, of: str
) -> None:
    await write_all(store, "a", "one")
    await write_all(store, "b", "two")
    await raw.swap(name, key, column, "a", "b")
    reads: dict[str, Any] = {
        "payload": lambda key: store.get_payloads([key]),
        "definition": store.get_definition,
        "workflow": store.get_workflow,
        "agent": store.get_agent,
        "dead letter": store.get_dead_letter,
    }
    for row in ("a", "b"):
        with pytest.raises(Unreadable, match=f"{of} {row} cannot be decrypted: it was encrypted for another place"):
            await reads[of](row)


async def test_two_executions_logs_cannot_be_exchanged(
    raw: RawStore, store: EncryptedStore, request: pytest.FixtureRequest
) -> None:
    await store.append([started("a", "one"), started("b", "two")])
    if request.node.callspec.params["raw"] == "mongodb":
        await raw.swap("log", "", "entry", "a/000000001", "b/000000001")
    else:
        await raw.swap("log", "execution_id", "entry", "a", "b")
    for execution_id in ("a", "b"):
        with pytest.raises(Unreadable, match=f"log entry {execution_id}/000000001 cannot .* for another place"):
            await store.read_log({execution_id: 0})


async def test_lists_and_filters_work_as_they_did(store: EncryptedStore) -> None:
    order = random.Random(3).sample(range(30), 30)
    for i in order:
        await store.put_workflow(
            Workflow(
                workflow_id=f"w{i:02d}",
                name=f"n{i % 2}",
                description=MARKER,
                definition_hash="h",
                created_at=i,
                steps=1,
            )
        )
    found, cursor = await store.list_workflows(Page(7), "n1")
    assert [workflow.workflow_id for workflow in found] == [f"w{i}" for i in range(29, 15, -2)]
    rest, end = await store.list_workflows(Page(50, cursor), "n1")
    assert [workflow.workflow_id for workflow in rest] == [f"w{i:02d}" for i in range(15, 0, -2)]
    assert (end, {workflow.description for workflow in found + rest}) == (None, {MARKER})
