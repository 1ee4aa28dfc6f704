"""Timelines of real executions through the API, and of one with as many steps as there may be."""

import asyncio
from typing import Any

import httpx
import pytest

from contracts.history import (
    ExecutionEnded,
    ExecutionStarted,
    ExecutionStatus,
    LogEntry,
    StepDispatched,
    StepSucceeded,
)
from contracts.workflow import MAX_STEPS
from tests.support.door import problem
from tests.support.edge_world import API, World, definition, ended, started, step

TIMELINE = f"{API}/monitoring/timeline"
T0 = 1_769_851_800.0


def of(href: str) -> str:
    return f"{TIMELINE}/{href.rpartition('/')[2]}"


async def test_a_running_execution_and_then_the_same_when_it_has_ended(world: World, client: httpx.AsyncClient) -> None:
    wanted = definition(
        step("first"),
        step("held", "first", gate="open"),
        step("quick", "first"),
        step("join", "held", "quick"),
        name="held_workflow",
    )
    href = await started(client, wanted)
    async with asyncio.timeout(30):
        while "open" not in world.gates:
            await asyncio.sleep(0.01)
    running = (await client.get(of(href))).json()
    assert (running["status"], running["ended_at"], running["step_count"]) == ("running", None, 4)
    assert [one["step_id"] for one in running["critical_path"]["steps"]] == ["first", "held"]
    world.open_gate("open")
    view = await ended(client, href)

    timeline = (await client.get(of(href))).json()
    assert (timeline["status"], timeline["n"], timeline["workflow_name"]) == ("completed", view["n"], "held_workflow")
    assert (timeline["started_at"], timeline["ended_at"]) == (view["started_at"], view["ended_at"])
    assert timeline["total_seconds"] == pytest.approx(view["duration_seconds"], abs=2e-6)
    path = timeline["critical_path"]
    assert [one["step_id"] for one in path["steps"]] == ["first", "held", "join"]
    parts = ("wait_seconds", "run_seconds", "backoff_seconds", "overhead_seconds")
    assert sum(path[part] for part in parts) == pytest.approx(timeline["total_seconds"], abs=1e-6)
    steps = {one["step_id"]: one for one in timeline["steps"]}
    assert (steps["quick"]["critical"], steps["join"]["released_by"]) == (False, "held")
    assert steps["quick"]["slack_seconds"] > 0
    for step_id, shown in steps.items():
        assert [attempt["agent_id"] for attempt in shown["attempts"]] == [view["steps"][step_id]["agent_id"]]
        assert shown["attempts"][0]["began_at"] == view["steps"][step_id]["started_at"]
        assert shown["run_seconds"] == pytest.approx(view["steps"][step_id]["duration_seconds"], abs=2e-6)


async def test_whoever_accepts_text_is_shown_bars(client: httpx.AsyncClient) -> None:
    href = await started(client, definition(step("a"), step("b", "a"), name="evil\x1b[2J\r\nname"))
    await ended(client, href)
    as_text = [
        await client.get(of(href), headers={"accept": "text/plain"}),
        await client.get(of(href), params={"format": "text"}),
    ]
    for answer in as_text:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["vary"] == "Accept"
        lines = answer.text.splitlines()
        assert r"(evil\x1b[2J\r\nname): completed" in lines[0]
        assert [line[:3] for line in lines if line.startswith("* ")] == ["* a", "* b", "* o"]
        assert "\x1b" not in answer.text
    for headers in ({"accept": "*/*"}, {"accept": "application/json, text/plain"}, {"accept": "image/png"}):
        assert (await client.get(of(href), headers=headers)).json()["status"] == "completed"
    as_json = await client.get(of(href), params={"format": "json"}, headers={"accept": "text/plain"})
    assert as_json.json()["status"] == "completed"


async def test_what_is_not_there_and_what_cannot_be_asked(client: httpx.AsyncClient) -> None:
    refused = problem(await client.get(f"{TIMELINE}/nobody"), 404, "not-found")
    assert refused["detail"] == "there is no execution 'nobody'"
    for query in ("format=xml", "after=-1", f"after={MAX_STEPS + 1}", "limit=0", f"limit={MAX_STEPS + 1}", "after=x"):
        problem(await client.get(f"{TIMELINE}/nobody?{query}"), 422, "invalid")
    problem(await client.get(f"{TIMELINE}/{'x' * 129}"), 422, "invalid")


async def test_the_largest_workflow_comes_in_pages(world: World, client: httpx.AsyncClient) -> None:
    """A chain: its critical path is all of it."""
    steps = [step(f"s{i}", *([f"s{i - 1}"] if i else [])) for i in range(MAX_STEPS)]
    await world.store.put_definition("h" * 64, {**definition(*steps), "agents": None, "dependencies": {}})
    await world.store.append(log_of_a_chain(MAX_STEPS))
    page: dict[str, Any] = (await client.get(f"{TIMELINE}/exec-large")).json()
    assert (len(page["steps"]), page["step_count"], page["next"]) == (1_000, MAX_STEPS, 1_000)
    assert len(page["critical_path"]["steps"]) == MAX_STEPS
    assert page["total_seconds"] == MAX_STEPS
    assert page["critical_path"]["run_seconds"] == MAX_STEPS / 2
    last = (await client.get(f"{TIMELINE}/exec-large", params={"after": MAX_STEPS - 1})).json()
    assert ([one["step_id"] for one in last["steps"]], last["next"]) == ([f"s{MAX_STEPS - 1}"], None)
    text = (await client.get(f"{TIMELINE}/exec-large?format=text&limit=10")).text
    assert f"critical path, {MAX_STEPS} of {MAX_STEPS} steps" in text
    assert "steps 1 to 10 of 10000; the next page: after=10" in text


def log_of_a_chain(length: int) -> list[LogEntry]:
    """A second a step, half of which it runs."""
    start = ExecutionStarted(definition_hash="h" * 64, request_hash="r", workflow_name="chain")
    entries = [
        LogEntry(
            execution_id="exec-large",
            n=1,
            at=T0,
            applied=("start",),
            events=(start, StepDispatched(step="s0", attempt=1, deadline=T0 + 300)),
        )
    ]
    for i in range(length):
        done = StepSucceeded(step=f"s{i}", attempt=1, started_at=T0 + i + 0.25, finished_at=T0 + i + 0.75)
        following = StepDispatched(step=f"s{i + 1}", attempt=1, deadline=T0 + i + 300)
        end = ExecutionEnded(status=ExecutionStatus.COMPLETED)
        entries.append(
            LogEntry(
                execution_id="exec-large",
                n=i + 2,
                at=T0 + i + 1,
                applied=(f"r{i}",),
                events=(done, end if i + 1 == length else following),
            )
        )
    return entries
