# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The floor: raw aio-pika between an orchestrator (this process) and an agent, everything confirmed, nothing kept."""

import asyncio
import json
import os
import sys

import aio_pika
import uvloop
from agent import PREFETCH, handler, queue_arguments
from line_protocol import Conversation, Workload, converse, in_lanes
from ping_pong import Message, PingPong
from workers import Workers


async def main(variant: str) -> None:
    steps, results = (f"floor.{os.getpid()}.{name}" for name in ("steps", "results"))
    with Workers() as workers:
        conversation = Conversation(workers)
        connection = await aio_pika.connect_robust(os.environ["RABBITMQ_URL"])
        async with connection:
            consuming = await connection.channel(publisher_confirms=False)
            await consuming.set_qos(prefetch_count=PREFETCH)
            publishing = await connection.channel(publisher_confirms=True)
            queues = [
                await consuming.declare_queue(name, durable=True, arguments=queue_arguments(variant))
                for name in (steps, results)
            ]
            workers.start([sys.executable, "agent.py", steps, results])
            await agent_is_there(queues[0], workers)

            async def send(message: Message) -> None:
                await publishing.default_exchange.publish(
                    aio_pika.Message(json.dumps(message).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT),
                    routing_key=steps,
                )

            ping_pong = PingPong(send)
            await queues[1].consume(handler(lambda body: ping_pong.on_result(json.loads(body))))

            async def run(workload: Workload, latencies: list[float]) -> None:
                await in_lanes(workload, latencies, ping_pong.run_one)

            conversation.ready(
                ["aio-pika", "uvloop"],
                queues=f"{variant}, durable",
                messages="persistent JSON, one a step and one a result",
                publishing="publisher confirms, pipelined by concurrent tasks",
                consuming=f"manual acks, one a message, after what follows is confirmed; prefetch {PREFETCH}",
                processes="1 orchestrator, 1 agent, uvloop",
                state="none",
            )
            await converse(conversation, run)
            for queue in queues:
                await queue.delete(if_unused=False, if_empty=False)


async def agent_is_there(queue: aio_pika.abc.AbstractQueue, workers: Workers) -> None:
    while not (await queue.declare()).consumer_count:
        workers.check()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
