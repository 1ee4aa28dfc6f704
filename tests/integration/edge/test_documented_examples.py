"""Every example of docs/api_documentation.md, run against a whole system: what comes is what the pages show."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from contracts.catalog import MESSAGES
from contracts.envelope import envelope_of
from scripts.api_documentation import EXAMPLES
from scripts.api_pages.comparing import Comparison
from scripts.api_pages.examples import Example, PublishedExample, RouteExample, WatchedExample, read
from scripts.api_pages.recording import changes
from scripts.api_pages.running import run
from scripts.api_pages.system import System, documented_settings, running_system
from services.runtime.settings import Protocol, Settings
from tests.support.mongo import own_mongo_database
from tests.support.stores import mongo_patience

pytestmark = pytest.mark.mongodb


@pytest.fixture(params=["direct", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def settings(request: pytest.FixtureRequest, mongo_url: str) -> Iterator[Settings]:
    """A store of the test's own and, where there is a broker, one of its own too: queues have the names they have."""
    more: dict[str, Any] = {}
    if request.param == "rabbitmq":
        url = request.getfixturevalue("own_rabbit").url
        more = {"communication_protocol": Protocol.RABBITMQ, "rabbitmq_url": url}
    with own_mongo_database(mongo_url) as name:
        url = urlsplit(mongo_url)._replace(path=f"/{name}", query=mongo_patience()).geturl()
        yield documented_settings(url, **more)


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with running_system(settings) as made:
        yield made


@pytest.mark.timeout(300)
async def test_every_example_gives_what_the_pages_show(system: System) -> None:
    shown = read(EXAMPLES)
    comparison = Comparison()
    done: list[Example] = []
    found: list[str] = []
    async for example, came in run(system, shown):
        done.append(example)
        found += changes(example, came, comparison)
    assert found == []
    assert sorted(example.n for example in done) == list(range(1, len(shown) + 1))
    assert {type(example) for example in done} == {RouteExample, PublishedExample, WatchedExample}
    # All that any service said meanwhile is a message of the catalog, by its own contract.
    assert system.tap.unread == []
    said = {taken.envelope.type for taken in system.tap.taken}
    assert said == MESSAGES.keys()
    for taken in system.tap.taken:
        envelope_of(MESSAGES[taken.envelope.type]).model_validate_json(taken.json)
