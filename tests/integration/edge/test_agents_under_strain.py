"""Agents through the API when something is amiss: hosts that die, clients that hang up, too many that wait."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from services.edge.server import Server
from tests.support.edge_world import World, until
from tests.support.office import AGENTS, Office, office, problem


@pytest.fixture
async def clerks() -> AsyncIterator[Office]:
    async with office() as made:
        yield made


@pytest.fixture
def client(clerks: Office) -> httpx.AsyncClient:
    return clerks.client


# ---- hosts that go


async def test_an_agent_goes_on_when_either_of_its_hosts_is_killed(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann", config={"greeting": "hi"})

    async def both_stand_by() -> bool:
        return len((await client.get(f"{AGENTS}/ann")).json()["hosts"]) == 2

    await until(both_stand_by)
    active = (await clerks.ask("ann", "first")).json()["reply"]["desk"]
    interrupted = asyncio.create_task(clerks.ask("ann", "in hand", gate="g"))
    await clerks.until_heard("in hand")
    await clerks.kill(active)
    await clerks.until_heard("in hand", 2)
    clerks.open_gate("g")
    answer = (await interrupted).json()["reply"]
    assert answer == {"text": "hi in hand", "desk": 1 - active}

    async def one_is_left() -> bool:
        shown = (await client.get(f"{AGENTS}/ann")).json()
        return (len(shown["hosts"]), shown["status"]) == (1, "idle")

    await until(one_is_left)

    async def as_many_are_available() -> bool:
        hosts = (await client.get(f"{AGENTS}/types")).json()["items"][0]["hosts"]
        return sorted(host["available"] for host in hosts) == [False, True]

    await until(as_many_are_available)


async def test_without_a_host_it_is_unavailable_and_its_mail_waits(client: httpx.AsyncClient, clerks: Office) -> None:
    await clerks.create("ann")
    for number in (0, 1):
        await clerks.kill(number)

    async def unavailable() -> bool:
        return bool((await client.get(f"{AGENTS}/ann")).json()["status"] == "unavailable")

    await until(unavailable)
    listed = (await client.get(f"{AGENTS}?status=unavailable")).json()["items"]
    assert [item["agent_id"] for item in listed] == ["ann", "clerk"]
    assert (await client.get(f"{AGENTS}/types")).json()["items"][0]["status"] == "unavailable"
    problem(await client.post(AGENTS, json={"agent_type": "clerk"}), 503, "unavailable")
    assert (await clerks.tell("ann", "patient")).status_code == 202
    problem(await clerks.ask("ann", "impatient", timeout=0.2), 504, "no-reply")


# ---- what waiting costs


async def test_those_that_wait_for_agents_keep_nobody_else_out() -> None:
    async with office(max_pending_commands=3) as clerks:
        waiting = [asyncio.create_task(clerks.ask("clerk", f"slow-{n}", gate="g")) for n in range(3)]
        for n in range(3):
            await clerks.until_heard(f"slow-{n}")
        for _ in range(4):
            assert (await clerks.tell("clerk", "quick")).status_code == 202
        refused = await clerks.ask("clerk", "one too many")
        problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert clerks.world.edge.pressure.window == 3, "slow agents say nothing about the edge"
        clerks.open_gate("g")
        assert [(await one).status_code for one in waiting] == [200] * 3
        pressure = clerks.world.edge.pressure
        assert (pressure.in_hand, pressure.waiting, pressure.bytes_in_hand, pressure.bytes_waiting) == (0, 0, 0, 0)
        assert (await clerks.ask("clerk", "now")).status_code == 200


async def test_a_client_that_hangs_up_is_not_waited_for(clerks: Office) -> None:
    pressure = clerks.world.edge.pressure
    waiting = asyncio.create_task(clerks.ask("clerk", "slow", gate="g"))
    await clerks.until_heard("slow")  # not earlier: what has not arrived when its sender goes is never sent on
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async def nobody_waits() -> bool:
        return (pressure.in_hand, pressure.waiting) == (0, 0)

    await until(nobody_waits)
    assert clerks.heard() == [("clerk", "slow")]
    clerks.open_gate("g")


async def test_an_edge_that_stops_waits_no_longer(clerks: Office) -> None:
    waiting = asyncio.create_task(clerks.ask("clerk", "slow", gate="g"))
    await clerks.until_heard("slow")
    (server,) = [service for service in clerks.world.running if isinstance(service, Server)]
    clerks.world.running.remove(server)
    await server.stop()
    document = problem(await waiting, 503, "unavailable")
    assert "may still be handled" in document["detail"]
    clerks.open_gate("g")


async def test_the_same_key_waits_once(clerks: Office, client: httpx.AsyncClient) -> None:
    content = {"payload": {"action": "greet", "inputs": {"text": "slow", "gate": "g"}}}
    path, headers = f"{AGENTS}/clerk/message?wait=true", {"idempotency-key": "k"}
    first = asyncio.create_task(client.post(path, json=content, headers=headers))
    await clerks.until_heard("slow")
    problem(await client.post(path, json=content, headers=headers), 409, "conflict")
    clerks.open_gate("g")
    assert (await first).status_code == 200
    assert clerks.heard() == [("clerk", "slow")]


async def test_without_a_registry_nothing_is_sent(bare: World) -> None:
    client = await bare.run_edge()
    document = problem(await client.post(AGENTS, json={"agent_type": "clerk"}), 503, "unavailable")
    assert "registry" in document["detail"]
    assert "nothing was sent" in document["detail"]
    problem(await client.delete(f"{AGENTS}/x"), 503, "unavailable")
    assert (await client.get(AGENTS)).json() == {"items": [], "next": None}
    assert (await client.get(f"{AGENTS}/types")).json() == {"items": [], "faults": []}
