"""What the edge takes on: commands, bytes of bodies, starts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import Response

from services.edge import problems
from services.edge.bodies import read_body
from services.edge.correlation import CorrelationId
from services.edge.gate import Gate
from services.edge.pressure import FEWEST, SLOW_SECONDS, Pressure
from services.edge.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_as_many_commands_as_may_be() -> None:
    pressure = Pressure(2)
    pressure.enter()
    pressure.enter()
    with pytest.raises(Problem) as refused:
        pressure.enter()
    assert (refused.value.status, refused.value.kind, refused.value.headers) == (
        503,
        "overloaded",
        {"Retry-After": "1"},
    )
    pressure.leave(0)
    pressure.enter()
    assert pressure.in_hand == 2


def test_as_many_bytes_as_may_be() -> None:
    pressure = Pressure(10, body_bytes=100)
    pressure.hold(60)
    with pytest.raises(Problem):
        pressure.hold(41)
    pressure.hold(40)
    pressure.enter()
    pressure.leave(60)
    assert pressure.bytes_in_hand == 40


def test_who_waits_for_an_agent_gives_its_place_to_others() -> None:
    pressure = Pressure(2, body_bytes=100)
    for _ in range(2):
        pressure.enter()
        pressure.hold(50)
    with pressure.waiting_with(50), pressure.waiting_with(50):
        assert (pressure.in_hand, pressure.bytes_in_hand) == (0, 0)
        assert (pressure.waiting, pressure.bytes_waiting) == (2, 100)
        pressure.enter()
        with pytest.raises(Problem, match="2 requests wait for agents") as refused, pressure.waiting_with(0):
            raise AssertionError("a third waits")
        assert refused.value.kind == "overloaded"
        pressure.leave(0)
    assert (pressure.in_hand, pressure.bytes_in_hand, pressure.waiting, pressure.bytes_waiting) == (2, 100, 0, 0)


def test_bodies_of_those_that_wait_are_bounded_too() -> None:
    pressure = Pressure(10, body_bytes=100)
    pressure.enter()
    pressure.hold(60)
    with pressure.waiting_with(60):
        pressure.enter()
        pressure.hold(41)
        with pytest.raises(Problem), pressure.waiting_with(41):
            raise AssertionError("too many bytes wait")
    assert (pressure.waiting, pressure.bytes_waiting, pressure.bytes_in_hand) == (0, 0, 101)


def test_slow_answers_let_fewer_in_and_quick_ones_more_again() -> None:
    clock = Clock()
    pressure = Pressure(100, clock=clock)
    for _ in range(100):
        pressure.enter()
    clock.now += 1
    for _ in range(50):
        pressure.answered(SLOW_SECONDS + 0.1)
    assert pressure.window == 80, "many slow answers at one moment say the same thing once"
    for _ in range(100):
        clock.now += 1
        pressure.unanswered()
    assert pressure.window == FEWEST
    for _ in range(1000):
        pressure.answered(0.01)
    assert pressure.window == 100


def test_no_room_is_believed_for_a_moment() -> None:
    clock = Clock()
    pressure = Pressure(10, clock=clock)
    assert not pressure.starts_closed
    problem = pressure.no_room(7.0)
    assert (problem.kind, problem.headers) == ("overloaded", {"Retry-After": "7"})
    assert pressure.starts_closed
    assert pressure.closed().headers == {"Retry-After": "7"}
    clock.now += 1
    assert not pressure.starts_closed


def test_retry_after_follows_how_many_are_turned_away_for_each_that_is_started() -> None:
    pressure = Pressure(10, clock=Clock())
    for _ in range(10):
        pressure.started()
    told = [pressure.no_room(1.0).headers["Retry-After"] for _ in range(200)]
    assert (told[0], told[99], told[199]) == ("1", "10", "20")


# ---- the gate


class Door:
    """An application behind a gate; its handler reads the body, then waits until it is told."""

    def __init__(self, most: int, body_bytes: int, body_seconds: float) -> None:
        self.pressure = Pressure(most, body_bytes=body_bytes)
        self.opened = asyncio.Event()
        self.bodies: list[Any] = []
        app = FastAPI()
        problems.install(app)
        app.add_middleware(Gate, pressure=self.pressure, prefix="/api/", body_seconds=body_seconds)
        app.add_middleware(CorrelationId)

        @app.post("/api/things")
        async def things(request: Request) -> Response:
            self.bodies.append(await read_body(request))
            await self.opened.wait()
            return Response(status_code=202)

        @app.get("/api/things")
        async def list_things() -> Response:
            return Response(status_code=200)

        @app.post("/elsewhere")
        async def elsewhere() -> Response:
            return Response(status_code=200)

        self.app = app


@pytest.fixture
def body_seconds() -> float:
    return 60.0


@pytest.fixture
def door(body_seconds: float) -> Door:
    return Door(most=2, body_bytes=1000, body_seconds=body_seconds)


@pytest.fixture
async def client(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(door.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as made:
        yield made


async def until_in_hand(door: Door, count: int) -> None:
    async with asyncio.timeout(10):
        while len(door.bodies) < count:
            await asyncio.sleep(0.001)


async def test_one_too_many_is_503_before_its_body_is_read(door: Door, client: httpx.AsyncClient) -> None:
    under_way = [asyncio.create_task(client.post("/api/things", json={"n": n})) for n in range(2)]
    await until_in_hand(door, 2)
    refused = await client.post("/api/things", content=b"never read")
    assert refused.status_code == 503
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["type"] == "urn:conclave:problem:overloaded"
    assert refused.json()["correlation_id"] == refused.headers["x-correlation-id"]
    assert [(await client.get("/api/things")).status_code, (await client.post("/elsewhere")).status_code] == [200, 200]
    door.opened.set()
    assert [(await one).status_code for one in under_way] == [202, 202]
    assert (await client.post("/api/things", json={})).status_code == 202
    assert (door.pressure.in_hand, door.pressure.bytes_in_hand) == (0, 0)


async def test_bodies_that_would_be_too_much_together_are_503(door: Door, client: httpx.AsyncClient) -> None:
    under_way = asyncio.create_task(client.post("/api/things", json="x" * 700))
    await until_in_hand(door, 1)
    assert (await client.post("/api/things", json="x" * 700)).json()["type"] == "urn:conclave:problem:overloaded"
    door.opened.set()
    assert (await under_way).status_code == 202
    assert (await client.post("/api/things", json="x" * 700)).status_code == 202
    assert (door.pressure.in_hand, door.pressure.bytes_in_hand) == (0, 0)


@pytest.mark.parametrize("body_seconds", [0.2])
async def test_a_body_that_does_not_come_gives_its_place_back(door: Door, client: httpx.AsyncClient) -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b'{"a":'
        await asyncio.sleep(60)

    answer = await client.post("/api/things", content=stalling(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (408, "urn:conclave:problem:too-slow")
    assert (door.pressure.in_hand, door.pressure.bytes_in_hand) == (0, 0)
