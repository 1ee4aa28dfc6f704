"""What an encrypted store keeps, and what it does with what was altered, moved, left plain or encrypted with a key that
is gone. That it does what every store does is in tests/parity."""

import copy
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.agents import AgentRecord, AgentStatus
from contracts.dead_letters import DeadLetter
from contracts.history import (
    AttemptFailed,
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    PayloadRef,
    StepDispatched,
    StepError,
    StepFailed,
    StepProgressed,
    StepSkipped,
    StepSucceeded,
)
from contracts.registry import AgentFilter
from contracts.workflow import Workflow
from services.runtime.security import watched_file
from services.runtime.security.encryption import Cipher, read_header
from services.runtime.security.encryption_keys import EncryptionKey, new_key, write_encryption_keys
from services.runtime.store.base import DeadLetterFilter, Page, Store, StoreUnavailable, Unreadable, Unstorable
from services.runtime.store.encrypted import EncryptedStore
from services.runtime.store.sealing import MARK, MAX_SEALED_BYTES
from tests.support.encryption import key_file, retired, rotated
from tests.support.memory_store import MemoryStore

MARKER = "the-marker"


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_file, "EVERY", 0.0)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return key_file(tmp_path)


@pytest.fixture
def inner() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(inner: MemoryStore, keys: Path) -> EncryptedStore:
    return EncryptedStore(inner, Cipher(keys), required=True)


def entry(execution_id: str = "a", n: int = 1, text: str = MARKER) -> LogEntry:
    """One whose every value has the text in it."""
    error = StepError(type="Boom", message=text, details={"was": [text]})
    ref = PayloadRef(payload_id=f"p/{text}", size=5)
    return LogEntry(
        execution_id=execution_id,
        n=n,
        at=5.0,
        applied=(f"m-{text}",),
        events=(
            ExecutionStarted(definition_hash="h", request_hash=f"r-{text}", workflow_name="w", inputs={"in": [text]}),
            StepDispatched(step="s", attempt=1, deadline=9.0),
            StepProgressed(step="s", attempt=1, fraction=0.5, note=text, at=6.0, deadline=9.0),
            StepSucceeded(step="s", attempt=1, output={text: text}, output_ref=ref),
            AttemptFailed(step="t", attempt=1, error=error, retry_at=7.0),
            StepFailed(step="t", attempt=2, error=error),
            StepSkipped(step="u", reason=f"condition false: inputs.x == '{text}'"),
            ExecutionEnded(status=ExecutionStatus.CANCELLED, reason=text),
        ),
    )


def workflow(key: str = "w", text: str = MARKER) -> Workflow:
    return Workflow(workflow_id=key, name="n", description=text, definition_hash="h", created_at=1.0, steps=1)


def agent(key: str = "a", text: str = MARKER) -> AgentRecord:
    return AgentRecord(
        agent_id=key,
        agent_type="t",
        config={"password": text},
        error=text,
        status=AgentStatus.ERROR,
        capabilities=("c",),
        created_at=1.0,
    )


def letter(key: str = "d", text: str = MARKER, **fields: Any) -> DeadLetter:
    given: dict[str, Any] = {"headers": {"x": text}, "body": f'{{"text": "{text}"}}', "detail": text, **fields}
    return DeadLetter(id=key, reason="rejected", type="x.v1", queue="q", size=9, died_at=1.0, **given)


WRITES: dict[str, Callable[[Store, str], Awaitable[Any]]] = {
    "log": lambda store, text: store.append([entry(text=text)]),
    "payloads": lambda store, text: store.put_payloads({"p": {"value": text}}),
    "definitions": lambda store, text: store.put_definition("h", {"name": "n", "literal": text}),
    "workflows": lambda store, text: store.put_workflow(workflow(text=text)),
    "agents": lambda store, text: store.add_agent(agent(text=text)),
    "dead_letters": lambda store, text: store.put_dead_letter(letter(text=text)),
}
READS: dict[str, list[Callable[[Store], Awaitable[Any]]]] = {
    "log": [lambda store: store.read_log({"a": 0})],
    "payloads": [lambda store: store.get_payloads(["p"])],
    "definitions": [lambda store: store.get_definition("h")],
    "workflows": [lambda store: store.get_workflow("w"), lambda store: store.list_workflows(Page())],
    "agents": [lambda store: store.get_agent("a"), lambda store: store.list_agents(AgentFilter(), Page())],
    "dead_letters": [
        lambda store: store.get_dead_letter("d"),
        lambda store: store.list_dead_letters(DeadLetterFilter(), Page()),
    ],
}
ALL = pytest.mark.parametrize("name", WRITES)


