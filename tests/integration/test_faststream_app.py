"""A service run by FastStream's own command, and described by its AsyncAPI document."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aio_pika
import pytest
from faststream.specification import AsyncAPI
from redis.asyncio import Redis

from contracts import topology
from contracts.execution import CancelExecution, StartExecution
from contracts.registry import AgentMail, AgentReply
from contracts.topology import Address, Queue
from services.runtime.bus.base import BusError, Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.bus.redis import RedisBus
from services.runtime.envelope_codec import Outgoing
from services.runtime.faststream_app import faststream_app
from services.runtime.requests import Requests
from services.runtime.service import Service
from tests.support.buses import World, delete_queues, delete_redis_queues, rabbit_world, redis_world

ROOT = Path(__file__).resolve().parents[2]

APP = """
import asyncio, os
from contracts import topology
from contracts.registry import AgentMail, AgentReply
from contracts.topology import Queue
from services.runtime.bus.open import open_bus
from services.runtime.faststream_app import faststream_app
from services.runtime.service import Route, Service
from services.runtime.settings import load_settings

async def answer(received):
    print("taken", flush=True)
    await asyncio.sleep(float(received.message.body["seconds"]))
    return [received.reply(AgentReply(agent_id=received.message.agent_id, body={"pid": os.getpid()}))]

def app():
    name = os.environ["TEST_QUEUE"]
    queue = Queue(name, (topology.agent_mail(name),))
    routes = [Route(queue, handlers={AgentMail: answer})]
    return faststream_app(Service("echo", open_bus(load_settings(), "echo"), routes=routes))
"""


@dataclass(frozen=True)
class Broker:
    """A broker, how a service is told of it, and how many consumers it has on a queue."""

    world: World
    environment: Mapping[str, str]
    consumers: Callable[[str], Awaitable[int]]


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("rabbitmq", "redis")])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    rabbit = request.param == "rabbitmq"
    url: str = request.getfixturevalue("rabbit_url" if rabbit else "redis_url")
    world = rabbit_world(url) if rabbit else redis_world(url)
    environment = {"COMMUNICATION_PROTOCOL": request.param, "RABBITMQ_URL" if rabbit else "REDIS_URL": url}
    yield Broker(world, environment, partial(rabbit_consumers if rabbit else redis_consumers, url))
    await world.close()
    await (delete_queues if rabbit else delete_redis_queues)(url, [queue.name for queue in world.queues])


async def test_faststream_run_starts_and_drains_a_service(broker: Broker, tmp_path: Path) -> None:
    world = broker.world
    (tmp_path / "echo_app.py").write_text(APP)
    name = world.name("echo")
    queue = world.queue("echo", topology.agent_mail(name))
    bus = world.bus()
    requests = Requests(bus, "asking")
    await bus.start()
    await bus.declare(queue)

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faststream", "run", "echo_app:app", "--factory", "--app-dir", str(tmp_path)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_QUEUE": name, **broker.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        first = await requests.ask(Outgoing(AgentMail(agent_id=name, body={"seconds": 0})), timeout=60)
        assert first == AgentReply(agent_id=name, body={"pid": process.pid})
        # FastStream starts its brokers after the service has: that must not make a second consumer.
        assert await broker.consumers(name) == 1

        in_hand = asyncio.create_task(requests.ask(Outgoing(AgentMail(agent_id=name, body={"seconds": 1})), timeout=60))
        assert process.stdout is not None
        taken = 0
        while taken < 2:
            taken += (await asyncio.wait_for(process.stdout.readline(), 30)).startswith(b"taken")
        process.send_signal(signal.SIGTERM)
        assert await in_hand == AgentReply(agent_id=name, body={"pid": process.pid})
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, output.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert await broker.consumers(name) == 0


@pytest.mark.parametrize(
    "bus", [RabbitBus("amqp://nowhere.invalid/"), RedisBus("redis://nowhere.invalid/")], ids=["rabbitmq", "redis"]
)
async def test_a_broker_that_its_bus_did_not_start_refuses_to(bus: RabbitBus | RedisBus) -> None:
    with pytest.raises(BusError, match="started by its bus"):
        await bus.broker.start()


def test_faststream_cannot_run_a_service_on_the_direct_bus() -> None:
    with pytest.raises(BusError, match="COMMUNICATION_PROTOCOL=rabbitmq"):
        faststream_app(Service("echo", DirectBus(DirectBroker())))


@pytest.mark.parametrize(
    ("bus", "prefix"),
    [
        (RabbitBus("amqp://user:secret@nowhere.invalid:5672/vhost"), ""),
        (RedisBus("redis://user:secret@nowhere.invalid:6379/0"), "conclave:queue:"),
    ],
    ids=["rabbitmq", "redis"],
)
def test_the_asyncapi_document_needs_no_connection(bus: RabbitBus | RedisBus, prefix: str) -> None:
    async def receive(_: Delivery) -> None: ...

    bus.subscribe(topology.orchestrator_commands(), receive, prefetch=1, accepts=(StartExecution, CancelExecution))
    mailbox = Queue("box", (Address(topology.Exchange.AGENTS, "mail.x"),))
    bus.subscribe(mailbox, receive, prefetch=1, accepts=(AgentMail,))
    bus.subscribe(topology.reply_queue("reply.of.somebody"), receive, prefetch=1)
    document = AsyncAPI(bus.broker, title="Conclave", version="1").to_specification().to_jsonable()

    assert document["asyncapi"].startswith("3.")
    assert set(document["channels"]) == {"orchestrator.commands", "box"}
    commands = document["channels"]["orchestrator.commands"]
    assert "execution.start_now" in commands["description"]
    assert "workflow.*" in commands["description"]
    schemas = document["components"]["schemas"]
    assert {"StartExecution", "CancelExecution", "AgentMail"} <= set(schemas)
    payload = schemas["orchestrator.commands:Message:Payload"]
    assert [choice["$ref"].rsplit("/", 1)[1] for choice in payload["anyOf"]] == [
        "Envelope_StartExecution_",
        "Envelope_CancelExecution_",
    ]
    assert "secret" not in str(document)


async def rabbit_consumers(url: str, queue: str) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.consumer_count or 0


async def redis_consumers(url: str, queue: str) -> int:
    async with Redis.from_url(url) as client:
        return int(await client.llen(f"conclave:consumers:{queue}"))
