"""Fixtures that every kind of test may use."""

import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from scripts.redis_server import RedisServer, find_redis
from scripts.servers import (
    MongoServer,
    PostgresServer,
    Server,
    ServerNotFound,
    find_mongodb,
    find_postgresql,
    find_rabbitmq,
)
from tests.support.api_access import ENVIRONMENT
from tests.support.mongo import own_mongo_database
from tests.support.postgres import own_postgres_database


def pytest_configure() -> None:
    """Services that tests start, here or in processes of their own, know the tests' API key and their agent types."""
    os.environ.update(ENVIRONMENT)


@pytest.fixture(scope="session")
def rabbit_url() -> Iterator[str]:
    """A real RabbitMQ, shared by the session: tests use names of their own."""
    with found_or_not_run(lambda: find_rabbitmq(install=in_ci())) as server:
        yield server.url


@pytest.fixture(scope="session")
def own_rabbit() -> Iterator[Server]:
    """A RabbitMQ that a test may stop and kill, if it starts it again."""
    with found_or_not_run(lambda: find_rabbitmq(own=True, install=in_ci())) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis, shared by the session: tests use names of their own."""
    with found_or_not_run(lambda: find_redis(install=in_ci())) as server:
        yield server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis of one test alone, which writes what it is told to a file; the test may stop, kill and start it."""
    with found_or_not_run(lambda: find_redis(own=True, install=in_ci())) as server:
        assert isinstance(server, RedisServer)
        yield server


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """A server that speaks MongoDB's protocol, shared by the session: tests use databases of their own."""
    with found_or_not_run(find_mongodb) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL, shared by the session: tests use databases of their own."""
    with found_or_not_run(lambda: find_postgresql(install=in_ci())) as server:
        yield server.url


@pytest.fixture
async def database(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The name of a database of one test's own in the shared server of the kind that the test is marked with."""
    if request.node.get_closest_marker("mongodb"):
        with own_mongo_database(request.getfixturevalue("mongo_url")) as name:
            yield name
    else:
        async with own_postgres_database(request.getfixturevalue("postgres_url")) as name:
            yield name


@pytest.fixture
def own_mongo() -> Iterator[MongoServer]:
    """The embedded store of one test alone, not started yet, that keeps its data and its port when it is killed."""
    server = found_or_not_run(lambda: find_mongodb(own=True, containers=False))
    assert isinstance(server, MongoServer)
    server.stop()
    yield server
    server.close()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of one test alone, not started yet, that keeps its data and its port when it is killed."""
    server = found_or_not_run(lambda: find_postgresql(own=True, containers=False, install=in_ci()))
    assert isinstance(server, PostgresServer)
    server.stop()
    yield server
    server.close()


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def found_or_not_run(find: Callable[[], Server]) -> Server:
    """The server; where there is none the test is skipped as not run, and in CI it fails."""
    try:
        return find()
    except ServerNotFound as error:
        if in_ci():
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"not run: {error}")
