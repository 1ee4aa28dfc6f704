"""Which store the settings open, and what is said where its driver is missing."""

import pytest

from services.runtime.settings import Settings
from services.runtime.store import open as opening
from services.runtime.store.base import StoreError
from services.runtime.store.mongo import MongoStore
from services.runtime.store.open import open_store
from services.runtime.store.postgres import PostgresStore


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
