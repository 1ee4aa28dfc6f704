"""Which store the settings open, and what is said where its driver is missing."""

from pathlib import Path

import pytest

from services.runtime.settings import BadSettings, Mode, Settings
from services.runtime.store import open as opening
from services.runtime.store.base import StoreError, Unreadable
from services.runtime.store.encrypted import EncryptedStore
from services.runtime.store.mongo import MongoStore
from services.runtime.store.open import open_store
from services.runtime.store.postgres import PostgresStore
from tests.support.encryption import key_file
from tests.support.memory_store import MemoryStore


def settings(url: str) -> Settings:
    return Settings(database_url=url)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("mongodb://host/x", MongoStore),
        ("mongodb+srv://host/x", MongoStore),
        ("postgresql://host/x", PostgresStore),
        ("postgres://host/x", PostgresStore),
    ],
)
def test_the_url_says_which_store(url: str, kind: type) -> None:
    assert type(open_store(settings(url))) is kind


@pytest.mark.parametrize("url", ["mongodb://host/x", "postgresql://host/x"])
@pytest.mark.parametrize("mode", [Mode.OPTIONAL, Mode.REQUIRED])
async def test_where_encryption_is_asked_for_the_store_encrypts(tmp_path: Path, url: str, mode: Mode) -> None:
    asked = Settings(  # type: ignore[call-arg]
        database_url=url, message_encryption=mode, encryption_keys=tmp_path / "encryption.json"
    )
    with pytest.raises(BadSettings, match="encryption-keys create"):
        open_store(asked)
    key_file(tmp_path)
    store = open_store(asked)
    assert isinstance(store, EncryptedStore)
    plain = MemoryStore()
    await plain.put_payloads({"p": 1})
    store.inner = plain
    if mode is Mode.OPTIONAL:
        assert await store.get_payloads(["p"]) == {"p": 1}
    else:
        with pytest.raises(Unreadable, match="payload p is not encrypted"):
            await store.get_payloads(["p"])


@pytest.mark.parametrize(
    ("url", "driver", "extra", "other"),
    [
        ("mongodb://u:secret@host/x", "motor", "mongodb", "postgresql://host/x"),
        ("postgresql://u:secret@host/x", "asyncpg", "postgres", "mongodb://host/x"),
    ],
)
def test_a_driver_that_is_missing_is_named_with_its_extra_and_the_other_store_needs_it_not(
    url: str, driver: str, extra: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "find_spec", lambda name: None if name == driver else object())
    with pytest.raises(StoreError, match=rf"{driver} is not installed: pip install 'conclave\[{extra}\]'") as refused:
        open_store(settings(url))
    assert "secret" not in str(refused.value)
    open_store(settings(other))
