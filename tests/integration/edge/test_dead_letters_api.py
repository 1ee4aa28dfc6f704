"""Dead letters through the API: listed, shown, replayed and discarded."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts import topology
from contracts.agents import AgentStatus
from services.runtime.bus.base import Frame
from tests.support.edge_world import API, World, until
from tests.support.office import AGENTS, Office, office

LETTERS = f"{API}/monitoring/dead-letters"
RETRIES = 1


@pytest.fixture
async def clerks() -> AsyncIterator[Office]:
    async with office(max_message_retries=RETRIES) as made:
        yield made


@pytest.fixture
def client(clerks: Office) -> httpx.AsyncClient:
    return clerks.client


async def letters(client: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"{LETTERS}?{query}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def until_there_are(client: httpx.AsyncClient, count: int, query: str = "") -> list[dict[str, Any]]:
    async def there() -> bool:
        return len(await letters(client, query)) == count

    await until(there)
    return await letters(client, query)


async def test_a_message_that_its_agent_fails_on_is_listed_shown_and_replayed(
    client: httpx.AsyncClient, clerks: Office
) -> None:
    await clerks.create("ann")
    clerks.fail_on("hard", 1 + RETRIES)
    message_id = (await clerks.tell("ann", "hard")).json()["message_id"]
    (row,) = await until_there_are(client, 1)
    assert (row["reason"], row["type"], row["message_id"]) == ("agent-failed", "agent.mail.v1", message_id)
    assert "out of paper" in row["detail"]
    assert row["size"] > 0
    assert "body" not in row

    href = row["href"]
    assert href == f"{LETTERS}/{row['dead_letter_id']}"
    whole = (await client.get(href)).json()
    assert whole["body_format"] == "json"
    assert whole["body"]["retry_count"] == RETRIES
    assert whole["body"]["payload"]["body"] == {"action": "greet", "inputs": {"text": "hard"}}
    assert whole.items() >= row.items()

    replayed = await client.post(f"{href}/replay")
    assert (replayed.status_code, replayed.json()["status"]) == (200, "replayed"), replayed.text
    await clerks.until_heard("hard", 2 + RETRIES)
    assert await letters(client) == []
    for again in (await client.get(href), await client.post(f"{href}/replay"), await client.delete(href)):
        assert again.status_code == 404, again.text
        assert again.json()["type"] == "urn:conclave:problem:not-found"


async def test_what_fails_again_is_a_dead_letter_again(client: httpx.AsyncClient, clerks: Office) -> None:
    clerks.fail_on("never", 1000)
    message_id = (await clerks.tell("clerk", "never")).json()["message_id"]
    (row,) = await until_there_are(client, 1)
    before = len(clerks.heard())
    assert (await client.post(f"{LETTERS}/{row['dead_letter_id']}/replay")).status_code == 200
    await clerks.until_heard("never", before + 1)
    (row,) = await until_there_are(client, 1)
    assert row["message_id"] == message_id

    discarded = await client.delete(f"{LETTERS}/{row['dead_letter_id']}")
    assert discarded.json() == {"dead_letter_id": row["dead_letter_id"], "status": "discarded"}
    assert await letters(client) == []


async def test_what_waited_for_a_deleted_agent_is_a_dead_letter(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann", limits={"concurrency": 1})
    for number in (0, 1):
        await clerks.kill(number)

    async def unavailable() -> bool:
        return bool((await client.get(f"{AGENTS}/ann")).json()["status"] == AgentStatus.UNAVAILABLE)

    await until(unavailable)
    for text in ("x", "y", "z"):
        assert (await clerks.tell("ann", text)).status_code == 202
    deleted = await client.delete(f"{AGENTS}/ann")
    assert (deleted.status_code, deleted.json()["undelivered"]) == (200, 3), deleted.text
    rows = await until_there_are(client, 3, "reason=agent-removed")
    assert {row["type"] for row in rows} == {"agent.mail.v1"}


async def test_dead_letters_are_filtered_and_paged(client: httpx.AsyncClient, clerks: Office) -> None:
    bus = clerks.world.bus()
    await bus.start()
    queue = topology.agent_type_queue("clerk")
    address = topology.agent_mail("clerk")
    bodies = [b"no json", b"\xff\xfe", b'{"id": 1}', b"x" * 2_000]
    await bus.publish([Frame(address, body, "agent.mail.v1", f"m{i}") for i, body in enumerate(bodies)])
    await bus.publish([Frame(address, b"{}", "odd.v1", "m9")])
    await until_there_are(client, 5)
    assert len(await letters(client, "reason=contract")) == 4
    assert [row["message_id"] for row in await letters(client, "reason=unknown-type")] == ["m9"]
    assert [row["message_id"] for row in await letters(client, "type=odd.v1")] == ["m9"]
    assert len(await letters(client, f"queue={queue.name}")) == 5
    assert await letters(client, "queue=nobody") == []

    first = (await client.get(f"{LETTERS}?limit=3")).json()
    rest = (await client.get(f"{LETTERS}?limit=3&after={first['next']}")).json()
    rows = first["items"] + rest["items"]
    assert sorted(row["message_id"] for row in rows) == ["m0", "m1", "m2", "m3", "m9"]
    assert rest["next"] is None
    assert all(len(row["preview"]) <= 300 for row in rows)
    assert {row["message_id"]: row["size"] for row in rows}["m3"] == 2_000

    shown = {row["message_id"]: (await client.get(f"{LETTERS}/{row['dead_letter_id']}")).json() for row in rows}
    assert (shown["m0"]["body_format"], shown["m0"]["body"]) == ("text", "no json")
    assert (shown["m1"]["body_format"], shown["m1"]["body"]) == ("base64", "//4=")
    assert (shown["m2"]["body_format"], shown["m2"]["body"]) == ("json", {"id": 1})
    assert shown["m3"]["body"] == "x" * 2_000
    await bus.close()

    assert (await client.get(f"{LETTERS}?limit=0")).status_code == 422
    assert (await client.get(f"{LETTERS}?after=nonsense")).status_code == 400


async def test_without_its_service_nothing_is_settled(bare: World) -> None:
    client = await bare.run_edge()
    for answer in (await client.post(f"{LETTERS}/x/replay"), await client.delete(f"{LETTERS}/x")):
        assert answer.status_code == 503
        assert "dead-letter service" in answer.json()["detail"]
    assert (await client.get(LETTERS)).json() == {"items": [], "next": None}
    assert (await client.get(f"{LETTERS}/x")).status_code == 404
