"""FastStream's metrics with the family of the queue for a handler, looked up once: the same figures as FastStream's."""

from types import SimpleNamespace
from typing import Any

import pytest
from faststream import AckPolicy
from faststream.message import StreamMessage
from faststream.rabbit import RabbitBroker, RabbitQueue
from faststream.rabbit.prometheus import RabbitPrometheusMiddleware
from faststream.rabbit.subscriber import RabbitSubscriber
from prometheus_client import CollectorRegistry

from services.runtime.bus.faststream_metrics import in_family, queue_metrics

BODIES = [b"x" * size for size in (3, 300, 30_000)]


async def taken(middleware: Any, *, fails: bool = False) -> None:
    """Have a subscriber of FastStream take some messages that come to a queue of one agent."""

    async def parse(raw: Any) -> StreamMessage[Any]:
        return StreamMessage(raw, raw.body)

    async def decode(message: StreamMessage[Any]) -> bytes:
        return bytes(message.body)

    async def handle(body: bytes) -> None:
        if fails:
            raise LookupError("on purpose")

    broker = RabbitBroker("amqp://nowhere", middlewares=[middleware], logger=None, apply_types=False)
    subscriber = broker.subscriber(
        RabbitQueue("worker.agent.w1"),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        parser=in_family(parse, "worker.agent"),
        decoder=decode,
    )
    subscriber(handle)
    broker._setup_logger()
    await super(RabbitSubscriber, subscriber).start()  # the general part: it consumes nothing
    subscriber.running = True
    for body in BODIES:
        raw: Any = SimpleNamespace(body=body, exchange="conclave.agents", routing_key="worker.w1.do", headers={})
        await subscriber.consume(raw)


def samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What does not depend on how long it took; the name of the handler is left out."""
    return {
        (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k != "handler"))): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and "duration" not in sample.name and not sample.name.endswith("_created")
    }


def handlers(registry: CollectorRegistry) -> set[str]:
    found = [sample.labels for family in registry.collect() for sample in family.samples]
    return {labels["handler"] for labels in found if "handler" in labels}


@pytest.mark.parametrize("fails", [False, True])
async def test_it_counts_as_faststream_does(fails: bool) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    await taken(queue_metrics(ours, "svc", "rabbitmq"), fails=fails)
    await taken(RabbitPrometheusMiddleware(registry=theirs, app_name="svc"), fails=fails)
    assert samples(ours) == samples(theirs)
    received = "faststream_received_messages_total"
    labels = {"app_name": "svc", "broker": "rabbitmq", "handler": "worker.agent"}
    assert ours.get_sample_value(received, labels) == len(BODIES)
    assert handlers(ours) == {"worker.agent"}
    assert handlers(theirs) == {"conclave.agents.worker.w1.do"}


async def test_brokers_of_one_process_share_a_registry() -> None:
    registry = CollectorRegistry()
    await taken(queue_metrics(registry, "one", "rabbitmq"))
    await taken(queue_metrics(registry, "two", "redis"))
    received = "faststream_received_messages_total"
    for labels in ({"app_name": "one", "broker": "rabbitmq"}, {"app_name": "two", "broker": "redis"}):
        assert registry.get_sample_value(received, {**labels, "handler": "worker.agent"}) == len(BODIES)
