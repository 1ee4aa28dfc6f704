"""Worlds for the edge's tests: the real application over a bus in this process."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.edge_world import World, edge_settings, whole_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with whole_world() as made:
        yield made


@pytest.fixture
def client(world: World) -> httpx.AsyncClient:
    return world.clients[0]


@pytest.fixture
async def bare() -> AsyncIterator[World]:
    """A world in which nothing runs yet."""
    world = World(edge_settings())
    yield world
    await world.close()
