# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The floor's ping-pong in plain FastStream: an orchestrator (this process) and an agent."""

import asyncio
import os
import sys

import uvloop
from agent import PREFETCH, durable_queue, new_broker
from faststream import AckPolicy
from faststream.rabbit.annotations import RabbitMessage
from line_protocol import Conversation, Workload, converse, in_lanes
from ping_pong import Message, PingPong
from workers import Workers


async def main(queue_type: str) -> None:
    steps, results = (f"faststream.{os.getpid()}.{name}" for name in ("steps", "results"))
    broker = new_broker()

    async def send(message: Message) -> None:
        await broker.publish(message, queue=steps, persist=True)

    ping_pong = PingPong(send)

    @broker.subscriber(durable_queue(results), ack_policy=AckPolicy.MANUAL)
    async def on_result(body: Message, message: RabbitMessage) -> None:
        await ping_pong.on_result(body)
        await message.ack()

    async def run(workload: Workload, latencies: list[float]) -> None:
        await in_lanes(workload, latencies, ping_pong.run_one)

    with Workers() as workers:
        conversation = Conversation(workers)
        await broker.start()
        queues = [await broker.declare_queue(durable_queue(name)) for name in (steps, results)]
        workers.start([sys.executable, "agent.py", steps, results])
        while not (await queues[0].declare()).consumer_count:
            workers.check()
            await asyncio.sleep(0.05)
        conversation.ready(
            ["faststream", "aio-pika", "uvloop"],
            queues=f"{queue_type}, durable",
            messages="persistent JSON, one a step and one a result",
            publishing="publisher confirms, pipelined by concurrent tasks",
            consuming=f"AckPolicy.MANUAL, one ack a message, after what follows is confirmed; prefetch {PREFETCH}",
            processes="1 orchestrator, 1 agent, uvloop",
            state="none",
        )
        await converse(conversation, run)
        for queue in queues:
            await queue.delete(if_unused=False, if_empty=False)
        await broker.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
