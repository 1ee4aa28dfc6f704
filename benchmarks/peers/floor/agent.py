# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The floor's agent: takes a step, answers with its payload, and acks it when the answer is confirmed."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

import aio_pika
import uvloop
from step_counter import count_step

PREFETCH = 200


def queue_arguments(variant: str) -> dict[str, str]:
    return {"x-queue-type": variant}


def handler(
    work: Callable[[bytes], Awaitable[None]],
) -> Callable[[aio_pika.abc.AbstractIncomingMessage], Awaitable[None]]:
    """Acks a message when ``work`` is done; aio-pika runs each message as a task of its own."""

    async def on_message(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        await work(message.body)
        await message.ack()

    return on_message


async def main(steps: str, results: str) -> None:
    connection = await aio_pika.connect_robust(os.environ["RABBITMQ_URL"])
    async with connection:
        consuming = await connection.channel(publisher_confirms=False)
        await consuming.set_qos(prefetch_count=PREFETCH)
        publishing = await connection.channel(publisher_confirms=True)

        async def work(body: bytes) -> None:
            count_step()
            step = json.loads(body)
            answer = {"workflow": step["workflow"], "step": step["step"], "payload": step["payload"]}
            await publishing.default_exchange.publish(
                aio_pika.Message(json.dumps(answer).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
                routing_key=results,
            )

        queue = await consuming.get_queue(steps)
        await queue.consume(handler(work))
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:3]))
