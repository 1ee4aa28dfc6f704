"""A backup of MongoDB is read in one causally consistent session."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.monitoring import CommandListener, CommandStartedEvent

from scripts.backups import mongodb as module
from scripts.backups.order import READ_IN_THIS_ORDER
from tests.support.store_backups import Databases, Life, create, opened

pytestmark = pytest.mark.mongodb


class Noted(CommandListener):
    """The session of every find, and the collections that were asked for in it."""

    def __init__(self) -> None:
        self.sessions: set[bytes] = set()
        self.collections: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.sessions.add(bytes(event.command["lsid"]["id"]))
            self.collections.append(event.command["find"])

    def succeeded(self, event: Any) -> None:
        """Of no interest."""

    def failed(self, event: Any) -> None:
        """Of no interest."""


async def test_what_is_read_later_is_never_older_though_another_server_answers(
    mongo_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = Noted()
    causal: list[bool] = []

    class Client(MongoClient[Any]):
        def start_session(self, **options: Any) -> ClientSession:
            causal.append(bool(options.get("causal_consistency")))
            return super().start_session(**options)

    monkeypatch.setattr(module, "MongoClient", {Any: partial(Client, event_listeners=[noted])})
    async with Databases("mongodb", mongo_url).new() as settings:
        async with opened(settings) as store:
            await Life(store).everything()
        await create(settings, tmp_path)
    assert causal == [True]
    assert len(noted.sessions) == 1
    assert list(dict.fromkeys(noted.collections)) == list(READ_IN_THIS_ORDER)
