"""Worlds for the edge's tests: the real application over a bus in this process."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.door import TOKENS
from tests.support.edge_world import World, edge_settings, whole_world
from tests.support.patience import patient_edge, patient_publishing


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest) -> Iterator[None]:
    """How long an edge waits for others is tried by the tests that are ``in_a_hurry``, and by no others."""
    if getattr(request, "param", True):
        with patient_edge(), patient_publishing():
            yield
    else:
        yield


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


@pytest.fixture
async def door(bare: World) -> World:
    """An edge with nothing behind it, which takes keys and tokens."""
    bare.settings = bare.settings.model_copy(update=TOKENS)
    await bare.run_edge()
    return bare


@pytest.fixture
def nobody(door: World) -> httpx.AsyncClient:
    return door.stranger()
