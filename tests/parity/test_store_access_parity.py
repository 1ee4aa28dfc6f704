"""What every store must do with API keys and with what is taken once, over the store in memory, MongoDB's protocol and
PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts.access import Role
from services.runtime.store.base import BadCursor, Page, Store
from tests.support.store_operations import api_key
from tests.support.stores import STORES, opened_store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


def key_id(i: int) -> str:
    return f"ck_{i:012d}"


# ---- claims


async def test_what_is_claimed_by_twenty_at_once_is_one_ones(store: Store) -> None:
    for turn in range(3):
        won = await asyncio.gather(*(store.claim(f"first-admin-key{turn}") for _ in range(20)))
        assert sorted(won) == [*[False] * 19, True]


async def test_a_claim_is_for_good_and_one_of_many(store: Store) -> None:
    assert await store.claim("a") is True
    assert await store.claim("b") is True
    assert await store.claim("a\0") is True
    assert await store.claim("a") is False
    assert await store.claim("a\0") is False


# ---- API keys


async def test_a_key_comes_back_as_it_was(store: Store) -> None:
    written = api_key(
        key_id(1),
        name="Ops.team@example-1",
        role=Role.OPERATOR,
        secret_hash="af" * 32,
        created_at=1_763_800_000.123456,
        created_by="key:\0 é \U0001d11e",
        expires_at=1_863_800_000.5,
        revoked_at=1_763_900_000.25,
        replaced_by=key_id(2),
        rate_limit=7,
    )
    assert await store.add_api_key(written) is True
    assert await store.get_api_key(key_id(1)) == written
    assert await store.list_api_keys(Page()) == ([written], None)
    assert await store.get_api_key(key_id(2)) is None


async def test_a_key_of_a_taken_id_is_not_added_and_changes_nothing(store: Store) -> None:
    assert await store.add_api_key(api_key(key_id(1), name="first")) is True
    assert await store.add_api_key(api_key(key_id(1), name="second", role=Role.ADMIN)) is False
    assert await store.get_api_key(key_id(1)) == api_key(key_id(1), name="first")


async def test_of_twenty_who_add_a_key_at_once_one_does(store: Store) -> None:
    rivals = [api_key(key_id(1), name=f"n{i}") for i in range(20)]
    won = await asyncio.gather(*map(store.add_api_key, rivals))
    assert sum(won) == 1
    assert await store.get_api_key(key_id(1)) == rivals[won.index(True)]


async def test_a_key_is_written_over_and_one_that_is_not_there_is_not_made(store: Store) -> None:
    await store.add_api_key(api_key(key_id(1)))
    assert await store.write_api_key(api_key(key_id(1), revoked_at=5.0)) is True
    assert await store.get_api_key(key_id(1)) == api_key(key_id(1), revoked_at=5.0)
    assert await store.write_api_key(api_key(key_id(2))) is False
    assert await store.get_api_key(key_id(2)) is None


@pytest.mark.parametrize("key", ["", "\0", "ck_", "$ne", "x" * 5_000])
async def test_a_text_that_is_no_id_of_a_key_finds_none(store: Store, key: str) -> None:
    await store.add_api_key(api_key(key_id(1)))
    assert await store.get_api_key(key) is None


async def test_keys_are_listed_by_id_in_pages_of_any_size(store: Store) -> None:
    keys = [api_key(key_id(i), name=f"n{i}") for i in range(23)]
    await asyncio.gather(*map(store.add_api_key, reversed(keys)))
    for limit in (1, 7, 22, 23, 50):
        found, cursor = await store.list_api_keys(Page(limit))
        while cursor is not None:
            assert len(found) % limit == 0
            more, cursor = await store.list_api_keys(Page(limit, cursor))
            found += more
        assert found == keys


async def test_no_keys_are_an_empty_page(store: Store) -> None:
    assert await store.list_api_keys(Page()) == ([], None)


@pytest.mark.parametrize("text", ["", "x", "WzEsMiwzXQ", "é"])
async def test_a_text_that_is_no_cursor_of_keys_is_refused(store: Store, text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of API keys"):
        await store.list_api_keys(Page(10, text))
