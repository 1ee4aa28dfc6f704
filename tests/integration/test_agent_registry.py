"""The registry with real hosts: what it promises to whoever creates, finds, tells and deletes agents."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts import topology
from contracts.agents import AgentStatus
from contracts.registry import (
    AgentCreated,
    AgentDeleted,
    AgentFilter,
    AgentMail,
    AgentReply,
    AgentsFound,
    BroadcastMail,
    BroadcastSent,
    CreateAgent,
    DeleteAgent,
    FindAgents,
)
from services.runtime.bus.base import UnroutableMessage
from services.runtime.service import Service
from tests.support.registry_world import RegistryWorld, registry_world


@pytest.fixture
async def world() -> AsyncIterator[RegistryWorld]:
    async with registry_world(max_agents=4) as world:
        await world.registry()
        yield world


def create(agent_id: str | None = "ann", **fields: Any) -> CreateAgent:
    return CreateAgent(**{"agent_type": "clerk", "agent_id": agent_id, **fields})


async def found(world: RegistryWorld, **filter: Any) -> list[str]:
    answer = await world.ask(FindAgents(filter=AgentFilter(**filter)), AgentsFound)
    assert answer.complete
    return [agent.agent_id for agent in answer.agents]


async def answered(world: RegistryWorld, agent_id: str, text: str) -> dict[str, Any] | None:
    mail = AgentMail(agent_id=agent_id, body={"text": text}, message_type="note", sender_id="client")
    return (await world.ask(mail, AgentReply)).body


async def test_agent_registry_operations(world: RegistryWorld) -> None:
    """Create, find, tell, broadcast, delete."""
    await world.host("h1")
    created = await world.ask(create("ann", config={"desk": 3}), AgentCreated)
    assert (created.agent.status, created.agent.config, created.repeated) == (AgentStatus.IDLE, {"desk": 3}, False)
    assert len(created.agent.hosts) == 1
    made = await world.ask(create(None), AgentCreated)
    assert made.agent.agent_id.startswith("clerk-")
    assert await answered(world, "ann", "hello") == {"by": "ann", "from": "client", "retries": 0}

    everyone = ["ann", "clerk", made.agent.agent_id]
    assert await found(world) == everyone
    assert await found(world, agent_type="cook") == []
    assert await found(world, capability="write") == everyone
    assert await found(world, capability="sing") == []
    assert await found(world, agent_ids=("ann", "nobody")) == ["ann"]
    assert await found(world, statuses=(AgentStatus.STARTING,)) == []
    first = await world.ask(FindAgents(limit=1), AgentsFound)
    assert ([agent.agent_id for agent in first.agents], first.complete) == (["ann"], False)

    sent = await world.ask(
        BroadcastMail(body={"text": "all"}, message_type="note", sender_id="ann", filter=AgentFilter()), BroadcastSent
    )
    assert sent.agent_ids == ("clerk", made.agent.agent_id)
    await world.office.until(lambda done: [what for _, what in done].count("all") == 2)

    assert await world.ask(DeleteAgent(agent_id="ann"), AgentDeleted) == AgentDeleted(agent_id="ann")
    assert await found(world) == everyone[1:]
    with pytest.raises(UnroutableMessage):
        await answered(world, "ann", "are you there?")
    await world.refused(DeleteAgent(agent_id="ann"), "not_found")
    again = await world.ask(create("ann", config={"desk": 4}), AgentCreated)
    assert again.agent.config == {"desk": 4}


async def test_what_cannot_be_created_is_refused_with_a_reason(world: RegistryWorld) -> None:
    await world.refused(create(), "invalid")  # nobody has announced any type
    host = await world.host("h1")
    await world.create("ann")
    unknown = await world.refused(create("bob", agent_type="cat"), "invalid")
    assert [fault.path for fault in unknown.faults] == ["agent_type"]
    assert "there are: clerk" in unknown.message
    await world.refused(create("ann"), "already_exists")
    await world.refused(create("clerk"), "already_exists")
    await world.refused(create("any"), "invalid")
    await world.refused(DeleteAgent(agent_id="clerk"), "conflict")
    for number in range(3):
        await world.create(f"bob{number}")
    limit = await world.refused(create("carl"), "limit_reached")
    assert "MAX_AGENTS=4" in limit.message
    await world.ask(DeleteAgent(agent_id="bob0"), AgentDeleted)
    await world.create("carl")
    await world.ask(DeleteAgent(agent_id="bob1"), AgentDeleted)
    await host.stop()
    await world.until_status("clerk", AgentStatus.UNAVAILABLE)
    assert "no host" in (await world.refused(create("dora"), "unavailable")).message
    assert await found(world) == ["ann", "bob2", "carl", "clerk"]


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        ({"desk": "by the window"}, "config.desk", "desk"),
        ({"refuses_to_start": True}, "config", "the desk is locked"),
    ],
)
async def test_an_agent_that_cannot_start_leaves_nothing_behind(
    world: RegistryWorld, config: dict[str, Any], path: str, words: str
) -> None:
    await world.host("h1")
    await world.host("h2")
    refused = await world.refused(create("ann", config=config), "invalid")
    assert [fault.path for fault in refused.faults] == [path]
    assert words in refused.message
    assert await found(world) == ["clerk"]
    with pytest.raises(UnroutableMessage):
        await answered(world, "ann", "are you there?")
    assert (await world.create("ann", config={"desk": 1})).status is AgentStatus.IDLE


async def test_the_same_request_is_the_same_agent(world: RegistryWorld) -> None:
    await world.host("h1")
    first = await world.ask(create(None, request_id="r1"), AgentCreated)
    second = await world.ask(create(None, request_id="r1"), AgentCreated)
    assert (first.repeated, second.repeated) == (False, True)
    assert second.agent.agent_id == first.agent.agent_id
    await world.refused(create(None, request_id="r1", config={"desk": 9}), "conflict")
    there = await world.ask(create(first.agent.agent_id, if_absent=True), AgentCreated)
    assert (there.repeated, there.agent.agent_id) == (True, first.agent.agent_id)
    assert await world.store.count_agents() == 1


async def test_agents_named_in_the_settings_of_several_hosts_are_created_once(world: RegistryWorld) -> None:
    named = {"agent_ids": ("clerk/ann", "clerk/bob")}
    await world.host("h1", **named)
    await world.host("h2", **named)
    for agent_id in ("ann", "bob"):
        await world.until_status(agent_id, AgentStatus.IDLE)
    assert await world.store.count_agents() == 2
    assert await answered(world, "bob", "hello") == {"by": "bob", "from": "client", "retries": 0}


async def both_run(world: RegistryWorld, agent_id: str) -> None:
    async def taken() -> bool:
        record = await world.store.get_agent(agent_id)
        return record is not None and len(record.hosts) == 2

    await world.until(taken)


async def test_agent_failure_recovery(world: RegistryWorld) -> None:
    """An instance goes on when either of its hosts is killed, is unavailable when both are, and comes back."""
    hosts: list[Service] = [await world.host("h1"), await world.host("h2")]
    await world.create("ann", config={"desk": 7})
    await both_run(world, "ann")
    assert await answered(world, "ann", "one") is not None
    await world.kill(hosts[0])
    assert await answered(world, "ann", "two") is not None
    await world.kill(hosts[1])
    gone = await world.until_status("ann", AgentStatus.UNAVAILABLE)
    assert gone.hosts == ()
    await world.until_status("clerk", AgentStatus.UNAVAILABLE)
    assert await found(world, statuses=(AgentStatus.UNAVAILABLE,)) == ["ann", "clerk"]
    assert [host.available for host in await world.store.list_hosts()] == [False, False]
    await world.say(AgentMail(agent_id="ann", body={"text": "three"}, message_type="note"))
    await world.host("h3")
    back = await world.until_status("ann", AgentStatus.IDLE)
    assert (len(back.hosts), back.config) == (1, {"desk": 7})
    await world.office.until(lambda done: ("ann@h3", "three") in done)
    await world.until_status("clerk", AgentStatus.IDLE)


async def test_deleting_lets_work_in_hand_end_and_what_waits_becomes_dead_letters(world: RegistryWorld) -> None:
    await world.host("h1")
    await world.create("ann")
    await world.office.close("slow")
    slow = world.asked(AgentMail(agent_id="ann", body={"text": "slow"}, message_type="note"), AgentReply)
    await world.office.until(lambda done: ("ann@h1", "slow") in done)
    deleted = world.asked(DeleteAgent(agent_id="ann"), AgentDeleted)
    await world.until_status("ann", AgentStatus.STOPPING)
    await world.refused(create("ann"), "conflict")
    sent = await world.ask(BroadcastMail(body={"text": "all"}, message_type="note"), BroadcastSent)
    assert sent.agent_ids == ("clerk",)
    late = world.asked(AgentMail(agent_id="ann", body={"text": "late"}, message_type="note"), AgentReply)
    await world.until(lambda: _waiting(world, "ann"))
    await world.office.open("slow")
    assert (await slow).error is None
    assert await deleted == AgentDeleted(agent_id="ann", undelivered=1)
    reply = await late
    assert (reply.code, reply.body) == ("AgentRemoved", None)
    assert "deleted before it came to this message" in (reply.error or "")
    assert ("ann@h1", "late") not in world.office.done
    await world.until_gone("ann")


async def _waiting(world: RegistryWorld, agent_id: str) -> bool:
    queue = world.broker.declare(topology.agent_queue("clerk", agent_id), world)
    return len(queue) == 1
