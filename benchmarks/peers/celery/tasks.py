# mypy: disable-error-code="import-not-found, untyped-decorator, no-any-return"
"""The Celery application, for the client and its workers alike; VARIANT says how much it is to keep safe."""

import os
from typing import Any

from celery import Celery
from step_counter import count_step

DURABLE: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_transport_options": {"confirm_publish": True},
}

app = Celery("peer", broker=os.environ["RABBITMQ_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue=os.environ["QUEUE"],
    task_serializer="json",
    result_serializer="json",
    result_expires=3600,
    worker_hijack_root_logger=False,
    **(DURABLE if os.environ["VARIANT"] == "durable" else {}),
)

Message = dict[str, Any]


@app.task
def echo(message: Message) -> Message:
    count_step()
    return {"done": message["done"] + 1, "text": message["text"]}


@app.task
def join(messages: list[Message]) -> Message:
    """The last step of a fan: each message it gets counts the first step, too."""
    count_step()
    return {"done": sum(message["done"] - 1 for message in messages) + 2, "text": messages[0]["text"]}
