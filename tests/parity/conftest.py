"""Every test of this folder runs over every bus, with the same expectations; those of a module that says
``ALSO_SIGNED = True`` once more over two of them with signatures required. Those of a module that says
``OWN_NAMES = False`` use queues that a broker has once: of these one runs at a time, over all processes of a run."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support.buses import (
    World,
    alone_on,
    delete_queues,
    delete_redis_queues,
    direct_world,
    rabbit_world,
    redis_world,
)
from tests.support.signing import all_signing

MAKERS = {"rabbitmq": rabbit_world, "redis": redis_world}
SWEEPERS = {"rabbitmq": delete_queues, "redis": delete_redis_queues}
URLS = {"rabbitmq": "rabbit_url", "redis": "redis_url"}
SIGNED = "+signed"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames:
        buses = ["direct", *MAKERS]
        if getattr(metafunc.module, "ALSO_SIGNED", False):
            buses += ["direct" + SIGNED, "rabbitmq" + SIGNED]
        metafunc.parametrize(
            "world",
            [
                pytest.param(name, marks=[getattr(pytest.mark, bus)] if bus in MAKERS else [])
                for name in buses
                for bus in [name.removesuffix(SIGNED)]
            ],
            indirect=True,
        )


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    bus, _, signed = request.param.partition("+")
    url = request.getfixturevalue(URLS[bus]) if bus in URLS else ""
    own_names = getattr(request.module, "OWN_NAMES", True)
    with nullcontext() if own_names or not url else alone_on(url):
        world = MAKERS[bus](url) if url else direct_world()
        if signed:
            world.make_bus = all_signing(world.make_bus, tmp_path)
        yield world
        await world.close()
        if url:
            await SWEEPERS[bus](url, [queue.name for queue in world.queues])
