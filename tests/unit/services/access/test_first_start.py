"""The first admin key of an installation: one, seen by somebody, whatever crashes and whoever starts beside."""

import asyncio
import re
from typing import Any

import pytest

from contracts.access import ApiKey, Role
from services.access.first_start import FIRST_KEY_ID, FirstStart
from services.access.keeping import every_key
from services.runtime.security.api_keys import is_key, new_key_text, read_key_text
from services.runtime.settings import Settings
from services.runtime.store.base import StoreUnavailable
from tests.support.memory_store import MemoryStore

HASH_KEY = "h" * 32
PATIENCE = 20.0


class Killed(Exception):
    """As kill -9: nothing of ours runs after it."""


def settings(**fields: Any) -> Settings:
    return Settings(**{"api_key_hash_key": HASH_KEY, "initial_admin_key": "", **fields})


class Starts:
    """Access services that start on one store, and what they have shown."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.shown: list[str] = []

    def first_start(self, **fields: Any) -> FirstStart:
        return FirstStart(self.store, settings(**fields), show=self.shown.append, pause=0.001, looks=3)

    async def run(self, **fields: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.first_start(**fields).run()

    def kill_at(self, operation: str, moment: str) -> None:
        """The next time the store is asked for this; once."""

        async def hook(what: str, when: str) -> None:
            if (what, when) == (operation, moment):
                self.store.hook = None
                raise Killed

        self.store.hook = hook

    async def keys(self) -> list[ApiKey]:
        return await every_key(self.store)

    def key_shown(self, number: int = -1) -> str:
        (found,) = re.findall(r"ck_[a-z0-9]{12}_[\w-]{43}", self.shown[number])
        return str(found)


@pytest.fixture
def starts() -> Starts:
    return Starts()


def opens(text: str, key: ApiKey) -> bool:
    read = read_key_text(text)
    assert read is not None
    return read.id == key.id and is_key(read, key, HASH_KEY)


async def test_a_new_installation_is_shown_its_key_once(starts: Starts) -> None:
    await starts.run()
    (key,) = await starts.keys()
    assert (key.id, key.role, key.expires_at) == (FIRST_KEY_ID, Role.ADMIN, None)
    assert opens(starts.key_shown(), key)
    for _ in range(3):
        await starts.run()
    assert len(starts.shown) == 1
    assert await starts.keys() == [key]


async def test_it_is_on_the_audit_log_once(starts: Starts) -> None:
    await starts.run()
    await starts.run()
    (entry,) = await starts.store.read_audit(0, 10)
    record = entry.record
    assert (record.actor, record.action, record.subject) == ("service:access", "api_key.create.v1", FIRST_KEY_ID)
    assert starts.key_shown().removeprefix(f"{FIRST_KEY_ID}_") not in entry.model_dump_json()


async def test_a_given_key_is_stored_and_shown_to_nobody(starts: Starts) -> None:
    given = str(new_key_text())
    await asyncio.gather(*(starts.run(initial_admin_key=given) for _ in range(3)))
    (key,) = await starts.keys()
    assert opens(given, key)
    assert starts.shown == []
    await starts.run(initial_admin_key=str(new_key_text()))
    assert await starts.keys() == [key]


async def test_a_given_key_that_was_revoked_does_not_come_back(starts: Starts) -> None:
    given = str(new_key_text())
    await starts.run(initial_admin_key=given)
    (key,) = await starts.keys()
    gone = key.model_copy(update={"revoked_at": 1.0})
    await starts.store.write_api_key(gone)
    await starts.run(initial_admin_key=given)
    await starts.run()
    assert await starts.keys() == [gone]
    assert starts.shown == []


async def test_whoever_has_an_admin_key_needs_no_first_one(starts: Starts) -> None:
    viewer = ApiKey(id="ck_viewer000000", name="v", role=Role.VIEWER, secret_hash="0" * 64, created_at=1.0)
    admin = viewer.model_copy(update={"id": "ck_admin0000000", "role": Role.ADMIN})
    await starts.store.add_api_key(viewer)
    await starts.store.add_api_key(admin)
    await starts.run()
    assert starts.shown == []
    assert len(await starts.keys()) == 2


async def test_a_viewers_key_does_not_stand_for_an_admins(starts: Starts) -> None:
    await starts.store.add_api_key(
        ApiKey(id="ck_viewer000000", name="v", role=Role.VIEWER, secret_hash="0" * 64, created_at=1.0)
    )
    await starts.run()
    assert [key.role for key in await starts.keys()] == [Role.ADMIN, Role.VIEWER]


async def test_of_many_that_start_at_once_one_makes_the_key(starts: Starts) -> None:
    async def give_way(*_: object) -> None:
        await asyncio.sleep(0)

    starts.store.hook = give_way
    await asyncio.gather(*(starts.run() for _ in range(10)))
    (key,) = await starts.keys()
    assert len(starts.shown) == 1
    assert opens(starts.key_shown(), key)


@pytest.mark.parametrize(
    ("operation", "moment", "shown"),
    [
        ("claim", "before", 1),
        ("claim", "after", 1),
        ("add_api_key", "before", 2),
        ("add_api_key", "after", 1),
        ("get_api_key", "before", 1),
        ("append_audit", "before", 1),
    ],
)
async def test_after_a_crash_anywhere_the_key_shown_last_is_the_key(
    starts: Starts, operation: str, moment: str, shown: int
) -> None:
    starts.kill_at(operation, moment)
    with pytest.raises(Killed):
        await starts.run()
    await starts.run()
    await starts.run()
    (key,) = await starts.keys()
    assert len(starts.shown) == shown
    assert opens(starts.key_shown(), key)


async def test_a_crash_of_the_second_try_is_mended_by_the_third(starts: Starts) -> None:
    for _ in range(2):
        starts.kill_at("add_api_key", "before")
        with pytest.raises(Killed):
            await starts.run()
    await starts.run()
    (key,) = await starts.keys()
    assert opens(starts.key_shown(), key)


async def test_who_was_slow_and_not_gone_makes_no_second_key(starts: Starts) -> None:
    """The first claims and shows, and hangs before it stores; the second takes over meanwhile."""
    goes_on = asyncio.Event()
    hangs = asyncio.Event()

    async def hang(operation: str, moment: str) -> None:
        if (operation, moment) == ("add_api_key", "before") and not hangs.is_set():
            hangs.set()
            await goes_on.wait()

    starts.store.hook = hang
    slow = asyncio.create_task(starts.run())
    await hangs.wait()
    await starts.run()
    goes_on.set()
    await slow
    (key,) = await starts.keys()
    assert [opens(starts.key_shown(number), key) for number in range(len(starts.shown))] == [False, True]


async def test_a_key_that_cannot_be_shown_is_not_stored(starts: Starts) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await FirstStart(starts.store, settings(), show=broken).run()
    assert await starts.keys() == []


@pytest.mark.parametrize("operation", ["list_api_keys", "claim", "add_api_key", "get_api_key", "append_audit"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_store_that_is_away_is_waited_for(starts: Starts, operation: str, moment: str) -> None:
    failures = iter(range(2))

    async def away(what: str, when: str) -> None:
        if (what, when) == (operation, moment) and next(failures, None) is not None:
            raise StoreUnavailable("away")

    starts.store.hook = away
    await starts.run()
    (key,) = await starts.keys()
    assert len(starts.shown) == 1
    assert opens(starts.key_shown(), key)
    assert len(await starts.store.read_audit(0, 10)) == 1


async def test_without_a_hash_key_nothing_is_made(starts: Starts) -> None:
    first_start = starts.first_start(api_key_hash_key="")
    await first_start.start()
    await first_start.stop()
    assert dict(starts.store.calls) == {}


async def test_as_a_resource_it_does_not_hold_up_its_service(starts: Starts) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    starts.store.hook = away
    first_start = starts.first_start()
    async with asyncio.timeout(PATIENCE):
        await first_start.start()
        await first_start.stop()
    assert starts.shown == []


def test_by_default_it_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    asyncio.run(FirstStart(MemoryStore(), settings()).run())
    printed, logged = capfd.readouterr()
    assert printed.count(f"{FIRST_KEY_ID}_") == 1
    assert f"{FIRST_KEY_ID}_" not in logged
