"""A registry that starts over a bus of its own process: no host of an earlier process is alive."""

import time
from collections.abc import AsyncIterator

import pytest

from contracts.agents import AgentDescriptor, AgentRecord, AgentStatus
from contracts.hosts import HostAnnounced, PluginFault
from services.edge.agent_types import types_of
from services.runtime.known_types import known_types
from services.runtime.settings import Protocol
from services.runtime.store.base import Host, StoreUnavailable
from tests.support.registry_world import RegistryWorld, registry_world

FAULT = PluginFault(plugin="typo", source="typo.py", error="no", traceback="")


@pytest.fixture
async def world() -> AsyncIterator[RegistryWorld]:
    """Two hosts that an earlier process left behind: one of clerks, and one that could load nothing."""
    async with registry_world() as world:
        clerks = (AgentDescriptor(agent_type="clerk"),)
        for host_id, descriptors in (("old", clerks), ("empty", ())):
            announced = HostAnnounced(
                host_id=host_id, service="s", descriptors=descriptors, faults=(FAULT,), heartbeat_seconds=600
            )
            await world.store.put_host(Host(announced, time.time() - 1, available=True))
        ann = {"agent_id": "ann", "agent_type": "clerk", "created_at": 1.0}
        await world.store.add_agent(AgentRecord(**ann, status=AgentStatus.IDLE, hosts=("old",)))
        yield world


async def available(world: RegistryWorld) -> list[str]:
    return [host.announced.host_id for host in await world.store.list_hosts() if host.available]


async def test_hosts_of_earlier_processes_are_gone_and_their_types_known(world: RegistryWorld) -> None:
    await world.registry(communication_protocol=Protocol.DIRECT)

    async def all_gone() -> bool:
        return not await available(world)

    await world.until(all_gone)
    await world.until_status("ann", AgentStatus.UNAVAILABLE)
    hosts = await world.store.list_hosts()
    assert [(host.announced.host_id, host.stopped) for host in hosts] == [("empty", True), ("old", True)]
    assert list(known_types(hosts, time.time())) == ["clerk"]
    shown = types_of(hosts)
    assert ([(one.agent_type, one.status) for one in shown.items], shown.faults) == ([("clerk", "unavailable")], [])


async def test_a_store_that_is_away_is_waited_for_and_hosts_of_this_process_stay(world: RegistryWorld) -> None:
    looks: list[str] = []

    async def away_at_first(operation: str, moment: str) -> None:
        if (operation, moment) == ("list_hosts", "before"):
            looks.append(operation)
            if len(looks) == 1:
                raise StoreUnavailable("away")

    world.store.hook = away_at_first
    await world.registry(communication_protocol=Protocol.DIRECT)
    await world.told_host("new")

    async def only_the_new() -> bool:
        return await available(world) == ["new"]

    await world.until(only_the_new)
    assert len(looks) >= 2


async def test_over_a_broker_hosts_outlive_the_registry(world: RegistryWorld) -> None:
    await world.registry()
    await world.told_host("new")

    async def announced() -> bool:
        return "new" in await available(world)

    await world.until(announced)
    assert await available(world) == ["empty", "new", "old"]
