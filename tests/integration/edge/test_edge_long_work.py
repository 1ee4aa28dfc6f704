"""Long work from end to end: it says how far it is and lives beyond its time limit; a cancelled execution ends it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
import pytest
from pydantic import BaseModel

from services.runtime.agent import BaseAgent, WorkCancelled, capability, report_progress
from services.runtime.hosting import progress
from services.runtime.hosting.host import agent_service
from tests.support.edge_world import API, PATIENCE, World, accepts, edge_settings, ended, followed, started, until

PARTS = 5
TIMEOUT = 5.0  # seconds; a machine that stands still for three of them between two reports must not reach it
LEASE = 1.0  # beyond it
PAUSE = 1.4  # so that five parts take longer than timeout and lease together


class Nothing(BaseModel):
    pass


class Finished(BaseModel):
    parts: int


class Climber(BaseAgent):
    """Climbs as far as its gates are open, and says how far it is before each."""

    agent_type: ClassVar[str] = "climber"
    gates: ClassVar[list[threading.Event]] = []
    seen: ClassVar[list[str]] = []

    @capability("climb")
    async def climb(self, request: Nothing) -> Finished:
        try:
            for part, gate in enumerate(self.gates):
                report_progress(part / PARTS, f"part {part}")
                while not gate.is_set():
                    await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.seen.append("CancelledError")
            raise
        return Finished(parts=len(self.gates))

    @capability("climb_in_thread")
    def climb_in_thread(self, request: Nothing) -> Finished:
        for part, gate in enumerate(self.gates):
            report_progress(part / PARTS, f"part {part}")
            gate.wait(PATIENCE)
        return Finished(parts=len(self.gates))

    @capability("climb_until_stopped")
    def climb_until_stopped(self, request: Nothing) -> Finished:
        try:
            while True:
                report_progress(0.5, "on and on")
                self.gates[0].wait(0.01)
        except WorkCancelled:
            self.seen.append("WorkCancelled")
            raise


def climb(action: str) -> dict[str, Any]:
    step = {"id": "up", "agent_type": "climber", "action": action, "timeout": TIMEOUT}
    return {"name": "long", "steps": [step, {**step, "id": "after", "depends_on": ["up"]}]}


@pytest.fixture
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """With a short lease, or that of the parameter."""
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    Climber.gates[:] = [threading.Event() for _ in range(PARTS)]
    Climber.seen.clear()
    world = World(edge_settings().model_copy(update={"step_lease": getattr(request, "param", LEASE)}))
    try:
        await world.run_orchestrator()
        await world.run_agents()
        await world.run(agent_service(Climber, world.settings, world.bus()))
        client = await world.run_edge()
        await until(lambda: accepts(client, climb("climb")))
        yield world
    finally:
        for gate in Climber.gates:
            gate.set()
        await world.close()


@pytest.fixture
def client(world: World) -> httpx.AsyncClient:
    return world.clients[0]


@pytest.mark.parametrize("action", ["climb", "climb_in_thread"])
async def test_work_that_reports_goes_on_beyond_its_time_limit_and_is_followed(
    client: httpx.AsyncClient, action: str
) -> None:
    href = await started(client, climb(action))
    async with followed(client, href) as stream:
        for part in range(PARTS):
            event = await stream.until("step_progressed")
            assert (event.data["fraction"], event.data["note"]) == (part / PARTS, f"part {part}")
            shown = (await client.get(href)).json()["steps"]["up"]["progress"]
            assert (shown["fraction"], shown["note"]) == (part / PARTS, f"part {part}")
            await asyncio.sleep(PAUSE)
            Climber.gates[part].set()
        events = await stream.rest()
    view = await ended(client, href)
    assert view["status"] == "completed"
    up = view["steps"]["up"]
    assert (up["attempts"], up["output"], up["progress"]) == (1, {"parts": PARTS}, None)
    assert up["duration_seconds"] > TIMEOUT + LEASE
    kinds = [event.kind for event in events if event.data.get("step") == "up"]
    assert kinds == ["step_dispatched", *["step_progressed"] * PARTS, "step_succeeded"]
    history = (await client.get(f"{href}/history")).json()
    kept = [event for entry in history["entries"] for event in entry["events"] if event["kind"] == "step_progressed"]
    assert [event["number"] for event in kept if event["step"] == "up"] == list(range(1, PARTS + 1))


@pytest.mark.parametrize(("action", "saw"), [("climb", "CancelledError"), ("climb_until_stopped", "WorkCancelled")])
async def test_a_cancelled_execution_ends_its_agents_work(client: httpx.AsyncClient, action: str, saw: str) -> None:
    href = await started(client, climb(action))
    async with followed(client, href) as stream:
        await stream.until("step_progressed")
        answer = await client.post(f"{href}/cancel", json={"reason": "enough"})
        assert answer.json()["status"] == "cancelled"
        await stream.rest()

    async def stopped() -> bool:
        return Climber.seen == [saw]

    await until(stopped)
    view = (await client.get(href)).json()
    assert (view["status"], view["reason"]) == ("cancelled", "enough")
    assert (view["steps"]["up"]["status"], view["steps"]["up"]["progress"]) == ("cancelled", None)
    assert not any(gate.is_set() for gate in Climber.gates)


# The lease may not end while the machine stands still about the timeout: the step would be sent once more.
@pytest.mark.parametrize("world", [60.0], ids=["long_lease"], indirect=True)
async def test_work_that_stops_reporting_is_timed_out(client: httpx.AsyncClient) -> None:
    href = await started(client, climb("climb"))
    view = await ended(client, href)
    error = view["errors"]["up"]
    assert error["type"] == "Timeout"
    assert "latest report" in error["message"]
    assert Climber.seen == ["CancelledError"]
    assert (await client.get(f"{API}/executions?status=failed")).json()["items"][0]["execution_id"] in href
