"""Start an execution straight on the broker and follow it to its end: no edge, and nothing of Conclave imported.

    python examples/publish_and_follow.py [amqp://user:password@host:port/vhost] [--key NAME.private.json]

Where the services want signed messages (``MESSAGE_SIGNING=required``), give it a key by ``--key`` or ``CONCLAVE_KEY``:
``python -m services message-keys create NAME --kind client`` makes one; docs/message_signing.md says what is signed.

Needs aio-pika, cryptography where it signs, and Conclave's services running on that broker
(``COMMUNICATION_PROTOCOL=rabbitmq``). The data that the workflow reads lies in the data agents' folder, by default
``examples/data``. Exits with 0 if it completed.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
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


async def main(url: str, key_file: Path | None) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        # Our own queue: the answer comes to it because it is bound to its own name, the events because it is to them.
        mine = await channel.declare_queue(f"client.{uuid.uuid4().hex}", exclusive=True)
        await mine.bind(await channel.get_exchange("conclave.replies"), routing_key=mine.name)
        await mine.bind(await channel.get_exchange("conclave.events"), routing_key="execution.#")
        execution_id = f"published-{uuid.uuid4().hex[:12]}"
        await publish_start(channel, execution_id, mine.name, key_file)
        print(f"published execution.start.v1 for {execution_id}")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await follow(mine, execution_id)


async def publish_start(channel: AbstractChannel, execution_id: str, reply_to: str, key_file: Path | None) -> None:
    """Publish the command; returns once the broker has it, and raises if no orchestrator has ever been there."""
    # Whoever signs sends in his own name: the key's.
    client = key_file.name.removesuffix(".private.json") if key_file else ""
    envelope = {
        "id": uuid.uuid4().hex,
        "type": "execution.start.v1",
        "sender": client or "publish_and_follow",
        "timestamp": datetime.now(UTC).isoformat(),
        "payload": {"execution_id": execution_id, "definition": DEFINITION, "inputs": {}, "client": client},
    }
    commands = await channel.get_exchange("conclave.commands")
    message = aio_pika.Message(
        json.dumps(envelope).encode(),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        type=envelope["type"],
        message_id=envelope["id"],
        reply_to=reply_to,
    )
    if key_file:
        message.headers["conclave-signature"] = sign(key_file, message, to=f"{commands.name}/execution.start")
    await commands.publish(message, routing_key="execution.start", mandatory=True)


def sign(key_file: Path, message: aio_pika.Message, to: str) -> str:
    """A detached JWS over the body as it is, and over what says whose message this is and where it goes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    newest = max(json.loads(key_file.read_text())["keys"], key=lambda key: key["iat"])
    header = {
        "alg": "EdDSA",
        "kid": newest["kid"],
        "b64": False,
        "crit": ["b64"],
        "jti": message.message_id,
        "iat": int(time.time()),
        "to": to,
        "typ": message.type,
        "reply_to": message.reply_to,
    }
    protected = urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=")
    key = Ed25519PrivateKey.from_private_bytes(urlsafe_b64decode(newest["d"] + "="))
    signature = urlsafe_b64encode(key.sign(protected + b"." + message.body)).rstrip(b"=")
    return (protected + b".." + signature).decode()


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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Start an execution straight on the broker and follow it to its end.")
    parser.add_argument("url", nargs="?", default=os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/"))
    own = os.environ.get("CONCLAVE_KEY")
    parser.add_argument("--key", type=Path, default=Path(own) if own else None, help="NAME.private.json, to sign with")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    sys.exit(asyncio.run(main(given.url, given.key)))
