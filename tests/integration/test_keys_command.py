"""``python -m services keys`` as a person uses it: a process, straight on a real store."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from contracts.access import ApiKey
from contracts.audit import AuditEntry
from services.access.keeping import every_key
from services.runtime.audit_chain import entry_hash
from services.runtime.security.api_keys import is_key, read_key_text
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from services.runtime.store.open import open_store
from tests.support.api_access import HASH_KEY
from tests.support.stores import mongo_patience, postgres_patience

ROOT = Path(__file__).resolve().parents[2]
STORES = [
    pytest.param("mongo_url", marks=pytest.mark.mongodb, id="mongodb"),
    pytest.param("postgres_url", marks=pytest.mark.postgres, id="postgres"),
]
PATIENCE = {"mongo_url": mongo_patience(), "postgres_url": postgres_patience()}
KEY = re.compile(r"ck_[a-z0-9]{12}_[\w-]{43}")
T = TypeVar("T")


class Terminal:
    """A shell whose DATABASE_URL names a database of the test's own."""

    def __init__(self, database_url: str) -> None:
        self.settings = {"DATABASE_URL": database_url, "API_KEY_HASH_KEY": HASH_KEY}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services", "keys", *arguments],
            cwd=ROOT,
            env={**os.environ, "COMMUNICATION_PROTOCOL": "rabbitmq", **self.settings, **settings},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def prints(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def tells(self, *arguments: str) -> Any:
        return json.loads(self.prints(*arguments, "--json"))

    def fails(self, code: int, *arguments: str, **settings: str) -> str:
        done = self.run(*arguments, **settings)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert "Traceback" not in done.stderr
        return done.stderr

    def makes(self, *arguments: str) -> str:
        """A key, which is printed once."""
        (key,) = KEY.findall(self.prints(*arguments))
        return str(key)

    def stored(self, read: Callable[[Store], Awaitable[T]]) -> T:
        async def go() -> T:
            store = open_store(Settings(database_url=self.settings["DATABASE_URL"]))
            await store.start()
            try:
                return await read(store)
            finally:
                await store.stop()

        return asyncio.run(go())

    def keys(self) -> dict[str, ApiKey]:
        return {key.id: key for key in self.stored(every_key)}

    def audit(self) -> list[AuditEntry]:
        return self.stored(lambda store: store.read_audit(0, 100))


@pytest.fixture
def terminal(request: pytest.FixtureRequest, kind: str, database: str) -> Terminal:
    return Terminal(f"{request.getfixturevalue(kind).rpartition('/')[0]}/{database}?{PATIENCE[kind]}")


def id_of(key: str) -> str:
    return key[:15]


over_every_store = pytest.mark.parametrize("kind", STORES)
over_one = pytest.mark.parametrize("kind", STORES[-1:])


@over_every_store
def test_the_life_of_a_key(terminal: Terminal, kind: str) -> None:
    assert terminal.prints("list") == "there are no API keys\n"
    made = terminal.makes("create", "ci", "--role", "operator", "--expires-in", "30d", "--rate-limit", "60")
    (stored,) = terminal.keys().values()
    text = read_key_text(made)
    assert text is not None
    assert is_key(text, stored, HASH_KEY)
    assert (stored.name, stored.role, stored.rate_limit, stored.id) == ("ci", "operator", 60, id_of(made))
    assert stored.expires_at == stored.created_at + 30 * 86_400
    assert stored.created_by.startswith("cli:")

    new = terminal.makes("rotate", stored.id, "--overlap", "2h")
    keys = terminal.keys()
    assert keys[stored.id].replaced_by == id_of(new)
    assert keys[stored.id].expires_at == pytest.approx(keys[id_of(new)].created_at + 7_200, abs=5)
    assert keys[id_of(new)].name == "ci"

    assert f"{id_of(new)} (ci) is revoked since" in terminal.prints("revoke", new)  # the whole key, as a finder has it
    listed = terminal.prints("list").splitlines()
    assert len(listed) == 3
    assert all(key not in "".join(listed) for key in (made, new, stored.secret_hash))
    assert [re.split(r"  +", line)[3] for line in listed] == ["status", f"valid, replaced by {id_of(new)}", "revoked"]

    chain = terminal.audit()
    told = [(entry.record.action, entry.record.subject, entry.record.result, entry.record.detail) for entry in chain]
    assert told == [
        ("api_key.create.v1", stored.id, "done", "ci, operator"),
        ("api_key.rotate.v1", stored.id, "done", f"replaced by {id_of(new)}"),
        ("api_key.revoke.v1", id_of(new), "done", ""),
    ]
    assert [entry.hash for entry in chain] == [entry_hash(e.n, e.previous, e.record) for e in chain]
    assert {entry.record.actor for entry in chain} == {stored.created_by}
    assert not any(key[16:] in entry.model_dump_json() for key in (made, new) for entry in chain)


@over_one
def test_as_json(terminal: Terminal, kind: str) -> None:
    made = terminal.tells("create", "ci", "--role", "viewer")
    assert made["key"].startswith(made["id"])
    (listed,) = terminal.tells("list")
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["role"], listed["valid"], listed["expires_at"]) == ("viewer", True, None)
    assert "secret_hash" not in listed
    rotated = terminal.tells("rotate", made["id"], "--overlap", "0s")
    assert [one["valid"] for one in terminal.tells("list") if one["id"] == made["id"]] == [False]
    assert terminal.tells("revoke", rotated["id"])["valid"] is False