async def test_no_value_is_stored_plain_and_each_is_read_as_it_was(store: EncryptedStore, inner: MemoryStore) -> None:
    for write in WRITES.values():
        await write(store, MARKER)
    stored = json.dumps(inner.rows)
    assert MARKER not in stored
    assert all(len(inner.rows[name]) == 1 for name in WRITES)
    assert await store.read_log({"a": 0}) == {"a": [entry()]}
    assert await store.get_payloads(["p"]) == {"p": {"value": MARKER}}
    assert await store.get_definition("h") == {"name": "n", "literal": MARKER}
    assert await store.get_workflow("w") == workflow()
    assert await store.list_agents(AgentFilter(), Page()) == ([agent()], None)
    assert await store.list_dead_letters(DeadLetterFilter(), Page()) == ([letter()], None)


async def test_of_an_entry_only_its_place_and_its_time_are_plain(store: EncryptedStore, inner: MemoryStore) -> None:
    await store.append([entry()])
    stored = json.loads(inner.rows["log"]["a/000000001"]["entry"])
    (carrier,) = stored.pop("events")
    assert stored == {"execution_id": "a", "n": 1, "at": 5.0, "applied": []}
    assert carrier.pop("request_hash").startswith("eyJ")
    assert carrier == {
        "cause": 0,
        "kind": "execution_started",
        "definition_hash": MARK,
        "workflow_name": "",
        "client": "",
        "correlation_id": "",
        "traceparent": "",
    }


async def test_a_body_that_travelled_encrypted_is_not_encrypted_again(
    store: EncryptedStore, inner: MemoryStore, keys: Path
) -> None:
    body = Cipher(keys).encrypt(b"{}").decode()
    written = letter(body=body)
    await store.put_dead_letter(written)
    stored = json.loads(inner.rows["dead_letters"]["d"]["letter"])
    assert stored["body"] == body
    assert MARKER not in json.dumps(stored)
    assert await store.get_dead_letter("d") == written
    assert await store.list_dead_letters(DeadLetterFilter(), Page()) == ([written], None)


@pytest.mark.parametrize(
    "value",
    [None, 0, 2**70, -1.5, "", "\0", "\ud7ff\U0001d11e\u2028", [], {}, {MARK: "x"}, {"\0": {"$a.b": [None, True]}}],
)
async def test_any_value_comes_back_as_it_was(store: EncryptedStore, value: Any) -> None:
    await store.put_payloads({"p": value})
    found = (await store.get_payloads(["p"]))["p"]
    assert (found, type(found)) == (value, type(value))
    succeeded = LogEntry(
        execution_id="b", n=1, at=1.0, applied=("m",), events=(StepSucceeded(step="s", attempt=1, output=value),)
    )
    await store.append([succeeded])
    assert await store.read_log({"b": 0}) == {"b": [succeeded]}


async def test_the_log_is_read_on_from_any_number(store: EncryptedStore) -> None:
    entries = [entry("a", n, f"{n}") for n in range(1, 41)]
    for one in entries:
        assert await store.append([one]) == {one.id}
    assert await store.append(entries[:1]) == set()
    assert await store.read_log({"a": 35, "b": 0}) == {"a": entries[35:], "b": []}


# ---- altered and moved


def swap(rows: dict[Any, dict[str, Any]], one: str, other: str) -> None:
    """Exchange all that is stored under two ids."""
    first, second = copy.deepcopy(rows[one]), copy.deepcopy(rows[other])
    rows[one], rows[other] = {**second, "_id": one}, {**first, "_id": other}


async def test_two_executions_outputs_cannot_be_exchanged(store: EncryptedStore, inner: MemoryStore) -> None:
    await store.append([entry("a", 1, "one"), entry("b", 1, "two")])
    swap(inner.rows["log"], "a/000000001", "b/000000001")
    for execution_id in "ab":
        with pytest.raises(Unreadable, match=f"log entry {execution_id}/000000001 cannot .*another place"):
            await store.read_log({execution_id: 0})


