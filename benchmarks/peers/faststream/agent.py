# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The agent in plain FastStream: takes a step, answers with its payload, and acks it when the answer is confirmed."""

import logging
import os
import sys
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from step_counter import count_step

PREFETCH = 200


def new_broker() -> RabbitBroker:
    # At INFO FastStream logs two lines a message; production logs warnings.
    return RabbitBroker(
        os.environ["RABBITMQ_URL"],
        default_channel=Channel(prefetch_count=PREFETCH, publisher_confirms=True),
        log_level=logging.DEBUG,
    )


def durable_queue(name: str) -> RabbitQueue:
    return RabbitQueue(name, queue_type=QueueType.CLASSIC, durable=True)


async def main(steps: str, results: str) -> None:
    broker = new_broker()

    @broker.subscriber(durable_queue(steps), ack_policy=AckPolicy.MANUAL)
    async def work(step: dict[str, Any], message: RabbitMessage) -> None:
        count_step()
        answer = {"workflow": step["workflow"], "step": step["step"], "payload": step["payload"]}
        await broker.publish(answer, queue=results, persist=True)
        await message.ack()

    await FastStream(broker).run()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
