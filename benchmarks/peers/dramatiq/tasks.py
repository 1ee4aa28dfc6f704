# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The actors of Dramatiq and their broker, for the client and the workers alike."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as BarrierBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as ResultBackend
from step_counter import count_step

QUEUE = os.environ["QUEUE"]
Message = dict[str, Any]


def new_broker() -> RabbitmqBroker:
    broker = RabbitmqBroker(url=os.environ["RABBITMQ_URL"], confirm_delivery=True)
    broker.add_middleware(Results(backend=ResultBackend(url=os.environ["REDIS_URL"])))
    broker.add_middleware(GroupCallbacks(BarrierBackend(url=os.environ["REDIS_URL"])))
    return broker


broker = new_broker()
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def echo(message: Message) -> Message:
    count_step()
    return {"done": message["done"] + 1, "text": message["text"]}


@dramatiq.actor(queue_name=QUEUE)
def member(message: Message) -> None:
    """A step of a group: Dramatiq tells the step after the group that all are done, and not what they returned."""
    count_step()