async def test_two_executions_outputs_cannot_be_exchanged_within_their_entries(
    store: EncryptedStore, inner: MemoryStore
) -> None:
    await store.append([entry("a", 1, "one"), entry("b", 1, "two")])
    rows = inner.rows["log"]
    texts = {key: json.loads(rows[key]["entry"]) for key in rows}
    texts["a/000000001"]["events"], texts["b/000000001"]["events"] = (
        texts["b/000000001"]["events"],
        texts["a/000000001"]["events"],
    )
    for key, text in texts.items():
        rows[key]["entry"] = json.dumps(text)
    with pytest.raises(Unreadable, match="another place"):
        await store.read_log({"a": 0})


async def test_two_entries_of_one_execution_cannot_be_exchanged(store: EncryptedStore, inner: MemoryStore) -> None:
    await store.append([entry("a", 1, "one")])
    await store.append([entry("a", 2, "two")])
    swap(inner.rows["log"], "a/000000001", "a/000000002")
    with pytest.raises(Unreadable, match=r"log entry a/000000001 cannot be decrypted: .*another place"):
        await store.read_log({"a": 0})


async def test_payloads_definitions_workflows_agents_and_letters_cannot_be_exchanged(
    store: EncryptedStore, inner: MemoryStore
) -> None:
    await store.put_payloads({"p": "one", "q": "two"})
    await store.put_definition("h", {"name": "one"})
    await store.put_definition("i", {"name": "two"})
    for key in ("w", "v"):
        await store.put_workflow(workflow(key, key))
    for key in ("a", "b"):
        await store.add_agent(agent(key, key))
    for key in ("d", "e"):
        await store.put_dead_letter(letter(key, key))
    for name, one, other in (
        ("payloads", "p", "q"),
        ("definitions", "h", "i"),
        ("workflows", "w", "v"),
        ("agents", "a", "b"),
        ("dead_letters", "d", "e"),
    ):
        swap(inner.rows[name], one, other)
        with pytest.raises(Unreadable, match=f" {one} cannot be decrypted: it was encrypted for another place"):
            await READS[name][0](store)


async def test_two_bodies_that_travelled_encrypted_cannot_be_exchanged(
    store: EncryptedStore, inner: MemoryStore, keys: Path
) -> None:
    cipher = Cipher(keys)
    for key in ("d", "e"):
        await store.put_dead_letter(letter(key, body=cipher.encrypt(key.encode()).decode()))
    rows = inner.rows["dead_letters"]
    first, second = (json.loads(rows[key]["letter"]) for key in ("d", "e"))
    rows["d"]["letter"] = json.dumps(first | {"body": second["body"]})
    with pytest.raises(Unreadable, match="dead letter d was altered: it had another body"):
        await store.get_dead_letter("d")
    rows["d"]["letter"] = json.dumps(first | {"body": ""})
    with pytest.raises(Unreadable, match=r"dead letter d cannot be decrypted: .*another place"):
        await store.get_dead_letter("d")


@pytest.mark.parametrize(
    ("name", "field", "changes"),
    [
        ("log", "entry", {"at": 6.0}),
        ("log", "entry", {"applied": ["m"]}),
        ("workflows", "workflow", {"definition_hash": "other"}),
        ("workflows", "workflow", {"name": "other"}),
        ("agents", "agent", {"agent_type": "other"}),
        ("agents", "agent", {"capabilities": ["c", "more"]}),
        ("agents", "agent", {"error": "other"}),
        ("dead_letters", "letter", {"exchange": "other"}),
        ("dead_letters", "letter", {"headers": {"a": "b"}}),
    ],
)
async def test_what_stands_plain_beside_a_value_cannot_be_altered(
    store: EncryptedStore, inner: MemoryStore, name: str, field: str, changes: dict[str, Any]
) -> None:
    await WRITES[name](store, MARKER)
    (row,) = inner.rows[name].values()
    row[field] = json.dumps(json.loads(row[field]) | changes)
    for read in READS[name]:
        with pytest.raises(Unreadable, match="was altered: what stands beside its encrypted content"):
            await read(store)


@ALL
async def test_an_altered_byte_is_noticed_by_the_values_name(
    store: EncryptedStore, inner: MemoryStore, name: str
) -> None:
    await WRITES[name](store, MARKER)
    (row,) = inner.rows[name].values()
    field = next(field for field, text in row.items() if "eyJ" in str(text))
    at = row[field].index("..") + 30  # in the encrypted content
    row[field] = row[field][:at] + ("B" if row[field][at] == "A" else "A") + row[field][at + 1 :]
    for read in READS[name]:
        with pytest.raises(Unreadable, match="cannot be decrypted: it was altered"):
            await read(store)


# ---- keys


