"""Clusters of real processes over a real RabbitMQ and a store of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.envelope import new_id
from scripts.servers import Server, find_rabbitmq
from tests.conftest import found_or_not_run, in_ci
from tests.support.cluster import Cluster


@pytest.fixture
def system_rabbit() -> Iterator[Server]:
    """A broker that is this test's alone: the queues of the real services have no other test's messages in them."""
    with found_or_not_run(lambda: find_rabbitmq(own=True, install=in_ci())) as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path, system_rabbit: Server, mongo_url: str) -> Iterator[Cluster]:
    """Over RabbitMQ, every service a process of its own (which the test starts)."""
    cluster = Cluster(
        tmp_path,
        {
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "RABBITMQ_URL": system_rabbit.url,
            "DATABASE_URL": _database(mongo_url),
        },
    )
    yield cluster
    cluster.close()


@pytest.fixture
def one_process(tmp_path: Path, mongo_url: str) -> Iterator[Cluster]:
    """Over ``direct``: every service in one process."""
    folder = tmp_path / "direct"
    folder.mkdir()
    cluster = Cluster(folder, {"COMMUNICATION_PROTOCOL": "direct", "DATABASE_URL": _database(mongo_url)})
    yield cluster
    cluster.close()


def _database(mongo_url: str) -> str:
    return f"{mongo_url.rsplit('/', 1)[0]}/system_{new_id()[:12]}"
