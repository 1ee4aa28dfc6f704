"""An execution's events over HTTP: replayed, followed live, resumed, ended."""

import asyncio

import httpx
import pytest

from tests.support.edge_world import (
    API,
    CHAIN,
    PATIENCE,
    Event,
    EventStream,
    World,
    accepts,
    definition,
    ended,
    followed,
    logged,
    started,
    step,
    until,
)


async def test_events_replay_from_the_start_and_follow_live(client: httpx.AsyncClient, world: World) -> None:
    href = await started(client, definition(step("a"), step("b", "a", gate="g"), step("c", "b")))
    async with followed(client, href) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        await stream.until("step_succeeded")
        world.open_gate("g")
        events = await stream.rest()
    log = await logged(world, href)
    assert [event.id for event in events] == [f"{e.n}.{i}" for e in log for i in range(len(e.events))]
    assert [event.kind for event in events] == [event.kind for entry in log for event in entry.events]
    assert [event.data["step"] for event in events if event.kind == "step_succeeded"] == ["a", "b", "c"]
    assert events[-1].data["status"] == "completed"
    assert all(event.data["kind"] == event.kind and event.data["at"].endswith("Z") for event in events)


async def test_events_resume_after_the_last_one_seen(client: httpx.AsyncClient) -> None:
    href = await started(client, CHAIN, x=1)
    await ended(client, href)
    async with followed(client, href) as stream:
        events = await stream.rest()
    for i, event in enumerate(events[:-1]):
        async with followed(client, href, **{"last-event-id": event.id}) as stream:
            assert await stream.rest() == events[i + 1 :]
    n = events[0].id.partition(".")[0]
    async with client.stream("GET", f"{href}/events?after={n}") as answer:
        assert await EventStream(answer).rest() == [event for event in events if not event.id.startswith(f"{n}.")]

    over = await client.get(f"{href}/events", headers={"last-event-id": events[-1].id})
    assert (over.status_code, over.content) == (204, b"")


@pytest.mark.parametrize(("path", "given", "status"), [("nobody", "", 404), ("", "x", 400), ("", "99", 404)])
async def test_a_stream_that_cannot_begin_says_why(
    client: httpx.AsyncClient, path: str, given: str, status: int
) -> None:
    href = f"{API}/executions/{path}" if path else await started(client, CHAIN, x=1)
    answer = await client.get(f"{href}/events", headers={"last-event-id": given} if given else {})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_many_clients_follow_one_execution_and_leave(client: httpx.AsyncClient, world: World) -> None:
    live = world.edge.live
    href = await started(client, definition(step("a", gate="g"), step("b", "a")))

    async def follow() -> list[Event]:
        async with followed(client, href) as stream:
            return await stream.rest()

    async def follow_a_little() -> None:
        async with followed(client, href) as stream:
            await stream.next()

    staying = [asyncio.create_task(follow()) for _ in range(20)]
    await asyncio.gather(*(follow_a_little() for _ in range(20)))

    async def only_the_staying() -> bool:
        return bool(live.followers == 20)

    await until(only_the_staying)
    world.open_gate("g")
    seen = await asyncio.gather(*staying)
    assert all(events == seen[0] for events in seen)
    assert seen[0][-1].kind == "execution_ended"

    async def nobody() -> bool:
        return bool(live.followers == 0)

    await until(nobody)


async def test_a_quiet_stream_shows_that_it_lives(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.01)
    href = await started(client, definition(step("a", gate="g")))
    async with client.stream("GET", f"{href}/events") as answer, asyncio.timeout(PATIENCE):
        pings = 0
        async for line in answer.aiter_lines():
            pings += line == ": ping"
            if pings == 3:
                world.open_gate("g")
                break


async def test_stopping_the_edge_ends_its_streams(world: World) -> None:
    client = await world.run_edge()
    server = world.running.pop()
    await until(lambda: accepts(client, CHAIN))
    href = await started(client, definition(step("a", gate="g")))
    async with followed(client, href) as stream:
        await stream.until("step_dispatched")
        async with asyncio.timeout(PATIENCE):
            await server.stop()
        assert await stream.next() is None
    world.open_gate("g")
    await client.aclose()
