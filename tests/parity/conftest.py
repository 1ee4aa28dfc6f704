"""Every test of this folder runs over every bus, with the same expectations."""

from collections.abc import AsyncIterator

import pytest

from tests.support.buses import World, delete_queues, direct_world, rabbit_world


@pytest.fixture(params=["direct", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "direct":
        world = direct_world()
        yield world
        await world.close()
        return
    url = request.getfixturevalue("rabbit_url")
    world = rabbit_world(url)
    yield world
    await world.close()
    await delete_queues(url, [queue.name for queue in world.queues])
