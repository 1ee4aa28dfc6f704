"""Stores to back up, and empty ones to restore into, of each kind."""

from collections.abc import AsyncIterator

import pytest

from services.runtime.settings import Settings
from tests.support.store_backups import KINDS, Databases


@pytest.fixture(params=KINDS)
def databases(request: pytest.FixtureRequest) -> Databases:
    fixture = {"mongodb": "mongo_url", "postgres": "postgres_url"}[request.param]
    return Databases(request.param, request.getfixturevalue(fixture))


@pytest.fixture
async def source(databases: Databases) -> AsyncIterator[Settings]:
    async with databases.new() as settings:
        yield settings


@pytest.fixture
async def target(databases: Databases) -> AsyncIterator[Settings]:
    async with databases.new() as settings:
        yield settings
