"""An edge, an orchestrator and agents in one process, to be attacked."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.support.edge_world import World, whole_world
from tests.support.patience import patient_edge


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """How long an edge waits for others is nothing that is tried here."""
    with patient_edge():
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with whole_world() as made:
        yield made


@pytest.fixture
def client(world: World) -> httpx.AsyncClient:
    return world.clients[0]
