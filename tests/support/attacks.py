"""What tests that attack a running system have in common."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import httpx

from tests.support.edge_world import API, PATIENCE

YAML = {"content-type": "application/yaml"}
JSON = {"content-type": "application/json"}


async def meanwhile(client: httpx.AsyncClient, attack: Awaitable[Any]) -> tuple[Any, int]:
    """The attack's result, and how many other requests, each through to the orchestrator, were answered before it."""
    attacking = asyncio.ensure_future(attack)
    answered = 0
    async with asyncio.timeout(4 * PATIENCE):
        while not attacking.done():
            other = await client.post(f"{API}/executions/none/cancel", json={})
            # 503 is an honest answer of a busy machine, and does not count.
            assert other.status_code in (404, 503), other.text
            answered += other.status_code == 404 and not attacking.done()
        return await attacking, answered


async def told(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    """The answer to a POST, however busy the machine is: where no answer came in time, the request is repeated."""
    for _ in range(20):
        answer = await client.post(path, **body)
        if answer.status_code != 503:
            break
    return answer


def refused(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    """The problem document of a refusal."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 4_000_000
    problem: dict[str, Any] = answer.json()
    return problem


def nested(depth: int, text: str = '{"a":', end: str = "}") -> str:
    return text * depth + "1" + end * depth
