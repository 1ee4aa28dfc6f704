"""The MongoDB store and its database: which is used, how it gets its collections, and what else may lie in it."""

from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient

from contracts.registry import AgentFilter
from services.runtime.settings import Settings
from services.runtime.store.base import Page, StoreError
from services.runtime.store.mongo import MongoStore
from services.runtime.store.mongo_layout import INDEXES
from services.runtime.store.open import open_store
from tests.support.store_operations import agent, entry
from tests.support.stores import mongo_patience, patient_mongo, started

pytestmark = pytest.mark.mongodb


patient = partial(patient_mongo, seconds=30)


# ---- which database


async def test_the_settings_say_which_store_is_opened(mongo_url: str, database: str) -> None:
    url = urlsplit(mongo_url)._replace(path=f"/{database}", query=mongo_patience(30)).geturl()
    async with started(open_store(Settings(database_url=url))) as store:  # type: ignore[call-arg]
        await store.append([entry("a", 1)])
    with MongoClient[dict[str, Any]](mongo_url) as client:
        assert [row["_id"] for row in client[database]["log"].find()] == ["a/000000001"]


@pytest.mark.parametrize(
    ("url", "name", "fault"),
    [
        ("mongodb://host:port:1/x", "x", "not one of MongoDB"),
        ("mongodb://host:99999/x", "x", "not one of MongoDB"),
        ("http://h/x", "x", "connect: Invalid URI scheme"),
        ("mongodb://h/x", "no/name", "connect: database names cannot contain"),
    ],
)
async def test_a_url_that_is_none_is_refused_at_start(url: str, name: str, fault: str) -> None:
    with pytest.raises(StoreError, match=fault):
        await MongoStore(url, name).start()


async def test_no_option_of_the_url_makes_writes_unconfirmed_or_reads_stale(mongo_url: str, database: str) -> None:
    options = "w=0&journal=false&readPreference=secondaryPreferred&readConcernLevel=local"
    async with started(patient(f"{mongo_url}?{options}", database)) as store:
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        assert await store.append([entry("a", 1)]) == set()


# ---- its collections and indexes


async def test_every_collection_has_its_indexes_and_no_other(mongo_url: str, database: str) -> None:
    async with started(patient(mongo_url, database)) as store:
        await store.ping()
    with MongoClient[dict[str, Any]](mongo_url) as client:
        found = {
            name: {index["name"] for index in client[database][name].list_indexes()}
            for name in client[database].list_collection_names()
        }
    assert found == {
        name: {"_id_", *(index.document["name"] for index in indexes)} for name, indexes in INDEXES.items()
    }


async def test_an_index_that_cannot_be_made_is_told_by_every_ping_and_nothing_else_stops(
    mongo_url: str, database: str
) -> None:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        client[database]["headers"].create_index("ended_at", name="due")
    async with started(patient(mongo_url, database)) as store:
        assert await store.append([entry("a", 1)]) == {"a/000000001"}
        for _ in range(2):
            with pytest.raises(StoreError, match="create the indexes of headers"):
                await store.ping()


async def test_what_an_earlier_version_kept_among_agents_is_removed(mongo_url: str, database: str) -> None:
    old = {"_id": "a", "seen_at": 5.0, "announced": '{"host_id": "a", "agent_ids": []}'}
    with MongoClient[dict[str, Any]](mongo_url) as client:
        client[database]["agents"].create_index("seen_at", name="seen")
        client[database]["agents"].insert_one(old)
    async with started(patient(mongo_url, database)) as store:
        await store.ping()
        assert await store.list_hosts() == []
        assert await store.list_agents(AgentFilter(), Page()) == ([], None)
        assert await store.add_agent(agent("a")) is True
    async with started(patient(mongo_url, database)) as store:
        assert await store.get_agent("a") == agent("a")