@ALL
async def test_after_a_rotation_old_values_are_read_and_new_ones_are_under_the_new_key(
    store: EncryptedStore, inner: MemoryStore, keys: Path, name: str
) -> None:
    await WRITES[name](store, "old")
    before = [await read(store) for read in READS[name]]
    added = rotated(keys)
    assert [await read(store) for read in READS[name]] == before
    old = inner.rows[name].copy()
    inner.rows[name].clear()
    await WRITES[name](store, "new")
    assert key_ids(inner, name) == {added.kid}
    inner.rows[name] = old
    assert key_ids(inner, name).isdisjoint({added.kid})
    assert [await read(store) for read in READS[name]] == before


@ALL
async def test_what_a_retired_key_encrypted_fails_by_name(
    store: EncryptedStore, inner: MemoryStore, keys: Path, name: str
) -> None:
    await WRITES[name](store, MARKER)
    (kid,) = key_ids(inner, name)
    rotated(keys)
    retired(keys, kid)
    for read in READS[name]:
        with pytest.raises(Unreadable, match=f"cannot be decrypted: there is no key {kid} in {keys}"):
            await read(store)


def key_ids(inner: MemoryStore, name: str) -> set[str]:
    return {
        read_header(token.encode())["kid"]
        for row in inner.rows[name].values()
        for token in re.findall(r"eyJ[A-Za-z0-9_-]+\.\.[A-Za-z0-9_.-]+", json.dumps(row))
    }


async def test_without_a_key_that_may_encrypt_nothing_is_written(inner: MemoryStore, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_encryption_keys(path, [EncryptionKey(**(new_key(100).model_dump() | {"exp": 200}))])
    now = 150.0
    store = EncryptedStore(inner, Cipher(path, clock=lambda: now), required=True)
    now = 200.0
    for write in WRITES.values():
        with pytest.raises(StoreUnavailable, match=r"cannot be encrypted: .*no key may encrypt now"):
            await write(store, MARKER)
    assert not any(inner.rows.values())


async def test_a_value_above_the_limit_is_refused_with_both_sizes(store: EncryptedStore, inner: MemoryStore) -> None:
    with pytest.raises(Unstorable, match=rf"definition h is .* bytes of JSON; the limit is {MAX_SEALED_BYTES:,} with"):
        await store.put_definition("h", {"x": "x" * MAX_SEALED_BYTES})
    assert not any(inner.rows.values())


# ---- plain values


@ALL
async def test_optional_reads_what_was_written_before_encryption_and_encrypts_what_is_new(
    inner: MemoryStore, keys: Path, name: str
) -> None:
    await WRITES[name](inner, MARKER)
    plain = [await read(inner) for read in READS[name]]
    store = EncryptedStore(inner, Cipher(keys), required=False)
    assert [await read(store) for read in READS[name]] == plain
    inner.rows[name].clear()
    await WRITES[name](store, MARKER)
    assert MARKER not in json.dumps(inner.rows)
    assert [await read(store) for read in READS[name]] == plain


@ALL
async def test_required_refuses_what_is_not_encrypted_by_name(inner: MemoryStore, keys: Path, name: str) -> None:
    await WRITES[name](inner, MARKER)
    store = EncryptedStore(inner, Cipher(keys), required=True)
    for read in READS[name]:
        with pytest.raises(Unreadable, match="is not encrypted, and MESSAGE_ENCRYPTION is required here"):
            await read(store)


async def test_a_plain_letter_whose_body_travelled_encrypted_is_plain(inner: MemoryStore, keys: Path) -> None:
    written = letter(body=Cipher(keys).encrypt(b"{}").decode())
    await inner.put_dead_letter(written)
    assert await EncryptedStore(inner, Cipher(keys), required=False).get_dead_letter("d") == written
    with pytest.raises(Unreadable, match="dead letter d is not encrypted"):
        await EncryptedStore(inner, Cipher(keys), required=True).get_dead_letter("d")


async def test_without_keys_an_encrypted_execution_has_a_definition_that_is_nowhere(
    store: EncryptedStore, inner: MemoryStore
) -> None:
    """Encryption that is switched off over an encrypted store must not give ciphertext to agents as their inputs."""
    await store.append([entry()])
    (found,) = (await inner.read_log({"a": 0}))["a"]
    started = found.events[0]
    assert isinstance(started, ExecutionStarted)
    assert (started.definition_hash, started.inputs, len(found.events)) == (MARK, None, 1)
    assert await inner.get_definition(MARK) is None
