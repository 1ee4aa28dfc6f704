"""Where there is Docker, tests get their RabbitMQ and MongoDB from testcontainers."""

from collections.abc import Mapping

import aio_pika
import pytest
from pymongo import MongoClient

from scripts.docker_engine import DockerFailed, Engine
from scripts.servers import ContainerServer, ServerNotFound, find_mongodb, find_postgresql, find_rabbitmq

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1500)]

NOWHERE = "127.0.0.1:1/no/such-image:1"  # a registry that nobody runs
REFUSED = "connection refused"


@pytest.fixture(autouse=True)
def environment(engine: Engine, images: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    for variable in ("RABBITMQ_IMAGE", "MONGO_IMAGE"):
        monkeypatch.setenv(variable, images[variable])


async def test_a_rabbitmq_of_our_own_takes_messages_and_keeps_them(engine: Engine, images: Mapping[str, str]) -> None:
    with find_rabbitmq(own=True) as server:
        assert isinstance(server, ContainerServer)
        assert server.origin == f"container {images['RABBITMQ_IMAGE']}"
        async with await aio_pika.connect(server.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("kept", durable=True)
            message = aio_pika.Message(b"a message", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=queue.name)
        server.restart()
        async with await aio_pika.connect(server.url) as connection:
            channel = await connection.channel()
            taken = await (await channel.get_queue("kept")).get(timeout=30)
            await taken.ack()
        assert taken.body == b"a message"
        assert containers_of(engine, images["RABBITMQ_IMAGE"]) == 1
    assert containers_of(engine, images["RABBITMQ_IMAGE"]) == 0


def test_a_mongodb_of_our_own_takes_documents_and_keeps_them(engine: Engine, images: Mapping[str, str]) -> None:
    with find_mongodb(own=True) as server:
        assert isinstance(server, ContainerServer)
        with MongoClient(server.url) as client:
            client["conclave"]["kept"].insert_one({"_id": 1, "what": "a document"})
        server.kill()
        server.start()
        with MongoClient(server.url) as client:
            assert list(client["conclave"]["kept"].find()) == [{"_id": 1, "what": "a document"}]
        assert containers_of(engine, images["MONGO_IMAGE"]) == 1
    assert containers_of(engine, images["MONGO_IMAGE"]) == 0


@pytest.mark.parametrize(
    ("variable", "find"),
    [("RABBITMQ_IMAGE", find_rabbitmq), ("MONGO_IMAGE", find_mongodb)],
    ids=["rabbitmq", "mongodb"],
)
def test_where_its_image_cannot_be_had_the_next_way_is_taken(
    variable: str, find: type, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, NOWHERE)
    monkeypatch.setattr("scripts.servers.secantus_program", lambda *_: None)
    monkeypatch.setattr("scripts.servers.rabbitmq_program", lambda: None)
    with pytest.raises(
        ServerNotFound, match=f"no Docker through testcontainers: .*{REFUSED}.*; (no rabbitmq|Secantus)"
    ):
        find(own=True)
    assert containers_of(engine, NOWHERE) == 0


def test_what_does_not_begin_leaves_no_container(
    engine: Engine, images: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image without the program that it is asked to run: it ends at once, and nothing ever answers."""
    monkeypatch.setattr("scripts.servers.START_TIMEOUT", 3.0)
    monkeypatch.setattr("scripts.servers.postgres_programs", lambda: None)
    monkeypatch.setenv("POSTGRES_IMAGE", images["BASE_IMAGE"])
    with pytest.raises(ServerNotFound, match="did not answer in 3 s"):
        find_postgresql(own=True)
    assert containers_of(engine, images["BASE_IMAGE"]) == 0


def containers_of(engine: Engine, image: str) -> int:
    """How many containers testcontainers has of an image now, running or not."""
    try:
        listed = engine.run(
            *("ps", "--all", "--quiet", "--filter", f"ancestor={image}", "--filter", "label=org.testcontainers")
        )
    except DockerFailed:  # no such image
        return 0
    return len(listed.split())
