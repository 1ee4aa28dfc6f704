"""Requests that wait for agents: they keep nobody else out, and end with their client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect

from services.edge import problems
from services.edge.bodies import read_body
from services.edge.gate import Gate
from services.edge.pressure import Pressure
from services.edge.waiting import Waiting

MOST = 2


class Office:
    """Answers at ``/api/ask`` when it is told to, and at ``/api/go`` at once."""

    def __init__(self) -> None:
        self.pressure = Pressure(MOST)
        self.waiting = Waiting(self.pressure)
        self.told = asyncio.Event()
        self.asked = 0
        self.ended: list[str] = []
        app = FastAPI()
        problems.install(app)
        app.add_middleware(Gate, pressure=self.pressure, prefix="/api/")

        @app.post("/api/ask/{key}")
        async def ask(request: Request, key: str) -> Any:
            body = await read_body(request)
            return await self.waiting.wait(request, key, self._answer(body))

        @app.post("/api/go")
        async def go() -> str:
            return "gone"

        self.app = app

    async def _answer(self, body: Any) -> Any:
        self.asked += 1
        try:
            await self.told.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        if body == "fail":
            raise problems.Problem("agent-failed", "no")
        return body

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.asked < count:
                await asyncio.sleep(0.001)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        pressure = self.pressure
        return pressure.in_hand, pressure.bytes_in_hand, pressure.waiting, pressure.bytes_waiting


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def client(office: Office) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(office.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as made:
        yield made


async def test_those_that_wait_keep_no_command_out_and_are_as_many_as_may_be(
    office: Office, client: httpx.AsyncClient
) -> None:
    waiting = [asyncio.create_task(client.post(f"/api/ask/{n}", json={"n": n})) for n in range(MOST)]
    await office.until_asked(MOST)
    assert office.counts == (0, 0, MOST, 2 * len('{"n":0}'))
    assert [(await client.post("/api/go")).status_code for _ in range(5)] == [200] * 5
    refused = await client.post("/api/ask/more", json={})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:conclave:problem:overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    office.told.set()
    assert [(await one).json() for one in waiting] == [{"n": 0}, {"n": 1}]
    assert office.counts == (0, 0, 0, 0)
    assert office.asked == MOST


async def test_what_goes_wrong_in_the_answer_comes_out(office: Office, client: httpx.AsyncClient) -> None:
    office.told.set()
    answer = await client.post("/api/ask/1", json="fail")
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:conclave:problem:agent-failed")
    assert office.counts == (0, 0, 0, 0)


async def test_two_cannot_wait_for_one_answer(office: Office, client: httpx.AsyncClient) -> None:
    first = asyncio.create_task(client.post("/api/ask/same", json=1))
    await office.until_asked(1)
    second = await client.post("/api/ask/same", json=1)
    assert (second.status_code, second.json()["type"]) == (409, "urn:conclave:problem:conflict")
    office.told.set()
    assert (await first).json() == 1
    assert (await client.post("/api/ask/same", json=2)).json() == 2
    assert office.asked == 2


async def test_at_the_end_of_the_edge_nobody_waits(office: Office, client: httpx.AsyncClient) -> None:
    waiting = asyncio.create_task(client.post("/api/ask/1", json=1))
    await office.until_asked(1)
    office.waiting.end()
    answer = await waiting
    assert answer.status_code == 503
    assert "may still be handled" in answer.json()["detail"]
    assert office.ended == ["cancelled"]
    assert office.counts == (0, 0, 0, 0)


async def test_a_client_that_goes_away_is_not_waited_for(office: Office) -> None:
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, events.get)
    office.pressure.enter()
    waiting = asyncio.create_task(office.waiting.wait(request, "1", office._answer(None)))
    await office.until_asked(1)
    events.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    events.put_nowait({"type": "http.disconnect"})
    with pytest.raises(ClientDisconnect):
        await waiting
    assert office.ended == ["cancelled"]
    office.pressure.leave(0)
    assert office.counts == (0, 0, 0, 0)
