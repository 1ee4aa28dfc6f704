"""Start an execution straight on the broker and follow it to its end: no edge, and nothing of Conclave imported.

    python examples/publish_and_follow.py [amqp://user:password@host:port/vhost]

Needs aio-pika, and Conclave's services running on that broker (``COMMUNICATION_PROTOCOL=rabbitmq``). The data that the
workflow reads lies in the data agents' folder, by default ``examples/data``. Exits with 0 if it completed.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractQueue

TIMEOUT_SECONDS = 60
ENDS = ("execution.completed.v1", "execution.failed.v1", "execution.cancelled.v1")

# Which of the airlines from New York to San Francisco flies often and arrives in time?
DEFINITION: dict[str, Any] = {
    "name": "published_without_the_edge",
    "steps": [
        {
            "id": "flights",
            "agent_type": "data_agent",
            "action": "query",
            "inputs": {
                "data_source": "new_york_san_francisco_2013.csv",
                "sql": "SELECT carrier, count(*) AS flights, avg(arr_delay) AS mean_delay FROM data GROUP BY carrier",
            },
        },
        {
            "id": "choice",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {
                "data": "flights.output",
                "alternatives": "carrier",
                "method": "weighted_sum",
                "criteria": [
                    {"name": "flights", "weight": 0.5},
                    {"name": "mean_delay", "direction": "cost", "weight": 0.5},
                ],
            },
        },
    ],
}


async def main(url: str) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        # Our own queue: the answer comes to it by its name, the events because it is bound to them.
        mine = await channel.declare_queue(exclusive=True)
        await mine.bind(await channel.get_exchange("conclave.events"), routing_key="execution.#")
        execution_id = f"published-{uuid.uuid4().hex[:12]}"
        await publish_start(channel, execution_id, reply_to=mine.name)
        print(f"published execution.start.v1 for {execution_id}")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await follow(mine, execution_id)


async def publish_start(channel: AbstractChannel, execution_id: str, *, reply_to: str) -> None:
    """Publish the command; returns once the broker has it, and raises if no orchestrator has ever been there."""
    envelope = {
        "id": uuid.uuid4().hex,
        "type": "execution.start.v1",
        "sender": "publish_and_follow",
        "timestamp": datetime.now(UTC).isoformat(),
        "payload": {"execution_id": execution_id, "definition": DEFINITION, "inputs": {}},
    }
    message = aio_pika.Message(
        json.dumps(envelope).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        type=envelope["type"],
        message_id=envelope["id"],
        reply_to=reply_to,
    )
    commands = await channel.get_exchange("conclave.commands")
    await commands.publish(message, routing_key="execution.start", mandatory=True)


async def follow(queue: AbstractQueue, execution_id: str) -> int:
    """Print what happens until the execution ends, or was refused; the exit code says which."""
    async with queue.iterator() as messages:
        async for message in messages:
            await message.ack()
            envelope = json.loads(message.body)
            kind, payload = envelope["type"], envelope["payload"]
            if kind == "execution.advanced.v1":
                show_progress(payload, execution_id)
            elif kind == "command.refused.v1":
                print("refused:", payload["message"], *(f"{f['path']}: {f['message']}" for f in payload["faults"]))
                return 1
            elif payload.get("execution_id") == execution_id:
                print(kind)
                if kind in ENDS:
                    return show_end(kind, payload)
    return 1


def show_progress(payload: dict[str, Any], execution_id: str) -> None:
    """One message may tell of several executions; each log entry of ours holds what one commit decided."""
    for entry in payload["entries"]:
        if entry["execution_id"] == execution_id:
            for event in entry["events"]:
                about = " ".join(str(event[field]) for field in ("step", "attempt", "agent_id") if event.get(field))
                print(f"  entry {entry['n']}: {event['kind']} {about}".rstrip())


def show_end(kind: str, payload: dict[str, Any]) -> int:
    for step, output in payload["outputs"].items():
        print(f"{step}: {output.get('winner')}\n{output.get('rationale')}")
    for step, error in payload["errors"].items():
        print(f"{step}: {error['type']}: {error['message']}")
    return 0 if kind == ENDS[0] else 1


if __name__ == "__main__":
    default = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/")
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else default)))
