"""The registry when it dies in the middle, when there are two of it, and when hosts speak out of turn."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.agents import AgentRecord, AgentStatus
from contracts.envelope import Message
from contracts.execution import Refused
from contracts.registry import AgentCreated, AgentDeleted, AgentFilter, AgentMail, AgentReply, CreateAgent, DeleteAgent
from contracts.workflow import Fault
from services.runtime.store.base import Page, StoreUnavailable
from tests.support.registry_world import RegistryWorld, registry_world


@pytest.fixture
async def world() -> AsyncIterator[RegistryWorld]:
    async with registry_world() as world:
        yield world


def create(agent_id: str = "ann", **fields: Any) -> CreateAgent:
    return CreateAgent(**{"agent_type": "clerk", "agent_id": agent_id, **fields})


async def known(world: RegistryWorld, hosts: int = 1) -> None:
    async def announced() -> bool:
        return len(await world.store.list_hosts()) == hosts

    await world.until(announced)


async def test_a_registry_that_dies_while_a_creation_waits_is_followed_by_one_that_waits_on(
    world: RegistryWorld,
) -> None:
    first = await world.registry()
    host = await world.told_host("h1")
    created = world.asked(create(config={"desk": 1}), AgentCreated)
    assert (await host.until_told_to_run("ann")).config == {"desk": 1}
    await world.kill(first)
    host.told.clear()
    await world.registry()
    await host.until_told_to_run("ann")
    await host.take("ann")
    answer = await created
    assert (answer.agent.status, answer.agent.hosts, answer.repeated) == (AgentStatus.IDLE, ("h1",), False)
    assert await world.store.count_agents() == 1


async def test_a_registry_that_stops_in_good_order_hands_a_waiting_creation_over(world: RegistryWorld) -> None:
    first = await world.registry()
    host = await world.told_host("h1")
    created = world.asked(create(), AgentCreated)
    await host.until_told_to_run("ann")
    await world.registry()
    await first.stop()
    await host.take("ann")
    assert (await created).agent.hosts == ("h1",)


async def test_a_registry_that_dies_while_a_deletion_waits_is_followed_by_one_that_ends_it(
    world: RegistryWorld,
) -> None:
    first = await world.registry()
    await world.host("h1")
    await world.create("ann")
    await world.office.close("slow")
    slow = world.asked(AgentMail(agent_id="ann", body={"text": "slow"}, message_type="note"), AgentReply)
    await world.office.until(lambda done: ("ann@h1", "slow") in done)
    deleted = world.asked(DeleteAgent(agent_id="ann"), AgentDeleted)
    await world.until_status("ann", AgentStatus.STOPPING)
    await world.kill(first)
    await world.registry()
    await world.office.open("slow")
    assert await deleted == AgentDeleted(agent_id="ann")
    assert (await slow).error is None
    assert await world.store.get_agent("ann") is None


@pytest.mark.parametrize("hosts", [(), ("dead",)])
async def test_a_deletion_that_nobody_waits_for_any_more_is_ended_all_the_same(
    world: RegistryWorld, hosts: tuple[str, ...]
) -> None:
    record = AgentRecord(agent_id="ann", agent_type="clerk", created_at=1.0, status=AgentStatus.STOPPING, hosts=hosts)
    await world.store.add_agent(record)
    await world.registry()
    await world.until_gone("ann")


async def test_of_two_registries_one_is_active_and_the_other_takes_over(world: RegistryWorld) -> None:
    registries = [await world.registry(max_agents=30), await world.registry(max_agents=30)]
    await world.host("h1")
    await world.host("h2")
    asked = [world.asked(create(f"ann{number}"), AgentCreated) for number in range(30)]

    async def under_way() -> bool:
        return await world.store.count_agents() >= 10

    await world.until(under_way)
    await world.kill(registries[0])
    answers = await asyncio.gather(*asked)
    assert sorted(answer.agent.agent_id for answer in answers) == sorted(f"ann{number}" for number in range(30))
    assert await world.store.count_agents() == 30
    await world.refused(create("bob"), "limit_reached")
    gone = await asyncio.gather(*(world.ask(DeleteAgent(agent_id=f"ann{n}"), AgentDeleted) for n in range(30)))
    assert sum(one.undelivered for one in gone) == 0
    assert await world.store.count_agents() == 0


async def test_no_more_agents_than_allowed_come_of_many_creations_at_once(world: RegistryWorld) -> None:
    await world.registry(max_agents=5)
    host = await world.told_host("h1")
    await known(world)
    asked = [world.asked(create(f"ann{n}"), Message) for n in range(12)]

    async def full() -> bool:
        return await world.store.count_agents() == 5

    await world.until(full)
    for record in await _agents(world):
        await host.take(record.agent_id)
    answers = await asyncio.gather(*asked)
    assert sum(isinstance(answer, AgentCreated) for answer in answers) == 5
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == ["limit_reached"] * 7


async def test_creations_that_wait_hold_up_nobody(world: RegistryWorld) -> None:
    await world.registry(max_agents=1_000)
    host = await world.told_host("h1")
    await known(world)
    waiting = [world.asked(create(f"ann{number}"), AgentCreated) for number in range(300)]
    await host.until_told_to_run("ann299")
    await host.take("ann299")
    assert (await waiting[299]).agent.agent_id == "ann299"
    assert not any(task.done() for task in waiting[:299])
    for number in range(299):
        await host.take(f"ann{number}")
    assert len(await asyncio.gather(*waiting)) == 300


async def test_an_agent_that_no_host_takes_in_time_starts_later(world: RegistryWorld) -> None:
    await world.registry(agent_timeout=0.1)
    host = await world.told_host("h1")
    await known(world)
    refused = await world.refused(create(), "unavailable")
    assert "it stays 'starting' and starts when a host takes it" in refused.message
    assert (await world.until_status("ann", AgentStatus.STARTING)).hosts == ()
    await host.take("ann")
    assert (await world.until_status("ann", AgentStatus.IDLE)).hosts == ("h1",)


async def test_one_that_nobody_waits_for_and_that_cannot_start_says_why(world: RegistryWorld) -> None:
    await world.registry()
    host = await world.told_host("h1")
    await known(world)
    await world.say(create())
    await host.until_told_to_run("ann")
    await host.refuse("ann", "the desk is locked")
    record = await world.until_status("ann", AgentStatus.ERROR)
    assert record.error == "the desk is locked"
    host.told.clear()
    await host.beat(clerk=AgentStatus.IDLE, ann=AgentStatus.ERROR)
    await host.until_told_to_run("ann")
    await host.take("ann")
    assert (await world.until_status("ann", AgentStatus.IDLE)).error == ""


async def test_one_that_a_host_refuses_is_given_up_by_the_others(world: RegistryWorld) -> None:
    await world.registry()
    first, second = await world.told_host("h1"), await world.told_host("h2")
    await known(world, 2)
    refused = world.asked(create(), Refused)
    await first.until_told_to_run("ann")
    await first.refuse("ann", "", Fault(path="config.desk", code="bad", message="is no number"))
    answer = await refused
    assert (answer.code, [fault.path for fault in answer.faults]) == ("invalid", ["config.desk"])
    await second.until_told_to_stop("ann")
    second.told.clear()
    await second.take("ann")  # it was on its way
    await second.until_told_to_stop("ann")
    await second.release("ann")
    assert await world.store.get_agent("ann") is None


async def test_an_agent_can_be_deleted_before_any_host_has_taken_it(world: RegistryWorld) -> None:
    await world.registry()
    host = await world.told_host("h1")
    await known(world)
    created = world.asked(create(), Refused)
    await host.until_told_to_run("ann")
    assert await world.ask(DeleteAgent(agent_id="ann"), AgentDeleted) == AgentDeleted(agent_id="ann")
    answer = await created
    assert (answer.code, answer.subject) == ("conflict", "ann")
    await host.until_told_to_stop("ann")


async def test_a_deletion_that_takes_too_long_goes_on_after_its_refusal(world: RegistryWorld) -> None:
    await world.registry(agent_timeout=0.1)
    host = await world.told_host("h1")
    await known(world)
    await world.say(create())
    await host.until_told_to_run("ann")
    await host.take("ann")
    await world.until_status("ann", AgentStatus.IDLE)
    refused = await world.refused(DeleteAgent(agent_id="ann"), "unavailable")
    assert "deleted when it is done" in refused.message
    await host.beat(clerk=AgentStatus.IDLE, ann=AgentStatus.STOPPING)
    await world.until_status("ann", AgentStatus.STOPPING)
    await host.beat(clerk=AgentStatus.IDLE)  # it is done; that it was released was not heard
    await world.until_gone("ann")


async def test_hosts_that_are_not_known_are_asked_who_they_are(world: RegistryWorld) -> None:
    await world.registry()
    host = await world.told_host("h1")
    await known(world)
    await world.say(create())
    await host.until_told_to_run("ann")
    await host.take("ann")
    await world.until_status("ann", AgentStatus.IDLE)
    await world.store.delete_host("h1")
    await host.beat(clerk=AgentStatus.IDLE, ann=AgentStatus.IDLE)
    await host.until_told(lambda one: one.announce)
    await host.announce()
    await known(world)
    await host.beat(clerk=AgentStatus.IDLE, ann=AgentStatus.PROCESSING, stranger=AgentStatus.IDLE)
    await host.until_told_to_stop("stranger")
    await world.until_status("ann", AgentStatus.PROCESSING)


async def test_what_hosts_say_while_the_store_is_away_is_said_again_later(world: RegistryWorld) -> None:
    await world.registry()
    host = await world.told_host("h1")
    await known(world)
    failed: list[str] = []

    async def away(operation: str, moment: str) -> None:
        failed.append(operation)
        raise StoreUnavailable("away")

    world.store.hook = away
    await host.beat(clerk=AgentStatus.PROCESSING)
    created = world.asked(create(), AgentCreated)
    await world.until(lambda: _true_of(lambda: {"mark_host", "get_agent"} <= set(failed)))
    world.store.hook = None
    await host.until_told_to_run("ann")
    await host.take("ann")
    assert (await created).agent.hosts == ("h1",)
    await host.beat(clerk=AgentStatus.PROCESSING)
    await world.until_status("clerk", AgentStatus.PROCESSING)


async def _true_of(question: Any) -> bool:
    return bool(question())


async def _agents(world: RegistryWorld) -> list[AgentRecord]:
    found, _ = await world.store.list_agents(AgentFilter(), Page(100))
    return [record for record in found if not record.default]
