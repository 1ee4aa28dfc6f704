"""The audit log of real processes over a real RabbitMQ, with signatures required."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from contracts.envelope import new_id
from contracts.workflow import DeleteWorkflow
from scripts.servers import Server
from services.access.first_start import NAME as FIRST_ADMIN
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.envelope_codec import Outgoing, encode
from services.runtime.security.principal import SenderKind
from tests.support.api_access import HEADERS
from tests.support.cluster import ROOT, Cluster
from tests.support.signing import add_key, signing_bus

pytestmark = [pytest.mark.system, pytest.mark.rabbitmq, pytest.mark.mongodb]

PATIENCE = 90.0
COMMANDS = 500
SERVICES = ("orchestrator", "registry", "dead_letters", "access", "auditor", "monitor", "edge")
AGENTS = ("data_agent", "decision_agent", "coordinator_agent", "plugin_agent")
DEFINITION = {
    "name": "audited",
    "steps": [
        {"id": "one", "agent_type": "data_agent", "action": "profile", "inputs": {"data_source": [{"x": "hidden-42"}]}}
    ],
}


class Audited:
    """A cluster, its keys and its store, seen from outside."""

    def __init__(self, folder: Path, broker_url: str, database_url: str) -> None:
        self.keys = folder / "keys"
        for name in SERVICES:
            add_key(self.keys, name)
        for name in AGENTS:
            add_key(self.keys, name, SenderKind.AGENT, [name])
        self.broker_url = broker_url
        self.database_url = database_url
        self.environment = {
            "COMMUNICATION_PROTOCOL": "rabbitmq",
            "RABBITMQ_URL": broker_url,
            "DATABASE_URL": database_url,
            "MESSAGE_SIGNING": "required",
            "MESSAGE_KEYS": str(self.keys),
        }
        self.cluster = Cluster(folder, self.environment)

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        with MongoClient[dict[str, Any]](self.database_url) as client:
            return list(client.get_default_database()["audit"].find(wanted).sort("_id", 1))

    def until(self, count: int, **wanted: Any) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while len(rows := self.rows(**wanted)) < count:
            assert time.monotonic() < deadline, f"{len(rows)} of {count}: {[row['record'] for row in rows][-3:]}"
            time.sleep(0.05)
        return rows

    def alter(self, n: int, **fields: Any) -> None:
        with MongoClient[dict[str, Any]](self.database_url) as client:
            audit = client.get_default_database()["audit"]
            assert audit.update_one({"_id": n}, {"$set": fields}).modified_count == 1

    def verify(self, *options: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "services", "audit", "verify", "--json", *options]
        environment = {**os.environ, **self.environment}
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.stdout, ended.stderr
        return ended.returncode, json.loads(ended.stdout)


@pytest.fixture
def audited(tmp_path: Path, system_rabbit: Server, mongo_url: str) -> Iterator[Audited]:
    made = Audited(tmp_path, system_rabbit.url, f"{mongo_url.rsplit('/', 1)[0]}/audited_{new_id()[:12]}")
    yield made
    made.cluster.close()


def test_a_start_over_rest_is_on_record_from_the_request_to_its_end(audited: Audited) -> None:
    cluster = audited.cluster
    cluster.start("all")
    cluster.wait_until_ready("data_agent")
    answer = httpx.post(
        f"{cluster.url}/executions",
        json={"definition": DEFINITION},
        headers={**HEADERS, "X-Correlation-ID": "corr-1"},
        timeout=30,
    )
    execution_id = answer.json()["execution_id"]
    cluster.wait_until_ended([execution_id])
    refused = httpx.post(f"{cluster.url}/executions", json={}, headers={"X-Correlation-ID": "corr-2"}, timeout=30)
    assert refused.status_code == 401

    rows = {row["action"]: row for row in audited.until(4, correlation_id="corr-1")}
    told = {action: (row["actor"], row["subject"], row["result"]) for action, row in rows.items()}
    assert told == {
        "POST /api/v1/executions": (f"key:{FIRST_ADMIN}", "", "done"),
        "execution.start.v1": (f"key:{FIRST_ADMIN}", execution_id, "sent"),
        "execution.accepted.v1": ("service:orchestrator", execution_id, "done"),
        "execution.completed.v1": ("service:orchestrator", execution_id, "done"),
    }
    assert json.loads(rows["POST /api/v1/executions"]["record"])["source"] == "127.0.0.1"
    (row,) = audited.until(1, correlation_id="corr-2")
    assert (row["actor"], row["result"]) == ("anonymous", "refused")
    everything = json.dumps(audited.rows(), default=str)
    assert "hidden-42" not in everything
    assert HEADERS["X-API-Key"] not in everything

    assert cluster.terminate("all") == 0
    code, report = audited.verify()
    assert (code, report["whole"], report["signed_to"]) == (0, True, report["end"])
    audited.alter(rows["execution.start.v1"]["_id"], actor="key:somebody")
    code, report = audited.verify()
    assert (code, report["entry_fault"]["kind"]) == (1, "altered")
    assert report["entry_fault"]["first"] == rows["execution.start.v1"]["_id"]


def test_an_auditor_that_is_killed_again_and_again_records_every_command_once(audited: Audited) -> None:
    cluster = audited.cluster
    cluster.start("auditor")
    cluster.wait_until_started("auditor")  # its queues are there: nobody else takes these commands
    audited_at = _kill_while(audited)
    assert len(audited_at) >= 2, audited_at
    rows = audited.until(COMMANDS, action=DeleteWorkflow.TYPE)
    assert Counter(row["subject"] for row in rows) == Counter(f"wf-{i}" for i in range(COMMANDS))
    assert {row["actor"] for row in rows} == {"service:edge"}
    assert cluster.terminate("auditor") == 0
    code, report = audited.verify()
    assert (code, report["entries"], report["signed_to"]) == (0, COMMANDS, COMMANDS)


def _kill_while(audited: Audited) -> list[int]:
    """Publish the commands, and kill and restart the auditor meanwhile; how many were on record at each kill."""
    cluster = audited.cluster
    frames = [encode(Outgoing(DeleteWorkflow(workflow_id=f"wf-{i}")), "edge") for i in range(COMMANDS)]
    kills: list[int] = []

    async def publish() -> None:
        bus = signing_bus(RabbitBus(audited.broker_url), audited.keys, "edge")
        await bus.start()
        for first in range(0, COMMANDS, 20):
            await bus.publish(frames[first : first + 20])
            await asyncio.sleep(0.01)
            if first in (140, 300):
                while len(audited.rows()) <= (kills[-1] if kills else 0):
                    await asyncio.sleep(0.01)
                cluster.kill("auditor")
                kills.append(len(audited.rows()))
                cluster.start("auditor")
        await bus.close()

    asyncio.run(publish())
    return kills
