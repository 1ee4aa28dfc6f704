"""A Redis for each test, and a world over it whose sessions end soon."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from scripts.redis_server import RedisServer
from tests.support.bus_faults import start
from tests.support.buses import World, redis_world
from tests.support.redis_helpers import TIME_TO_LIVE


@pytest.fixture
async def world(own_redis: RedisServer) -> AsyncIterator[World]:
    world = redis_world(own_redis.url, time_to_live=TIME_TO_LIVE)
    yield world
    await start(own_redis)
    await world.close()


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url) as client:
        yield client
