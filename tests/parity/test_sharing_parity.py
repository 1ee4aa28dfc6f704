"""Several hosts of one agent type share its work evenly over every bus, and one that is stuck holds back only what it
works on."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.support.buses import World
from tests.support.host_world import HostWorld, host_world

OWN_NAMES = False

CONCURRENCY = 4


@pytest.fixture
async def hosts(world: World) -> AsyncIterator[HostWorld]:
    async with host_world(world) as hosts:
        yield hosts


def by_host(hosts: HostWorld) -> Counter[str]:
    return Counter(who.partition("@")[2] for who, _ in hosts.office.done)


async def test_concurrent_agent_execution(hosts: HostWorld) -> None:
    """Hosts work side by side, each on as many steps as its concurrency allows and no more, and share them evenly."""
    for _ in range(2):
        await hosts.host(agent_concurrency=CONCURRENCY)
    await hosts.office.close("wait")
    for _ in range(4 * CONCURRENCY):
        await hosts.step("wait")
    await hosts.office.until(lambda done: len(done) == 2 * CONCURRENCY)
    await asyncio.sleep(0.2)  # nothing more begins
    assert by_host(hosts) == {"h1": CONCURRENCY, "h2": CONCURRENCY}
    await hosts.office.open("wait")
    results = await hosts.results_of(4 * CONCURRENCY)
    assert len({result.execution_id for result in results}) == 4 * CONCURRENCY
    assert {(result.ok, result.agent_id) for result in results} == {(True, hosts.agent_type)}


async def test_a_host_that_is_stuck_does_not_hold_back_the_rest(hosts: HostWorld) -> None:
    for _ in range(2):
        await hosts.host(agent_concurrency=CONCURRENCY)
    stuck = f"{hosts.agent_type}@h1"
    await hosts.office.close(stuck)
    count = 60
    for number in range(count):
        await hosts.step(f"s{number}")
    await hosts.office.until(lambda done: len(done) == count)
    begun = by_host(hosts)
    assert 1 <= begun["h1"] <= CONCURRENCY, "it took none, or more than it can work on"
    assert begun.total() == count
    assert len(await hosts.results_of(count - begun["h1"])) == count - begun["h1"]
    await hosts.office.open(stuck)
    assert len(await hosts.results_of(count)) == count


async def test_an_instance_is_in_one_place_however_many_hosts_stand_by(hosts: HostWorld) -> None:
    both = [await hosts.host() for _ in range(2)]
    names = [f"clerk{number}" for number in range(6)]
    for name in names:
        await hosts.run(name, *both)
    for text in ("a", "b", "c"):
        for name in names:
            assert (await hosts.ask(name, {"text": text}, "note")).body is not None
    places = {
        name: {who.partition("@")[2] for who, _ in hosts.office.done if who.startswith(f"{name}@")} for name in names
    }
    assert [len(found) for found in places.values()] == [1] * len(names)


async def test_limits_of_an_instance_hold_over_its_whole_work(hosts: HostWorld) -> None:
    both = [await hosts.host() for _ in range(2)]
    await hosts.run("amy", *both, limits={"concurrency": 2})
    await hosts.office.close("wait")
    for _ in range(4):
        await hosts.step("wait", "amy")
        await hosts.mail("amy", {"action": "write", "inputs": {"text": "wait"}})
    await hosts.office.until(lambda done: len(done) == 2)
    await asyncio.sleep(0.2)
    assert len(hosts.office.done) == 2
    await hosts.office.open("wait")
    await hosts.results_of(4)
    await hosts.office.until(lambda done: len(done) == 8)