@over_every_store
def test_the_last_admin_key_needs_force_and_both_are_on_record(terminal: Terminal, kind: str) -> None:
    admin = id_of(terminal.makes("create", "root", "--role", "admin"))
    assert "is the last valid admin key. Create another first" in terminal.fails(1, "revoke", admin)
    assert terminal.keys()[admin].revoked_at is None
    terminal.prints("revoke", admin, "--force")
    assert terminal.keys()[admin].revoked_at is not None
    results = [(entry.record.result, entry.record.detail[:6]) for entry in terminal.audit()[1:]]
    assert results == [("refused", admin[:6]), ("done", "forced")]


@over_one
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("revoke", "ck_nobody000000"), 1, "there is no API key ck_nobody000000"),
        (("rotate", "nonsense"), 1, "there is no API key nonsense"),
        (("create", "a b", "--role", "viewer"), 1, "name='a b'"),
        (("create", "a", "--role", "viewer", "--rate-limit", "0"), 1, "rate_limit=0"),
        (("create", "a", "--role", "viewer", "--expires-in", "soon"), 2, "'soon' is no duration"),
        (("create", "a", "--role", "viewer", "--expires-in", "0d"), 2, "0d is not from 1s to 3650d"),
        (("rotate", "ck_nobody000000", "--overlap", "91d"), 2, "91d is not from 0s to 90d"),
        (("create", "a", "--role", "king"), 2, "invalid choice: 'king'"),
        (("create", "a"), 2, "--role"),
        ((), 2, "create|list|rotate|revoke"),
    ],
)
def test_what_cannot_be_done_is_told(
    terminal: Terminal, kind: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in terminal.fails(code, *arguments)


@over_every_store
def test_what_is_missing_is_named(terminal: Terminal, kind: str) -> None:
    create = ("create", "a", "--role", "viewer")
    assert "API_KEY_HASH_KEY is not set" in terminal.fails(2, *create, API_KEY_HASH_KEY="")
    assert "32 or more" in terminal.fails(2, *create, API_KEY_HASH_KEY="short")
    away = {"mongo_url": "mongodb://127.0.0.1:1/x", "postgres_url": "postgresql://127.0.0.1:1/x"}[kind]
    assert "the store that DATABASE_URL names does not answer" in terminal.fails(1, "list", DATABASE_URL=away)
