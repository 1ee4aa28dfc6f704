"""Every test of this folder runs over every bus, with the same expectations."""

from collections.abc import AsyncIterator

import pytest

from tests.support.buses import World, delete_queues, delete_redis_queues, direct_world, rabbit_world, redis_world

MAKERS = {"rabbitmq": rabbit_world, "redis": redis_world}
SWEEPERS = {"rabbitmq": delete_queues, "redis": delete_redis_queues}
URLS = {"rabbitmq": "rabbit_url", "redis": "redis_url"}


@pytest.fixture(
    params=[
        "direct",
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "direct":
        world = direct_world()
        yield world
        await world.close()
        return
    url = request.getfixturevalue(URLS[request.param])
    world = MAKERS[request.param](url)
    yield world
    await world.close()
    await SWEEPERS[request.param](url, [queue.name for queue in world.queues])
