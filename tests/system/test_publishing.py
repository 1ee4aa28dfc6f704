"""Straight onto the broker, as ``examples/`` shows it."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import aio_pika
import httpx
import pytest

from contracts.topology import Exchange
from scripts.servers import Server
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run_script(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "publish_and_follow.py"), url]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


async def publish_file(url: str) -> str:
    """Do what RabbitMQ's management API does with the file; returns the execution's id."""
    body = json.loads((EXAMPLES / "start_execution.json").read_text(encoding="utf-8"))
    message = aio_pika.Message(body["payload"].encode(), **body["properties"])
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.get_exchange(Exchange.COMMANDS.value)
        await exchange.publish(message, routing_key=body["routing_key"])
    return str(json.loads(body["payload"])["payload"]["execution_id"])


def wait_until_known(cluster: Cluster, execution_id: str) -> None:
    """Whoever publishes without asking for a reply is not told when the start is stored."""
    deadline = time.monotonic() + 60
    while httpx.get(f"{cluster.url}/executions/{execution_id}", headers=HEADERS, timeout=10).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_executions_are_started_and_followed_without_the_edge(cluster: Cluster, system_rabbit: Server) -> None:
    cluster.start("all")
    cluster.wait_until_ready("data_agent", "decision_agent")

    followed = run_script(system_rabbit.url)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    lines = [line.strip() for line in followed.stdout.splitlines()]
    assert "execution.completed.v1" in lines
    assert "entry 1: step_dispatched flights 1" in lines
    assert any(line.startswith("choice: ") for line in lines)

    execution_id = asyncio.run(publish_file(system_rabbit.url))
    assert asyncio.run(publish_file(system_rabbit.url)) == execution_id
    wait_until_known(cluster, execution_id)
    (execution,) = cluster.wait_until_ended([execution_id])
    assert execution["status"] == "completed"
    assert execution["outputs"]["choice"]["winner"] in followed.stdout
