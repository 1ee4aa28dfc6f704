"""API keys as remembered by an edge: how often the store is asked, and how soon a change is seen."""

import asyncio

import pytest

from services.edge.access.stored_keys import KEY_SECONDS, LAST_KNOWN_SECONDS, StoredKeys
from services.runtime.store.base import StoreUnavailable
from services.runtime.store.documents import api_key_document
from tests.support.edge_world import ADMIN
from tests.support.memory_store import MemoryStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.rows["api_keys"][ADMIN.id] = api_key_document(ADMIN)
    return made


async def test_a_key_is_read_once_in_a_few_seconds(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    for _ in range(100):
        assert await keys.get(ADMIN.id) == ADMIN
    assert store.calls["get_api_key"] == 1
    clock.now += KEY_SECONDS
    await keys.get(ADMIN.id)
    assert store.calls["get_api_key"] == 2


async def test_a_revocation_is_seen_within_those_seconds(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    await keys.get(ADMIN.id)
    store.rows["api_keys"][ADMIN.id] = api_key_document(ADMIN.model_copy(update={"revoked_at": 2.0}))
    clock.now += KEY_SECONDS
    seen = await keys.get(ADMIN.id)
    assert seen is not None
    assert seen.revoked_at == 2.0


async def test_an_id_that_is_not_there_is_asked_for_once(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    assert keys.is_new("ck_nobodynobody")
    assert [await keys.get("ck_nobodynobody") for _ in range(50)] == [None] * 50
    assert store.calls["get_api_key"] == 1
    assert not keys.is_new("ck_nobodynobody")


async def test_guesses_do_not_fill_the_memory(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    for i in range(12_000):
        await keys.get(f"ck_{i:012}")
    assert len(keys._absent) == 10_000
    assert len(keys._known) == 0
    assert keys._reading == {}


async def test_many_at_once_are_one_read(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    gate = asyncio.Event()

    async def hold(operation: str, moment: str) -> None:
        await gate.wait()

    store.hook = hold
    asking = [asyncio.create_task(keys.get(ADMIN.id)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError), "who goes away takes the answer from nobody"
    assert answers[1:] == [ADMIN] * 19
    assert store.calls["get_api_key"] == 1


async def test_a_store_that_is_away_is_said_so_and_asked_again(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)

    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("no server")

    store.hook = away
    with pytest.raises(StoreUnavailable):
        await keys.get(ADMIN.id)
    store.hook = None
    assert await keys.get(ADMIN.id) == ADMIN


async def test_what_the_store_said_lately_is_known_while_it_cannot_be_asked(store: MemoryStore, clock: Clock) -> None:
    keys = StoredKeys(store, answer_within=1.0, clock=clock)
    assert keys.last_known(ADMIN.id) is None
    await keys.get(ADMIN.id)
    clock.now += LAST_KNOWN_SECONDS
    assert keys.last_known(ADMIN.id) == ADMIN
    clock.now += 1.0
    assert keys.last_known(ADMIN.id) is None
