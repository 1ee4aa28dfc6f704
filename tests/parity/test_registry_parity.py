"""Creating and deleting agents over every bus: what waits holds up nobody, and is not lost with its registry."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts import topology
from contracts.agents import AgentStatus
from contracts.dead_letters import DeadLetter
from contracts.registry import AgentCreated, AgentDeleted, AgentMail, AgentReply, CreateAgent, DeleteAgent
from services.dead_letters.app import build as build_dead_letters
from services.runtime.settings import Settings
from services.runtime.store.base import DeadLetterFilter, Page
from tests.support.buses import World
from tests.support.registry_world import RegistryWorld, registry_world

OWN_NAMES = False

AGENTS = tuple(f"ann{number}" for number in range(40))


@pytest.fixture
async def registries(world: World) -> AsyncIterator[RegistryWorld]:
    """Their queues are of the whole broker: they are deleted afterwards."""
    world.queues += [
        topology.registry_queue(),
        topology.orchestrator_crashed(),
        topology.agent_type_queue("clerk"),
        topology.agent_quarantine_queue("clerk"),
        *(topology.agent_queue("clerk", agent_id) for agent_id in AGENTS),
    ]
    async with registry_world(world.bus, max_agents=100) as made:
        yield made


def create(agent_id: str) -> CreateAgent:
    return CreateAgent(agent_type="clerk", agent_id=agent_id)


async def test_what_waits_for_a_host_holds_up_nobody_and_outlives_its_registry(registries: RegistryWorld) -> None:
    first = await registries.registry()
    host = await registries.told_host("h1")
    created = {agent_id: registries.asked(create(agent_id), AgentCreated) for agent_id in AGENTS}
    await host.until_told_to_run(AGENTS[-1])
    await host.take(AGENTS[-1])
    assert (await created[AGENTS[-1]]).agent.hosts == ("h1",)
    assert not any(created[agent_id].done() for agent_id in AGENTS[:-1])
    await registries.registry()
    await registries.kill(first)
    for agent_id in AGENTS[:-1]:
        await host.take(agent_id)
    answers = await asyncio.gather(*created.values())
    assert [answer.agent.agent_id for answer in answers] == list(AGENTS)
    assert [answer.repeated for answer in answers] == [False] * len(AGENTS)
    assert await registries.store.count_agents() == len(AGENTS)


async def test_an_agent_with_two_hosts_lives_through_a_death_and_is_deleted_with_its_mail_accounted_for(
    registries: RegistryWorld, world: World
) -> None:
    letters = build_dead_letters(Settings(), world.bus(), registries.store)
    world.queues += [topology.dead_letter_commands(), topology.unstorable_letters()]
    await letters.start()
    await registries.registry()
    hosts = [await registries.host("h1"), await registries.host("h2")]
    await registries.create("ann0")

    async def both() -> bool:
        record = await registries.store.get_agent("ann0")
        return record is not None and len(record.hosts) == 2

    await registries.until(both)
    assert (await registries.ask(mail("one"), AgentReply)).error is None
    await registries.kill(hosts[0])
    assert (await registries.ask(mail("two"), AgentReply)).error is None

    await registries.kill(hosts[1])
    await registries.until_status("ann0", AgentStatus.UNAVAILABLE)
    late = registries.asked(mail("late"), AgentReply)
    await asyncio.sleep(0)
    await registries.say(mail("later"))  # and so both are in the queue of an agent that no host runs
    deleted = await registries.ask(DeleteAgent(agent_id="ann0"), AgentDeleted)
    assert deleted == AgentDeleted(agent_id="ann0", undelivered=2)
    assert (await late).code == "AgentRemoved"

    async def buried() -> list[DeadLetter]:
        found, _ = await registries.store.list_dead_letters(DeadLetterFilter(reason="agent-removed"), Page())
        return found if len(found) == 2 else []

    for letter in await registries.until(buried):
        assert (letter.type, letter.queue) == (AgentMail.TYPE, topology.agent_queue("clerk", "ann0").name)
        assert letter.routing_key == topology.agent_mail("ann0").key
    await letters.stop()


def mail(text: str) -> AgentMail:
    return AgentMail(agent_id="ann0", body={"text": text}, message_type="note")
