"""Agents made through the API, every service a process of its own, over each broker: they outlive their hosts, and
every message is answered or is a dead letter with its reason."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import new_id
from scripts.redis_server import find_redis
from scripts.servers import find_rabbitmq
from tests.conftest import found_or_not_run, in_ci
from tests.support.api_access import HEADERS
from tests.support.cluster import Cluster

pytestmark = [pytest.mark.system, pytest.mark.mongodb]

MESSAGES = 500
AT_ONCE = 100
SERVICES = ("orchestrator", "registry", "dead_letters", "edge")
HOSTS = ("worker#1", "worker#2")


PLUGIN = """
import os

from tests.support.worker_agent import WorkerAgent


class PluggedWorker(WorkerAgent):
    agent_type = "worker"

    def __init__(self, agent_id, config=None):
        super().__init__(agent_id, {"ledger": os.environ["WORKER_LEDGER"], **(config or {})})
"""


@pytest.fixture
def one_process_with_workers(tmp_path: Path, mongo_url: str) -> Iterator[Cluster]:
    """Over ``direct``, which connects services of one process only: all of them, with the workers as a plugin."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "worker.py").write_text(PLUGIN)
    database = f"{mongo_url.rsplit('/', 1)[0]}/agents_{new_id()[:12]}"
    cluster = Cluster(
        tmp_path,
        {"COMMUNICATION_PROTOCOL": "direct", "DATABASE_URL": database, "PLUGIN_FOLDER": str(folder)},
    )
    try:
        cluster.start("all")
        cluster.wait_until_ready("worker")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(
    params=[pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), pytest.param("redis", marks=pytest.mark.redis)]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path, mongo_url: str) -> Iterator[Cluster]:
    """Services and two hosts of one type, over a broker that has no other test's queues."""
    find, variable = {"rabbitmq": (find_rabbitmq, "RABBITMQ_URL"), "redis": (find_redis, "REDIS_URL")}[request.param]
    server = found_or_not_run(lambda: find(own=True, install=in_ci()))
    database = f"{mongo_url.rsplit('/', 1)[0]}/agents_{new_id()[:12]}"
    cluster = Cluster(
        tmp_path,
        {
            "COMMUNICATION_PROTOCOL": request.param,
            "DATABASE_URL": database,
            variable: server.url,
        },
    )
    with server:
        try:
            cluster.start(*SERVICES, *HOSTS)
            cluster.wait_until_ready("worker")
            yield cluster
        finally:
            cluster.close()


def client_of(cluster: Cluster) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=cluster.url, headers=HEADERS, timeout=90, limits=httpx.Limits(max_connections=AT_ONCE)
    )


async def create(client: httpx.AsyncClient, agent_id: str, **config: Any) -> None:
    body = {"agent_type": "worker", "agent_id": agent_id, "config": config}
    answer = await client.post("/agents", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["agent_id"] == agent_id


async def message(client: httpx.AsyncClient, agent_id: str, key: str, **inputs: Any) -> httpx.Response:
    body = {"payload": {"action": "work", "inputs": {"key": key, **inputs}}}
    return await client.post(f"/agents/{agent_id}/message", params={"wait": "true", "timeout": 80}, json=body)


async def host_of(client: httpx.AsyncClient, agent_id: str) -> int:
    """The process that the agent is active in."""
    answer = await message(client, agent_id, f"where-{new_id()}")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["reply"]["pid"])


