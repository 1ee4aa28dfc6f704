"""API keys whose store somebody else writes to at the same time, or loses answers of."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contracts.access import ApiKey, RotateApiKey
from services.access.keeping import Keeper
from services.access.key_decisions import KeyRefused
from services.runtime.store.base import StoreUnavailable
from tests.support.memory_store import MemoryStore

OLD, NEW = "ck_old000000000", "ck_new000000000"
KEY = ApiKey(id=OLD, name="ann", role="operator", secret_hash="a" * 64, created_at=1.0)
ROTATION = RotateApiKey(id=OLD, new_id=NEW, new_secret_hash="b" * 64, overlap=60)


def once(store: MemoryStore, operation: str, moment: str, does: Callable[[], Awaitable[Any]]) -> None:
    """What somebody else does when this store comes to that; once."""

    async def hook(what: str, when: str) -> None:
        if (what, when) == (operation, moment):
            store.hook = None
            await does()

    store.hook = hook


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.add_api_key(KEY)
    return store


async def valid(store: MemoryStore) -> set[str]:
    return {key.id for key in await Keeper(store).all() if key.revoked_at is None}


async def test_a_key_that_is_revoked_while_it_is_rotated_has_no_successor(store: MemoryStore) -> None:
    once(store, "add_api_key", "after", lambda: Keeper(store).revoke(OLD))
    with pytest.raises(KeyRefused, match="was revoked while it was rotated"):
        await Keeper(store).rotate(ROTATION)
    assert await valid(store) == set()


async def test_a_revocation_that_is_written_over_is_written_again(store: MemoryStore) -> None:
    rotated = KEY.model_copy(update={"expires_at": 9e9, "replaced_by": NEW})
    once(store, "write_api_key", "after", lambda: store.write_api_key(rotated))
    key = await Keeper(store).revoke(OLD)
    assert key.revoked_at is not None
    assert key.replaced_by == NEW
    assert await valid(store) == set()


@pytest.mark.parametrize("operation", ["get_api_key", "add_api_key", "write_api_key"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_rotation_whose_store_went_away_is_finished_by_the_next_try(
    store: MemoryStore, operation: str, moment: str
) -> None:
    async def away() -> None:
        raise StoreUnavailable("away")

    once(store, operation, moment, away)
    with pytest.raises(StoreUnavailable):
        await Keeper(store).rotate(ROTATION)
    new = await Keeper(store).rotate(ROTATION)
    old = await store.get_api_key(OLD)
    assert old is not None
    assert (new.id, old.replaced_by, old.revoked_at) == (NEW, NEW, None)
    assert old.expires_at is not None
    assert store.calls["add_api_key"] == 2


async def test_a_creation_whose_answer_was_lost_is_the_same_key(store: MemoryStore) -> None:
    async def away() -> None:
        raise StoreUnavailable("away")

    wanted = KEY.model_copy(update={"id": NEW})
    once(store, "add_api_key", "after", away)
    with pytest.raises(StoreUnavailable):
        await Keeper(store).create(wanted)
    assert await Keeper(store).create(wanted) == wanted
    assert await valid(store) == {OLD, NEW}


async def test_two_that_create_one_id_at_once_make_one_key(store: MemoryStore) -> None:
    first, second = (KEY.model_copy(update={"id": NEW, "name": name}) for name in ("ann", "bob"))
    once(store, "add_api_key", "before", lambda: Keeper(store).create(first))
    with pytest.raises(KeyRefused, match="there is an API key"):
        await Keeper(store).create(second)
    assert await store.get_api_key(NEW) == first
