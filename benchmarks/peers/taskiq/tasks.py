# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""Taskiq's broker and task, for the client and the workers alike."""

import os
from typing import Any

from step_counter import count_step
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType
from taskiq_pipelines import PipelineMiddleware
from taskiq_redis import RedisAsyncResultBackend

NAME = os.environ["QUEUE"]
PREFETCH = 100

broker = (
    AioPikaBroker(
        os.environ["RABBITMQ_URL"],
        qos=PREFETCH,
        exchange=Exchange(name=NAME),
        task_queues=[Queue(name=NAME, type=QueueType.CLASSIC, durable=True)],
        dead_letter_queue=Queue(name=f"{NAME}.dead_letter", type=QueueType.CLASSIC, durable=True),
    )
    .with_result_backend(RedisAsyncResultBackend(os.environ["REDIS_URL"], result_ex_time=3600))
    .with_middlewares(PipelineMiddleware())
)

Message = dict[str, Any]


@broker.task
async def echo(message: Message) -> Message:
    count_step()
    return {"done": message["done"] + 1, "text": message["text"]}