async def dead_letters(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        query = {"limit": 100, **({"after": after} if after else {})}
        page = (await client.get("/monitoring/dead-letters", params=query)).json()
        found += page["items"]
        after = page["next"]
        if after is None:
            return found


async def test_an_agent_is_created_messaged_told_and_deleted(cluster: Cluster) -> None:
    await lead_a_life(cluster)


async def test_an_agent_lives_the_same_life_over_direct(one_process_with_workers: Cluster) -> None:
    await lead_a_life(one_process_with_workers)


async def lead_a_life(cluster: Cluster) -> None:
    """Create, message, broadcast, delete."""
    async with client_of(cluster) as client:
        await create(client, "one")
        await create(client, "two")
        assert (await client.post("/agents", json={"agent_type": "worker", "agent_id": "one"})).status_code == 409
        shown = (await client.get("/agents/one")).json()
        assert (shown["agent_type"], shown["status"]) == ("worker", "idle")
        listed = (await client.get("/agents", params={"agent_type": "worker"})).json()["items"]
        assert {agent["agent_id"] for agent in listed} == {"one", "two", "worker"}

        assert (await message(client, "one", "hello")).json()["reply"]["key"] == "hello"
        body = {"payload": {"action": "work", "inputs": {"key": "all"}}, "filter": {"agent_type": "worker"}}
        told = await client.post("/agents/broadcast", json=body)
        assert told.status_code == 202, told.text
        assert set(told.json()["agent_ids"]) == {"one", "two", "worker"}
        async with asyncio.timeout(60):
            while Counter(cluster.ledger.read_text().split())["all"] < 3:
                await asyncio.sleep(0.1)

        slow = asyncio.create_task(message(client, "one", "slow", milliseconds=1500))
        while "slow" not in cluster.ledger.read_text().split():
            await asyncio.sleep(0.05)
        deleted = await client.delete("/agents/one")
        assert deleted.status_code == 200, deleted.text
        assert (await slow).json()["reply"]["key"] == "slow"
        assert (await client.get("/agents/one")).status_code == 404
        assert (await message(client, "one", "too late")).status_code == 404
        assert (await message(client, "two", "still there")).status_code == 200


@pytest.mark.parametrize("agent_id", ["mine", "worker"])
async def test_kill_9_of_a_host_amid_500_messages(cluster: Cluster, agent_id: str) -> None:
    """To an instance, whose active host is killed, and to the default agent, which both hosts work for."""
    async with client_of(cluster) as client:
        if agent_id != "worker":
            await create(client, agent_id)
        victim = await host_of(client, agent_id)
        (name,) = [name for name in HOSTS if cluster.pid(name) == victim]
        asked = asyncio.gather(*(message(client, agent_id, f"m{i}", milliseconds=5) for i in range(MESSAGES)))
        while cluster.ledger.read_text().count("\nm") < MESSAGES // 5:
            await asyncio.sleep(0.02)
        cluster.kill(name)
        answers = await asked
        answered = [answer for answer in answers if answer.status_code == 200]
        lost = [answer for answer in answers if answer.status_code != 200]
        buried = await dead_letters(client)
        assert len(answered) + len(buried) >= MESSAGES, [answer.text for answer in lost[:3]]
        assert all(letter["reason"] and letter["detail"] for letter in buried)
        assert {f"m{i}" for i in range(MESSAGES)} <= set(cluster.ledger.read_text().split())
        assert await host_of(client, agent_id) != victim


async def test_agent_failure_recovery(cluster: Cluster) -> None:
    """All hosts die: what is sent meanwhile waits, and the agent answers again, with its configuration, when one is
    back. The registry shows who is away."""
    async with client_of(cluster) as client:
        await create(client, "lasting")
        for name in HOSTS:
            cluster.kill(name)
        async with asyncio.timeout(60):
            while (await client.get("/agents/lasting")).json()["status"] != "unavailable":
                await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(message(client, "lasting", f"w{i}")) for i in range(20)]
        await asyncio.sleep(0.5)
        cluster.start("worker#3")
        answers = await asyncio.gather(*waiting)
        assert [answer.status_code for answer in answers] == [200] * 20
        async with asyncio.timeout(60):
            while (await client.get("/agents/lasting")).json()["status"] != "idle":
                await asyncio.sleep(0.1)


async def test_the_registry_dies_and_nothing_is_forgotten(cluster: Cluster) -> None:
    async with client_of(cluster) as client:
        await create(client, "kept")
        cluster.kill("registry")
        assert (await message(client, "kept", "without registry")).status_code == 200
        creating = asyncio.create_task(client.post("/agents", json={"agent_type": "worker", "agent_id": "late"}))
        await asyncio.sleep(0.5)
        cluster.start("registry")
        created = await creating
        assert created.status_code == 201, created.text
        assert (await message(client, "late", "made")).status_code == 200
        assert (await client.get("/agents/kept")).json()["status"] in ("idle", "processing")


async def test_a_contract_net_of_ten_of_which_two_never_answer(cluster: Cluster) -> None:
    cluster.start("coordinator_agent")
    async with client_of(cluster) as client:
        for i in range(10):
            silent = i in (0, 5)
            await create(client, f"w{i}", silent=silent, bid={"cost": 1 if silent else 10 - i, "confidence": 0.9})
        cluster.wait_until_ready("coordinator_agent")
        task = {"action": "work", "inputs": {"key": "awarded"}}
        # Two never answer, so all of this is waited for; the others need not be fast.
        net = {"task": task, "agents": {"agent_type": "worker", "default_agents": False}, "deadline": 10.0}
        step = {"id": "net", "agent_type": "coordinator_agent", "action": "contract_net", "inputs": net}
        (ended,) = cluster.wait_until_ended([cluster.start_execution({"name": "net", "steps": [step]})])
        assert ended["status"] == "completed", ended["errors"]
        said = ended["outputs"]["net"]
        assert (said["outcome"], said["awarded"], said["asked"]) == ("done", "w9", 10)
        assert said["result"]["key"] == "awarded"
        states = Counter(bid["state"] for bid in said["bids"])
        assert states == {"bid": 8, "silent": 2}
        assert {bid["agent_id"] for bid in said["bids"] if bid["state"] == "silent"} == {"w0", "w5"}
        assert cluster.ledger.read_text().split().count("awarded") == 1
