"""Commands about API keys and their answers: the same over every bus."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts import topology
from contracts.access import ApiKey, ApiKeyStored, CreateApiKey, RevokeApiKey, RotateApiKey
from contracts.envelope import Message
from contracts.execution import Refused
from services.access.app import build
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.requests import Requests
from services.runtime.security.api_keys import new_key_text
from services.runtime.settings import Settings
from services.runtime.store.base import Page
from tests.support.buses import PATIENCE, World
from tests.support.memory_store import MemoryStore

OWN_NAMES = False
NOW = 1_700_000_000.0
MANY = 20


class Access:
    """Two of the service, their store, and somebody who gives them commands."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = MemoryStore()
        self.bus = world.bus()
        self._requests = Requests(self.bus, world.name("client"))
        settings = Settings(api_key_hash_key="")
        self._services = [build(settings, world.bus(), self.store) for _ in range(2)]

    async def start(self) -> None:
        await self.bus.start()
        for service in self._services:
            await service.start()
        self.world.queues.append(topology.access_queue())

    async def stop(self) -> None:
        for service in self._services:
            await service.stop()
        await self._requests.stop()

    async def ask(self, message: Message, actor: str = "") -> Message:
        return await self._requests.ask(Outgoing(message, actor=actor), PATIENCE)

    async def stored(self, message: Message, actor: str = "") -> ApiKey:
        answer = await self.ask(message, actor)
        assert isinstance(answer, ApiKeyStored), answer
        assert await self.store.get_api_key(answer.key.id) == answer.key
        return answer.key

    async def refused(self, message: Message, code: str) -> str:
        answer = await self.ask(message)
        assert isinstance(answer, Refused), answer
        assert answer.code == code, answer
        return answer.message


@pytest.fixture
async def access(world: World) -> AsyncIterator[Access]:
    access = Access(world)
    await access.start()
    yield access
    await access.stop()


def key(**fields: Any) -> ApiKey:
    values = {"id": new_key_text().id, "name": "ann", "role": "operator", "secret_hash": "a" * 64, "created_at": NOW}
    return ApiKey.model_validate(values | fields)


def rotation(old: ApiKey, **fields: Any) -> RotateApiKey:
    values = {"id": old.id, "new_id": new_key_text().id, "new_secret_hash": "b" * 64, "overlap": 3_600}
    return RotateApiKey.model_validate(values | fields)


async def test_the_life_of_a_key(access: Access) -> None:
    made = await access.stored(CreateApiKey(key=key()), actor="key:root")
    assert made.created_by == "key:root"
    command = rotation(made)
    new = await access.stored(command, actor="user:eve")
    assert (new.id, new.name, new.role, new.created_by) == (command.new_id, "ann", made.role, "user:eve")
    old = await access.store.get_api_key(made.id)
    assert old is not None
    assert (old.replaced_by, old.revoked_at) == (new.id, None)
    assert old.expires_at is not None
    gone = await access.stored(RevokeApiKey(id=new.id))
    assert gone.revoked_at is not None
    assert await access.refused(rotation(new), "conflict") == f"API key {new.id} is revoked; create a new one"


async def test_a_command_that_comes_again_is_answered_alike(access: Access) -> None:
    create = CreateApiKey(key=key())
    made = await access.stored(create)
    assert await access.stored(create) == made
    command = rotation(made)
    new = await access.stored(command)
    outgoing = await access.store.get_api_key(made.id)
    assert await access.stored(command) == new
    assert await access.store.get_api_key(made.id) == outgoing
    revoke = RevokeApiKey(id=new.id)
    assert await access.stored(revoke) == await access.stored(revoke)
    assert access.store.calls["add_api_key"] == 2


async def test_refusals_are_named(access: Access) -> None:
    taken = await access.stored(CreateApiKey(key=key()))
    await access.refused(CreateApiKey(key=key(id=taken.id, name="bob")), "already_exists")
    await access.refused(CreateApiKey(key=key(expires_at=NOW)), "invalid")
    await access.refused(rotation(key()), "not_found")
    await access.refused(RevokeApiKey(id="ck_nobody000000"), "not_found")
    admin = await access.stored(CreateApiKey(key=key(role="admin")))
    assert "--force" in await access.refused(RevokeApiKey(id=admin.id), "conflict")
    assert await access.store.get_api_key(admin.id) == admin


async def test_of_admins_that_are_all_revoked_at_once_one_is_left(access: Access) -> None:
    """What is decided of one depends on the others, so it is decided one after the other, in one place."""
    admins = [await access.stored(CreateApiKey(key=key(role="admin"))) for _ in range(MANY)]
    answers = await asyncio.gather(*(access.ask(RevokeApiKey(id=admin.id)) for admin in admins))
    assert Counter(answer.TYPE for answer in answers) == {ApiKeyStored.TYPE: MANY - 1, Refused.TYPE: 1}
    left, _ = await access.store.list_api_keys(Page(1_000))
    assert sum(one.revoked_at is None for one in left) == 1


async def test_who_asks_for_no_answer_is_obeyed(access: Access) -> None:
    """And finds out by what is stored."""
    wanted = key()
    await access.bus.publish([encode(Outgoing(CreateApiKey(key=wanted)), "edge")])
    async with asyncio.timeout(PATIENCE):
        while (stored := await access.store.get_api_key(wanted.id)) is None:
            await asyncio.sleep(0.01)
    assert stored.created_by == "edge"
