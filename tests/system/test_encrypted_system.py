"""Real processes with MESSAGE_ENCRYPTION=required: what users sent is on no queue and nowhere in the store."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import pytest
from pymongo import MongoClient

from contracts.envelope import new_id
from contracts.execution import ExecutionCompleted
from contracts.topology import Exchange
from scripts.servers import Server
from services.runtime.security.encryption import Cipher, is_encrypted
from tests.support.api_access import HEADERS
from tests.support.cluster import PATIENCE, Cluster
from tests.support.encryption import key_file

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

MARKER = "the-marker-4711"
# A literal of the definition, an input, a large output, a name, a condition and an error that say the marker.
DEFINITION: dict[str, Any] = {
    "name": "confidential",
    "description": f"about {MARKER}",
    "steps": [
        {
            "id": "gather",
            "agent_type": "coordinator_agent",
            "action": "aggregate",
            "inputs": {"items": "${inputs.rows}", "strategy": "list"},
        },
        {
            "id": "choose",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {"data": [{"name": MARKER, "x": 1}, {"name": "other", "x": 2}]},
            "when": f"inputs.label == '{MARKER}'",
        },
        {
            "id": "never",
            "agent_type": "decision_agent",
            "action": "make_decision",
            "inputs": {"data": [{"name": "a", "x": 1}]},
            "when": f"inputs.label != '{MARKER}'",
        },
    ],
}
INPUTS = {"label": MARKER, "rows": [{"text": f"{MARKER}-{i}"} for i in range(4_000)]}


@pytest.fixture
def database_url(mongo_url: str) -> str:
    return f"{mongo_url.rsplit('/', 1)[0]}/system_{new_id()[:12]}"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return key_file(tmp_path)


@pytest.fixture
def encrypted(tmp_path: Path, system_rabbit: Server, database_url: str, keys: Path) -> Iterator[Cluster]:
    cluster = Cluster(
        tmp_path,
        {
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "RABBITMQ_URL": system_rabbit.url,
            "DATABASE_URL": database_url,
            "MESSAGE_ENCRYPTION": "required",
            "ENCRYPTION_KEYS": str(keys),
        },
    )
    yield cluster
    cluster.close()


@asynccontextmanager
async def spying(url: str) -> AsyncIterator[list[tuple[str, str, bytes, str]]]:
    """Exchange, type, body and headers of every message that is published while this lasts, and until an execution has
    completed."""
    seen: list[tuple[str, str, bytes, str]] = []

    async def note(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        seen.append((message.exchange or "", message.type or "", message.body, repr(message.info())))

    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        for exchange in Exchange:
            await queue.bind(exchange.value, "#")
        await queue.consume(note, no_ack=True)
        yield seen
        async with asyncio.timeout(PATIENCE):  # what was published before the end comes to the spy before it
            while not any(type == ExecutionCompleted.TYPE for _, type, _, _ in seen):
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)  # and what was published last


def everything(database_url: str) -> str:
    """All documents of the database, and how many there are of each collection."""
    with MongoClient[dict[str, Any]](database_url) as client:
        database = client.get_default_database()
        return "\n".join(repr(row) for name in database.list_collection_names() for row in database[name].find({}))


def executions(cluster: Cluster) -> list[str]:
    answer = httpx.get(f"{cluster.url}/executions", headers=HEADERS, timeout=30)
    assert answer.status_code == 200, answer.text
    return [execution["execution_id"] for execution in answer.json()["items"]]


async def publish_plain(url: str, marker: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(Exchange.COMMANDS.value)
        body = json.dumps({"type": "execution.start.v1", "payload": {"execution_id": "plain", "inputs": {"a": marker}}})
        await exchange.publish(aio_pika.Message(body.encode(), message_id="plain"), routing_key="execution.start")


async def test_what_users_send_is_on_no_queue_and_nowhere_in_the_store(
    encrypted: Cluster, system_rabbit: Server, database_url: str, keys: Path
) -> None:
    encrypted.start("all")
    await asyncio.to_thread(encrypted.wait_until_ready, "coordinator_agent", "decision_agent")
    async with spying(system_rabbit.url) as seen:
        execution_id = await asyncio.to_thread(encrypted.start_execution, DEFINITION, INPUTS)
        (execution,) = await asyncio.to_thread(encrypted.wait_until_ended, [execution_id])

    assert execution["status"] == "completed"
    history = json.dumps(await asyncio.to_thread(encrypted.history, execution_id))
    assert MARKER in history
    assert "step_skipped" in history
    assert MARKER in json.dumps(execution)

    cipher = Cipher(keys)
    opened = Counter[str]()
    for exchange, type, body, shown in seen:
        assert is_encrypted(body), (exchange, type)
        assert MARKER.encode() not in body
        assert MARKER not in shown
        opened[type] += MARKER.encode() in cipher.decrypt(body)
    assert {"execution.start.v1", "step.run.v1", "step.results.v1", "execution.advanced.v1"} <= (+opened).keys()

    stored = everything(database_url)
    assert stored.count("eyJhbGciOiJkaXIi") >= 5
    assert execution_id in stored
    assert MARKER not in stored


async def test_a_plain_message_is_refused_by_name_and_its_letter_is_encrypted_at_rest(
    encrypted: Cluster, system_rabbit: Server, database_url: str
) -> None:
    encrypted.start("all")
    await asyncio.to_thread(encrypted.wait_until_ready, "decision_agent")
    await publish_plain(system_rabbit.url, MARKER)

    def letters() -> list[dict[str, Any]]:
        answer = httpx.get(f"{encrypted.url}/monitoring/dead-letters", headers=HEADERS, timeout=30)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    async with asyncio.timeout(60):
        while not (found := await asyncio.to_thread(letters)):
            await asyncio.sleep(0.2)
    assert [letter["reason"] for letter in found] == ["undecryptable"]
    assert "MESSAGE_ENCRYPTION is required here" in found[0]["detail"]
    stored = everything(database_url)
    assert found[0]["dead_letter_id"] in stored
    assert MARKER not in stored
    assert "plain" not in await asyncio.to_thread(executions, encrypted)
