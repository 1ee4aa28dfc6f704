"""What the edge does while something is away: 503 within two seconds, and it goes on by itself afterwards."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest

from contracts.topology import Queue
from scripts.servers import Server as Process
from scripts.servers import find_mongodb, free_port
from services.edge.app import build as build_edge
from services.runtime.bus.base import BusError
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.rabbit import RabbitBus
from services.runtime.settings import Settings
from services.runtime.store.base import StoreUnavailable
from services.runtime.store.mongo import MongoStore
from tests.support.edge_world import (
    ADMIN,
    API,
    CHAIN,
    PATIENCE,
    World,
    accepts,
    ended,
    followed,
    started,
    until,
)
from tests.support.patience import in_a_hurry

pytestmark = in_a_hurry


ANSWER_TIMEOUT = Settings.model_fields["answer_timeout"].default


def test_nobody_waits_two_seconds_for_what_is_away_if_nothing_else_is_set() -> None:
    assert ANSWER_TIMEOUT < 2.0


READS = {
    "workflows": 200,
    "workflows/x": 404,
    "executions": 200,
    "executions/x": 404,
    "executions/x/history": 404,
    "executions/x/events": 404,
    "agents": 200,
    "agents/x": 404,
    "agents/types": 200,
    "monitoring/dead-letters": 200,
    "monitoring/dead-letters/x": 404,
    "monitoring/timeline/x": 404,
}


def is_503(answer: httpx.Response) -> bool:
    return (
        answer.status_code == 503
        and int(answer.headers["retry-after"]) > 0
        and answer.headers["content-type"] == "application/problem+json"
    )


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_store_that_is_away_is_503_and_comes_back(client: httpx.AsyncClient, world: World, how: str) -> None:
    async def away(operation: str, moment: str) -> None:
        if moment == "before":
            if how == "hangs":
                await asyncio.Event().wait()
            raise StoreUnavailable("no server")

    world.store.hook = away
    answers = await asyncio.gather(*(client.get(f"{API}/{path}") for path in READS))
    assert all(is_503(answer) for answer in answers), [answer.text for answer in answers]
    health = await client.get("/health")
    assert (health.status_code, health.json()["store"]["ok"], health.json()["bus"]["ok"]) == (503, False, True)

    world.store.hook = None
    assert {path: (await client.get(f"{API}/{path}")).status_code for path in READS} == READS
    assert (await client.get("/health")).status_code == 200


async def test_a_log_that_takes_long_is_waited_for_while_the_store_answers_otherwise(
    client: httpx.AsyncClient, world: World
) -> None:
    """That of ten thousand steps takes seconds."""
    href = await started(client, CHAIN, x=1)
    await ended(client, href)
    shown = (href, f"{href}/history", f"{href}/steps/step1/output", f"{API}/monitoring/timeline/{href.split('/')[-1]}")
    before = [(await client.get(path)).json() for path in shown]

    async def slow(operation: str, moment: str) -> None:
        if (operation, moment) == ("read_log", "before"):
            await asyncio.sleep(ANSWER_TIMEOUT + 0.5)

    world.store.hook = slow
    answers = await asyncio.gather(*(client.get(path) for path in shown))
    assert [answer.status_code for answer in answers] == [200] * len(shown)
    assert [answer.json() for answer in answers] == before


async def test_without_any_orchestrator_a_start_is_503_and_was_not_sent(bare: World) -> None:
    async with await bare.run_edge() as client:
        answer = await client.post(f"{API}/executions", json={"definition": CHAIN})
        assert is_503(answer)
        assert "nothing was sent" in answer.json()["detail"]


async def test_a_start_without_answer_is_503_and_safe_to_repeat(bare: World) -> None:
    await bare.run_agents()
    await bare.run_orchestrator()
    orchestrator = bare.running.pop()
    async with await bare.run_edge() as client:
        await until(lambda: accepts(client, CHAIN))
        await orchestrator.stop()
        body = {"definition": CHAIN, "inputs": {"x": 5}}
        headers = {"idempotency-key": "k"}
        unanswered = await client.post(f"{API}/executions", json=body, headers=headers)
        assert is_503(unanswered)
        assert "may still take effect" in unanswered.json()["detail"]
        assert "same Idempotency-Key is safe" in unanswered.json()["detail"]
        execution_id = unanswered.json()["execution_id"]

        await bare.run_orchestrator()
        async with asyncio.timeout(PATIENCE):  # a machine that stands still for two seconds makes it 503 once more
            while is_503(repeated := await client.post(f"{API}/executions", json=body, headers=headers)):
                assert repeated.json()["execution_id"] == execution_id
        assert repeated.status_code == 202
        assert repeated.json()["execution_id"] == execution_id
        view = await ended(client, repeated.headers["location"])
        assert view["outputs"]["step2"]["data"] == 5
        assert len((await client.get(f"{API}/executions")).json()["items"]) == 1


@pytest.mark.rabbitmq
async def test_a_broker_that_is_away_is_503_and_comes_back(bare: World, own_rabbit: Process) -> None:
    """The edge starts while the broker is away, serves what it can, and goes on by itself once the broker is back;
    then the broker goes away under it, and comes back once more."""

    def bus() -> RabbitBus:
        return RabbitBus(own_rabbit.url)

    await asyncio.to_thread(own_rabbit.stop)
    try:
        client = await bare.run_edge(bus())
        for time in ("first", "second"):
            assert is_503(await client.post(f"{API}/executions", json={"definition": CHAIN}))
            assert is_503(await client.delete(f"{API}/workflows/x"))
            assert is_503(await client.post(f"{API}/agents", json={"agent_type": "desk_agent"}))
            assert is_503(await client.post(f"{API}/agents/broadcast", json={"payload": {}}))
            assert (await client.get(f"{API}/executions")).status_code == 200
            assert (await client.get("/health")).json()["bus"]["ok"] is False

            await asyncio.to_thread(own_rabbit.start)
            await until(lambda: healthy(client))
            if time == "first":
                await bare.run_orchestrator(bus)
                await bare.run_agents(bus)
            await until(lambda: accepts(client, CHAIN))
            href = await started(client, CHAIN, x=3)
            async with followed(client, href) as stream:
                assert (await stream.rest())[-1].data["status"] == "completed"
            await asyncio.to_thread(own_rabbit.stop)
    finally:
        await asyncio.to_thread(own_rabbit.start)


@pytest.mark.mongodb
async def test_a_database_that_is_away_is_503_and_comes_back(bare: World) -> None:
    """The same for the database: away at the start, there, away again, back."""
    database = await asyncio.to_thread(find_mongodb, own=True)
    with database:
        await asyncio.to_thread(database.stop)
        store = MongoStore(database.url, "edge_away")
        client = await bare.run_edge(store=store)
        for time in ("first", "second"):
            answers = await asyncio.gather(*(client.get(f"{API}/{path}") for path in [*READS] * 5))
            assert all(is_503(answer) for answer in answers)
            await asyncio.to_thread(database.start)
            await until(lambda: healthy(client))
            if time == "first":
                assert await store.add_api_key(ADMIN)

            async def reads() -> bool:
                """Every one: a database that answers late, on a machine that has much else to do, is 503 once more."""
                return {path: (await client.get(f"{API}/{path}")).status_code for path in READS} == READS

            await until(reads)
            await asyncio.to_thread(database.stop)


async def healthy(client: httpx.AsyncClient) -> bool:
    return (await client.get("/health")).status_code == 200


class RefusingBus(DirectBus):
    """A broker that is there, and does not take this service's password."""

    async def start(self, declares: Sequence[Queue] = ()) -> None:
        raise BusError("refused: wrong password")


async def test_an_edge_that_cannot_start_says_why_and_leaves_nothing_behind(bare: World) -> None:
    port = free_port()
    bare.settings = bare.settings.model_copy(update={"api_port": port})
    refused = build_edge(bare.settings, RefusingBus(bare.broker), bare.store)
    with pytest.raises(BusError, match="wrong password"):
        await refused.start()
    await refused.stop()

    await bare.run(build_edge(bare.settings, bare.bus(), bare.store))
    with pytest.raises(OSError, match="in use"):
        await build_edge(bare.settings, bare.bus(), bare.store).start()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
