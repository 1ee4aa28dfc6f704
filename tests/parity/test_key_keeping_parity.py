"""API keys are kept the same by every store, whoever else is at it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.access import ApiKey, RotateApiKey
from services.access.first_start import FIRST_KEY_ID, FirstStart
from services.access.keeping import Keeper, every_key
from services.access.key_decisions import KeyRefused
from services.runtime.security.api_keys import new_key_text
from services.runtime.settings import Settings
from services.runtime.store.base import Store
from tests.support.stores import STORES, opened_store

AT_ONCE = 8


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


@pytest.fixture
def keeper(store: Store) -> Keeper:
    return Keeper(store)


def key(**fields: Any) -> ApiKey:
    values = {"id": new_key_text().id, "name": "ann", "role": "operator", "secret_hash": "a" * 64, "created_at": 1.5}
    return ApiKey.model_validate(values | fields)


def rotation(old: ApiKey) -> RotateApiKey:
    return RotateApiKey(id=old.id, new_id=new_key_text().id, new_secret_hash="b" * 64, overlap=60)


async def test_every_change_is_kept(keeper: Keeper, store: Store) -> None:
    made = await keeper.create(key(role="admin", rate_limit=5))
    new = await keeper.rotate(rotation(made), by="me")
    gone = await keeper.revoke(made.id)
    assert gone.replaced_by == new.id
    assert {one.id: one for one in await every_key(store)} == {made.id: gone, new.id: new}
    with pytest.raises(KeyRefused, match="last valid admin key"):
        await keeper.revoke(new.id)
    assert (await keeper.revoke(new.id, force=True)).revoked_at is not None


async def test_more_keys_than_a_page_has(keeper: Keeper, store: Store) -> None:
    made = [key() for _ in range(450)]
    for start in range(0, len(made), 50):
        await asyncio.gather(*(keeper.create(one) for one in made[start : start + 50]))
    assert await every_key(store) == sorted(made, key=lambda one: one.id)


async def test_one_command_of_many_at_once_is_done_once(keeper: Keeper, store: Store) -> None:
    wanted = key()
    assert await asyncio.gather(*(keeper.create(wanted) for _ in range(AT_ONCE))) == [wanted] * AT_ONCE
    command = rotation(wanted)
    new = await asyncio.gather(*(keeper.rotate(command) for _ in range(AT_ONCE)))
    assert {one.id for one in new} == {command.new_id}
    assert len(set(map(repr, new))) == 1
    assert len(await every_key(store)) == 2


async def test_many_first_starts_at_once_make_one_key(store: Store) -> None:
    shown: list[str] = []
    settings = Settings(api_key_hash_key="h" * 32, initial_admin_key="")
    starts = [FirstStart(store, settings, show=shown.append, pause=0.05) for _ in range(AT_ONCE)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.run() for one in starts))
    assert [one.id for one in await every_key(store)] == [FIRST_KEY_ID]
    assert len(shown) == 1
