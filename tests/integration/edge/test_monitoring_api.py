"""The monitoring API over the real monitor: what it answers, and what the edge says where the monitor is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.monitoring import WINDOWS
from services.edge.access import stored_keys
from services.runtime.settings import Settings
from services.runtime.store.base import StoreUnavailable
from services.runtime.telemetry.operations import Operations
from services.runtime.telemetry.telemetry import Telemetry
from tests.support.door import problem
from tests.support.edge_world import API, World, definition, ended, started, step, until
from tests.support.patience import in_a_hurry

VIEWS = ("metrics", "agents", "workflows", "system", "queues")
MONITORING = f"{API}/monitoring"


@pytest.fixture
async def watched(world: World) -> AsyncIterator[World]:
    """A world with a monitor, whose services report as those of one process."""
    await world.run_monitor()
    settings = Settings(communication_protocol="direct", metrics_port=0, report_interval=0.1)
    operations = Operations(settings, world.telemetry, world.running)
    await operations.start()
    yield world
    await operations.stop()


async def view(client: httpx.AsyncClient, name: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{MONITORING}/{name}", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["at"])).total_seconds()) < 60
    return found


async def test_monitoring_service(watched: World, client: httpx.AsyncClient) -> None:
    """What really happened is in every view."""
    href = await started(client, definition(step("good"), name="fine"))
    assert (await ended(client, href))["status"] == "completed"
    href = await started(client, definition(step("bad", fail=True), name="broken"))
    assert (await ended(client, href))["status"] == "failed"

    async def counted() -> bool:
        (window,) = (await view(client, "metrics", window=60))["windows"]
        ended_now: dict[str, int] = window["executions"]["ended"]
        calls = [one["outcomes"] for one in window["agents"] if one["agent_type"] == "desk_agent"]
        return ended_now == {"completed": 1, "failed": 1} and calls == [{"succeeded": 1, "failed": 1}]

    await until(counted)
    (window,) = (await view(client, "metrics", window=60))["windows"]
    assert window["executions"]["started"] == 2
    assert window["executions"]["duration"]["count"] == 2
    assert window["http"]["requests"] > 4
    workflows = await view(client, "workflows")
    assert {one["workflow_name"]: (one["recent_ended"], one["recent_failed"]) for one in workflows["workflows"]} == {
        "fine": (1, 0),
        "broken": (1, 1),
    }

    async def reports() -> Any:
        """Just after this process has stood still it has not reported lately."""
        return (await view(client, "system"))["processes"]

    (process,) = await until(reports)
    assert {"edge", "orchestrator", "registry", "desk_agent", "monitor"} <= set(process["services"])
    assert process["system"]["memory"] > 1_000_000
    (desk,) = (await view(client, "agents"))["types"]
    assert (desk["agent_type"], desk["hosts_available"]) == ("desk_agent", 1)
    queues = {one["name"]: one for one in (await view(client, "queues"))["queues"]}
    assert queues["desk_agent"]["consumers"] == 1

    health = await view(client, "health")
    assert health["answered_by"] == "monitor"
    assert {one["name"]: one["fault"] for one in health["components"]} == {"store": "", "bus": ""}
    assert "orchestrator" in {one["service"] for one in health["services"]}


async def test_a_window_may_be_chosen(watched: World, client: httpx.AsyncClient) -> None:
    everything = await view(client, "metrics")
    assert [one["window"] for one in everything["windows"]] == list(WINDOWS)
    for window in WINDOWS:
        assert [one["window"] for one in (await view(client, "metrics", window=window))["windows"]] == [window]
    refused = problem(await client.get(f"{MONITORING}/metrics?window=61"), 422, "invalid")
    assert refused["errors"][0]["path"] == "query.window"
    assert "60, 300, 900 or 3600" in refused["errors"][0]["message"]


async def test_a_monitor_that_has_never_been_there(world: World, client: httpx.AsyncClient) -> None:
    for name in VIEWS:
        answer = await client.get(f"{MONITORING}/{name}")
        refused = problem(answer, 503, "unavailable")
        assert refused["detail"] == "no monitor has ever been connected to the broker; nothing was sent"
        assert refused["view"] == name
        assert int(answer.headers["retry-after"]) > 0
    health = await view(client, "health")
    assert (health["status"], health["answered_by"], health["settled"]) == ("degraded", "edge", False)
    assert {one["name"]: one["fault"] for one in health["components"]} == {
        "store": "",
        "bus": "",
        "monitor": "no monitor has ever been connected to the broker; nothing was sent",
    }
    (only,) = health["problems"]
    assert (only["code"], only["severity"], only["subject"]) == ("monitor_unavailable", "warning", "service:monitor")


@in_a_hurry
async def test_a_monitor_that_went_away_and_came_back(world: World, client: httpx.AsyncClient) -> None:
    await world.run_monitor()
    await view(client, "system")
    await world.running.pop().stop()
    refused = problem(await client.get(f"{MONITORING}/system"), 503, "unavailable")
    assert refused["detail"].startswith("no answer from the monitor within 1.8 s; executions go on without it")
    assert (await view(client, "health"))["components"][2]["fault"] == refused["detail"]
    # Nothing else minds.
    href = await started(client, definition(step("good")))
    assert (await ended(client, href))["status"] == "completed"

    await world.run_monitor()
    await view(client, "system")
    assert (await view(client, "health"))["answered_by"] == "monitor"


async def test_who_watches_is_let_in_for_a_while_when_the_keys_cannot_be_read_and_nobody_else_is(
    watched: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(operation: str, moment: str) -> None:
        if moment == "before":
            raise StoreUnavailable("connection refused")

    monkeypatch.setattr(stored_keys, "KEY_SECONDS", 0.0)  # no answer of the store holds any longer
    client = await watched.run_edge()
    await view(client, "health")
    watched.store.hook = away
    health = await client.get(f"{MONITORING}/health")
    others = [await client.get(f"{API}/executions"), await client.get(f"{API}/keys")]
    watched.store.hook = None
    assert health.json()["components"]
    for refused in others:
        assert problem(refused, 503, "unavailable")["detail"].startswith("the store with the API keys is away")


async def test_where_nothing_is_counted_the_views_of_figures_are_404_and_say_so(bare: World) -> None:
    bare.telemetry = Telemetry(enabled=False)
    client = await bare.run_edge()
    for name in ("metrics", "system"):
        refused = problem(await client.get(f"{MONITORING}/{name}"), 404, "not-found")
        assert "METRICS_ENABLED=false" in refused["detail"]


async def test_an_edge_that_has_lost_its_store_says_that_it_is_down(world: World, client: httpx.AsyncClient) -> None:
    async def away(operation: str, moment: str) -> None:
        if moment == "before":
            raise StoreUnavailable("connection refused to 10.0.0.7")

    await view(client, "health")  # signed in: who brings a key that is not known yet cannot be without the store
    world.store.hook = away
    answer = await client.get(f"{MONITORING}/health")
    world.store.hook = None
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    health = answer.json()
    assert (health["status"], health["answered_by"]) == ("down", "edge")
    assert [one["code"] for one in health["problems"]] == ["store_unavailable", "monitor_unavailable"]
    assert "10.0.0.7" not in answer.text
