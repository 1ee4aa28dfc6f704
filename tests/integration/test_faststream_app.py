"""A service run by FastStream's own command, and described by its AsyncAPI document."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest
from faststream.specification import AsyncAPI

from contracts import topology
from contracts.agents import AgentMail, AgentReply
from contracts.execution import CancelExecution, StartExecution
from contracts.topology import Address, Queue
from services.runtime.bus.base import BusError, Delivery
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.envelope_codec import Outgoing
from services.runtime.faststream_app import faststream_app
from services.runtime.requests import Requests
from services.runtime.service import Service
from tests.support.buses import World, delete_queues, rabbit_world

ROOT = Path(__file__).resolve().parents[2]

APP = """
import asyncio, os
from contracts import topology
from contracts.agents import AgentMail, AgentReply
from contracts.topology import Queue
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.faststream_app import faststream_app
from services.runtime.service import Route, Service

async def answer(received):
    print("taken", flush=True)
    await asyncio.sleep(float(received.message.body["seconds"]))
    return [received.reply(AgentReply(agent_id=received.message.agent_id, body={"pid": os.getpid()}))]

def app():
    name = os.environ["TEST_QUEUE"]
    queue = Queue(name, (topology.agent_mail(name),))
    bus = RabbitBus(os.environ["TEST_URL"])
    return faststream_app(Service("echo", bus, routes=[Route(queue, handlers={AgentMail: answer})]))
"""


@pytest.fixture
async def world(rabbit_url: str) -> AsyncIterator[World]:
    world = rabbit_world(rabbit_url)
    yield world
    await world.close()
    await delete_queues(rabbit_url, [queue.name for queue in world.queues])


@pytest.mark.rabbitmq
async def test_faststream_run_starts_and_drains_a_service(rabbit_url: str, world: World, tmp_path: Path) -> None:
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
        env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_QUEUE": name, "TEST_URL": rabbit_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        first = await requests.ask(Outgoing(AgentMail(agent_id=name, body={"seconds": 0})), timeout=60)
        assert first == AgentReply(agent_id=name, body={"pid": process.pid})
        # FastStream starts its brokers after the service has: that must not make a second consumer.
        assert await consumers(rabbit_url, name) == 1

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
    assert await consumers(rabbit_url, name) == 0


@pytest.mark.rabbitmq
async def test_a_broker_that_its_bus_did_not_start_refuses_to(rabbit_url: str) -> None:
    with pytest.raises(BusError, match="started by its bus"):
        await RabbitBus(rabbit_url).broker.start()


def test_faststream_cannot_run_a_service_on_the_direct_bus() -> None:
    with pytest.raises(BusError, match="COMMUNICATION_PROTOCOL=rabbitmq"):
        faststream_app(Service("echo", DirectBus(DirectBroker())))


def test_the_asyncapi_document_needs_no_connection() -> None:
    async def receive(_: Delivery) -> None: ...

    bus = RabbitBus("amqp://user:secret@nowhere.invalid:5672/vhost")
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


async def consumers(url: str, queue: str) -> int | None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.consumer_count
