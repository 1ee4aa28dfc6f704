"""How much of a body is taken before it is refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from services.edge import problems
from services.edge.access.body_limit import BodyLimit

MOST = 1024 * 1024
CHUNK = b"x" * 65_536
GIGABYTE = 1024**3


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.post("/ignore")
    async def ignore(request: Request) -> str:
        return "ignored"

    app.add_middleware(BodyLimit, most=MOST)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as made:
        yield made


class Flood:
    """A body of a gigabyte, which counts how much of it was taken."""

    def __init__(self) -> None:
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < GIGABYTE:
            self.taken += len(CHUNK)
            yield CHUNK
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("declared", "most_taken"), [({"content-length": str(GIGABYTE)}, 0), ({}, MOST + 2 * len(CHUNK))]
)
async def test_a_gigabyte_is_refused_early(
    client: httpx.AsyncClient, declared: dict[str, str], most_taken: int
) -> None:
    flood = Flood()
    answer = await client.post("/read", content=flood, headers=declared)
    assert answer.status_code == 413
    assert answer.json()["max_bytes"] == MOST
    assert answer.headers["connection"] == "close", "or the server would read on to find the next request"
    assert flood.taken <= most_taken


async def test_nobody_who_does_not_want_it_reads_it(client: httpx.AsyncClient) -> None:
    flood = Flood()
    answer = await client.post("/ignore", content=flood, headers={"content-length": str(GIGABYTE)})
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert flood.taken == 0


@pytest.mark.parametrize("size", [0, 1, MOST])
async def test_a_body_up_to_the_limit_passes(client: httpx.AsyncClient, size: int) -> None:
    answer = await client.post("/read", content=b"x" * size)
    assert (answer.status_code, answer.json()) == (200, size)
    assert "connection" not in answer.headers


async def test_a_byte_more_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post("/read", content=b"x" * (MOST + 1))).status_code == 413


@pytest.mark.parametrize("length", ["9" * 5_000, "9" * 19])
async def test_absurd_lengths_are_too_large(client: httpx.AsyncClient, length: str) -> None:
    answer = await client.post("/read", content=Flood(), headers={"content-length": length})
    assert answer.status_code == 413


async def test_a_small_body_that_nobody_reads_keeps_its_connection(client: httpx.AsyncClient) -> None:
    assert "connection" not in (await client.post("/ignore", json={"a": 1})).headers


async def test_after_the_answer_has_begun_a_flood_counts_as_gone() -> None:
    """Nobody can be told 413 any more; a stream that waits for its client to go must end."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] != "http.disconnect":
            assert message["type"] == "http.request"

    async def receive() -> Any:
        return {"type": "http.request", "body": CHUNK, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"transfer-encoding", b"chunked")]}
    await asyncio.wait_for(BodyLimit(app, most=MOST)(scope, receive, send), 10)
    assert [message["type"] for message in sent] == ["http.response.start"]
