"""Health on the API's port: open to everybody, so it says what is not ready and not why."""

import asyncio

import httpx

from services.runtime.bus.direct import DirectBus
from services.runtime.store.base import StoreUnavailable
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.api_access import HEADERS
from tests.support.edge_world import API, World, until


class CutBus(DirectBus):
    """A bus that can lose its broker, and does not say more than the truth about it."""

    connected = True

    def not_consuming(self) -> tuple[str, ...]:
        return () if self.connected else ("edge.secret-queue",)


async def test_an_edge_is_ready_once_it_serves(bare: World) -> None:
    await bare.run_edge()
    stranger = bare.stranger()
    assert (await stranger.get("/health/live")).json() == {"status": "ok"}
    ready = await stranger.get("/health/ready")
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "status": "ok",
            "services": {"edge": {"started": "ok", "bus": "ok", "consuming": "ok", "store": "ok"}},
        },
    )
    assert "retry-after" not in ready.headers


async def test_what_is_away_is_named_and_not_explained(bare: World) -> None:
    bus = CutBus(bare.broker)
    await bare.run_edge(bus)
    stranger = bare.stranger()
    assert (await stranger.get("/health/ready")).status_code == 200

    async def away(operation: str, moment: str) -> None:
        if operation == "ping":
            raise StoreUnavailable("mongodb://user:hunter2@10.0.0.7 refused")

    bare.store.hook = away
    bus.connected = False

    async def is_not_ready() -> bool:  # an answer of the store holds for a second
        return (await stranger.get("/health/ready")).json()["services"]["edge"]["store"] == "not ready"

    await until(is_not_ready)
    not_ready = await stranger.get("/health/ready")
    assert not_ready.status_code == 503
    assert int(not_ready.headers["retry-after"]) > 0
    assert not_ready.json() == {
        "status": "not ready",
        "services": {
            "edge": {"started": "ok", "bus": "not ready", "consuming": "not ready", "store": "not ready"},
        },
    }
    summary = await stranger.get("/health")
    assert (summary.status_code, summary.json()["status"], summary.json()["services"]) == (
        503,
        "degraded",
        {"edge": "not ready"},
    )
    for answer in (not_ready, summary):
        assert not any(secret in answer.text for secret in ("hunter2", "10.0.0.7", "secret-queue"))
    assert (await stranger.get("/health/live")).status_code == 200
    bus.connected = True


async def test_the_services_of_the_process_are_ready_together(world: World) -> None:
    settings = world.settings.model_copy(update={"metrics_port": 0})
    operations = Operations(settings, world.telemetry, world.running)
    await operations.start()
    try:
        stranger = world.stranger()
        assert set((await stranger.get("/health/ready")).json()["services"]) == {
            "edge",
            "orchestrator",
            "registry",
            "desk_agent",
        }
        orchestrator = next(one for one in world.running if one.name == "orchestrator")
        await orchestrator.stop()
        not_ready = await stranger.get("/health/ready")
        assert not_ready.status_code == 503
        assert not_ready.json()["services"]["orchestrator"]["started"] == "not ready"
        assert not_ready.json()["services"]["edge"]["started"] == "ok"
        summary = await stranger.get("/health")  # of the edge, which does its work
        assert (summary.status_code, summary.json()["status"]) == (200, "degraded")
        assert summary.json()["services"]["orchestrator"] == "not ready"
    finally:
        await operations.stop()


async def test_a_process_told_to_end_is_not_ready_and_answers_what_it_has_in_hand(world: World) -> None:
    client, stranger = world.clients[0], world.stranger()
    message = {"payload": {"action": "work", "inputs": {"gate": "held"}}}
    asked = asyncio.create_task(client.post(f"{API}/agents/desk_agent/message?wait=true&timeout=30", json=message))

    async def in_hand() -> bool:
        return "held" in world.gates

    await until(in_hand)
    world.telemetry.health.ending = True
    not_ready = await stranger.get("/health/ready")
    assert not_ready.status_code == 503
    assert not_ready.json()["services"]["edge"] == {
        "ending": "not ready",
        "started": "ok",
        "bus": "ok",
        "consuming": "ok",
        "store": "ok",
    }
    assert (await stranger.get("/health/live")).status_code == 200
    assert (await client.get(f"{API}/executions")).status_code == 200
    world.open_gate("held")
    assert (await asked).status_code == 200


async def test_probes_are_on_no_record(bare: World) -> None:
    await bare.run_edge()
    stranger = bare.stranger()
    for path in ("/health", "/health/live", "/health/ready"):
        assert (await stranger.get(path)).status_code == 200
        assert (await stranger.post(path)).status_code in (401, 405)
    metrics = (await stranger.get("/metrics", headers=HEADERS)).text
    assert "/health" not in metrics


async def test_metrics_are_those_of_the_process_and_only_while_they_are_counted(bare: World) -> None:
    client = await bare.run_edge()
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert "http_requests_in_progress 1.0" in page.text
    openly = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert openly.headers["content-type"].startswith("application/openmetrics-text")
    assert openly.text.endswith("# EOF\n")
    assert (await bare.stranger().get("/metrics")).status_code == 401


async def test_without_metrics_nothing_is_served_there(bare: World) -> None:
    bare.telemetry = Telemetry(enabled=False)
    client = await bare.run_edge()
    assert (await client.get(f"{API}/executions")).status_code == 200
    assert (await client.get("/metrics")).status_code == 404
    assert "/metrics" not in (await client.get("/openapi.json")).json()["paths"]
    assert list(bare.telemetry.registry.collect()) == []
    assert isinstance(client, httpx.AsyncClient)
