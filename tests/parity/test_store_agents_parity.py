"""What every store must do with hosts and agents, over the store in memory, MongoDB's protocol and PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.agents import AgentDescriptor, AgentLimits, AgentRecord, AgentStatus, Capability, CapabilityLimits
from contracts.hosts import HostAnnounced, PluginFault
from contracts.registry import AgentFilter
from services.runtime.store.base import BadCursor, HeaderFilter, Host, Page, Store, Unstorable
from services.runtime.store.documents import MAX_TEXT_BYTES
from tests.support.stores import ENCRYPTED_IN_MEMORY, STORES, opened_store

STARTING, IDLE, ERROR = AgentStatus.STARTING, AgentStatus.IDLE, AgentStatus.ERROR
HARD_TEXT = ["\0", "a\0b", "\\", "\\0", "é'\"%$1{}", "\U0001d11e", "", "x" * 5_000, "x" * 4_999 + "y"]


@pytest.fixture(params=[*STORES, *ENCRYPTED_IN_MEMORY])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with opened_store(request) as store:
        yield store


# ---- hosts


def host(key: str, seen_at: float = 1.0, *, available: bool = True, types: tuple[str, ...] = ("t",)) -> Host:
    schema = {"$schema": "x", "properties": {"a.b": {"const": 2**70}, "\0": {"default": None}}}
    offered = (Capability(name="act", input_schema=schema, output_schema={}),)
    announced = HostAnnounced(
        host_id=key,
        service="s",
        descriptors=tuple(AgentDescriptor(agent_type=name, capabilities=offered) for name in types),
        faults=(PluginFault(plugin="p", source="é\0", error="no", traceback="line\nline"),),
        heartbeat_seconds=0.1,
    )
    return Host(announced, seen_at, available)


async def test_hosts_come_back_as_they_were_by_id(store: Store) -> None:
    hosts = {key: host(key, seen_at) for key, seen_at in [("c", 30.25), ("a-1", 10.0), ("B", 20.0), ("é", 5.0)]}
    for known in hosts.values():
        await store.put_host(known)
    assert await store.list_hosts() == [hosts[key] for key in sorted(hosts)]


async def test_there_may_be_no_host(store: Store) -> None:
    assert await store.list_hosts() == []


async def test_a_host_is_written_over_whatever_it_was(store: Store) -> None:
    await store.put_host(host("a", 20.0, types=("t", "u")))
    await store.put_host(host("a", 10.0, available=False))
    assert await store.list_hosts() == [host("a", 10.0, available=False)]


async def test_a_host_that_said_that_it_ends_stays_told_apart_through_marks(store: Store) -> None:
    ended = replace(host("a", 10.0, available=False), stopped=True)
    await store.put_host(ended)
    await store.put_host(host("b", 10.0, available=False))
    assert await store.list_hosts() == [ended, host("b", 10.0, available=False)]
    await store.mark_host("a", 11.0, available=False)
    assert await store.list_hosts() == [replace(ended, seen_at=11.0), host("b", 10.0, available=False)]
    await store.put_host(host("a", 12.0))
    assert (await store.list_hosts())[0] == host("a", 12.0)


async def test_a_mark_changes_when_a_host_was_heard_of_and_whether_it_is_there(store: Store) -> None:
    await store.put_host(host("a", 10.0, types=("t", "u")))
    await store.put_host(host("b", 10.0))
    assert await store.mark_host("a", 20.5, available=False) is True
    assert await store.list_hosts() == [host("a", 20.5, available=False, types=("t", "u")), host("b", 10.0)]
    assert await store.mark_host("a", 20.5, available=False) is True
    assert await store.mark_host("a", 15.0, available=True) is True
    assert await store.list_hosts() == [host("a", 15.0, types=("t", "u")), host("b", 10.0)]


async def test_a_host_that_is_not_there_is_neither_marked_nor_made(store: Store) -> None:
    await store.put_host(host("a"))
    assert await store.mark_host("b", 2.0, available=True) is False
    assert await store.list_hosts() == [host("a")]


async def test_a_deleted_host_is_gone(store: Store) -> None:
    await store.put_host(host("a"))
    await store.put_host(host("b"))
    assert await store.delete_host("a") is True
    assert await store.delete_host("a") is False
    assert await store.list_hosts() == [host("b")]


async def test_many_writers_of_one_host_at_once_all_succeed_and_one_of_them_stays(store: Store) -> None:
    for turn in range(5):
        written = [host(f"h{turn}", float(i), types=(f"t{i}",)) for i in range(8)]
        await asyncio.gather(*map(store.put_host, written))
        assert (await store.list_hosts())[turn] in written
    assert len(await store.list_hosts()) == 5


async def test_a_host_too_large_is_refused_by_name(store: Store) -> None:
    with pytest.raises(Unstorable, match=r"host a is .* bytes of JSON; the limit is 16,760,832"):
        await store.put_host(host("a", types=("x" * MAX_TEXT_BYTES,)))
    assert await store.list_hosts() == []


# ---- agents


def agent(agent_id: str, agent_type: str = "t", **fields: Any) -> AgentRecord:
    return AgentRecord(**{"agent_id": agent_id, "agent_type": agent_type, "created_at": 1.0, **fields})


def ids(agents: list[AgentRecord]) -> list[str]:
    return [found.agent_id for found in agents]


async def all_pages(store: Store, filter: AgentFilter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        agents, cursor = await store.list_agents(filter, Page(limit, cursor))
        assert not set(ids(agents)) & set(found), "a page shows what an earlier one showed"
        found += ids(agents)
        if cursor is None:
            return found
        assert len(agents) == limit


async def test_an_agent_comes_back_as_it_was(store: Store) -> None:
    written = agent(
        "a",
        config={"none": None, "big": 2**70, "$set": {"a.b": [1, 1.0, -0.0]}, "\0": "\0é"},
        limits=AgentLimits(concurrency=3, capabilities={"act": CapabilityLimits(rate=0.5)}),
        capabilities=("act", "é\0"),
        status=ERROR,
        hosts=("h1", "h2"),
        created_at=1_763_800_000.123456,
        request_id="r",
        error="no\0",
    )
    assert await store.add_agent(written) is True
    found = await store.get_agent("a")
    assert found == written
    assert found is not None
    assert found.model_dump_json() == written.model_dump_json()
    assert await store.list_agents(AgentFilter(), Page()) == ([written], None)


async def test_an_agent_id_is_taken_once(store: Store) -> None:
    first = agent("a", config={"n": 1})
    assert await store.add_agent(first) is True
    assert await store.add_agent(agent("a", "other", config={"n": 2})) is False
    assert await store.get_agent("a") == first
    assert await store.get_agent("A") is None


async def test_of_many_that_take_an_id_at_once_exactly_one_has_it(store: Store) -> None:
    for turn in range(10):
        written = [agent(f"a{turn}", request_id=f"r{i}") for i in range(8)]
        taken = await asyncio.gather(*map(store.add_agent, written))
        assert sum(taken) == 1
        assert await store.get_agent(f"a{turn}") == written[taken.index(True)]


async def test_an_agent_is_written_over_and_nothing_of_before_is_left(store: Store) -> None:
    await store.add_agent(agent("a", capabilities=("act", "rest"), hosts=("h",), error="no", config={"x": 1}))
    later = agent("a", status=IDLE, capabilities=("act",), hosts=("g",))
    assert await store.write_agent(later) is True
    assert await store.write_agent(later) is True
    assert await store.get_agent("a") == later


async def test_an_agent_that_is_not_there_is_neither_written_nor_made(store: Store) -> None:
    assert await store.write_agent(agent("a")) is False
    assert await store.get_agent("a") is None
    assert await store.list_agents(AgentFilter(), Page()) == ([], None)


async def test_a_deleted_agent_is_gone_and_its_id_free(store: Store) -> None:
    await store.add_agent(agent("a", capabilities=("act",)))
    assert await store.delete_agent("a") is True
    assert await store.delete_agent("a") is False
    assert await store.get_agent("a") is None
    assert await store.list_agents(AgentFilter(capability="act"), Page()) == ([], None)
    assert await store.write_agent(agent("a")) is False
    assert await store.add_agent(agent("a", "u")) is True


async def test_agents_are_counted_without_default_ones(store: Store) -> None:
    assert await store.count_agents() == 0
    for i in range(5):
        await store.add_agent(agent(f"a{i}", f"t{i % 2}"))
    for name in ("t0", "t1", "t2"):
        await store.add_agent(agent(name, name, default=True))
    assert await store.count_agents() == 5
    await store.write_agent(agent("a0", "t0", status=IDLE))
    await store.delete_agent("a1")
    await store.delete_agent("t2")
    assert await store.count_agents() == 4


# ---- lists of agents


async def many_agents(store: Store) -> list[AgentRecord]:
    """In no order: of three types, of all states, with none to three capabilities."""
    states = list(AgentStatus)
    agents = [
        agent(
            f"{'aAz_'[i % 4]}{i:03d}",
            f"t{i % 3}",
            status=states[i % len(states)],
            capabilities=tuple(f"c{k}" for k in range(i % 4)),
            default=i % 10 == 0,
        )
        for i in range(150)
    ]
    shuffled = random.Random(2).sample(agents, len(agents))
    await asyncio.gather(*map(store.add_agent, shuffled))
    return agents


FILTERS = {
    "all": AgentFilter(),
    "type": AgentFilter(agent_type="t1"),
    "no such type": AgentFilter(agent_type="t"),
    "capability": AgentFilter(capability="c1"),
    "no such capability": AgentFilter(capability="c"),
    "status": AgentFilter(statuses=(IDLE,)),
    "statuses": AgentFilter(statuses=(ERROR, IDLE, STARTING, IDLE)),
    "no status": AgentFilter(statuses=()),
    "ids": AgentFilter(agent_ids=("z002", "a000", "missing", "A001", "a000", "\0")),
    "no ids": AgentFilter(agent_ids=()),
    "many ids": AgentFilter(agent_ids=tuple(f"{'aAz_'[i % 4]}{i:03d}" for i in reversed(range(10, 400)))),
    "everything": AgentFilter(
        agent_type="t1",
        capability="c0",
        statuses=(IDLE, ERROR),
        agent_ids=tuple(f"{'aAz_'[i % 4]}{i:03d}" for i in range(140)),
    ),
}


@pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS.keys())
async def test_agents_are_filtered_and_by_id_in_pages_of_any_size(store: Store, filter: AgentFilter) -> None:
    expected = sorted(
        found.agent_id
        for found in await many_agents(store)
        if (filter.agent_type is None or found.agent_type == filter.agent_type)
        and (filter.capability is None or filter.capability in found.capabilities)
        and (filter.statuses is None or found.status in filter.statuses)
        and (filter.agent_ids is None or found.agent_id in filter.agent_ids)
    )
    for limit in (7, 50, 150):
        assert await all_pages(store, filter, limit) == expected


async def test_a_filter_finds_an_agent_as_it_was_written_last(store: Store) -> None:
    await store.add_agent(agent("a", capabilities=("one", "two")))
    await store.write_agent(agent("a", "u", status=IDLE, capabilities=("two", "three")))

    async def found(**fields: Any) -> list[str]:
        return ids((await store.list_agents(AgentFilter(**fields), Page()))[0])

    for gone in ({"agent_type": "t"}, {"capability": "one"}, {"statuses": (STARTING,)}):
        assert await found(**gone) == []
    for now in ({"agent_type": "u"}, {"capability": "two"}, {"capability": "three"}, {"statuses": (IDLE, ERROR)}):
        assert await found(**now) == ["a"]


async def test_any_text_may_name_a_capability(store: Store) -> None:
    for i, name in enumerate(HARD_TEXT):
        await store.add_agent(agent(f"a{i}", capabilities=(name, "every")))
    for i, name in enumerate(HARD_TEXT):
        assert ids((await store.list_agents(AgentFilter(capability=name), Page()))[0]) == [f"a{i}"]
    assert len(await all_pages(store, AgentFilter(capability="every"), 2)) == len(HARD_TEXT)


async def test_a_page_is_not_moved_by_agents_that_come_and_go_meanwhile(store: Store) -> None:
    for i in range(10):
        await store.add_agent(agent(f"a{i}"))
    first, cursor = await store.list_agents(AgentFilter(), Page(4))
    await store.delete_agent("a3")
    await store.delete_agent("a5")
    await store.add_agent(agent("a0b"))
    await store.add_agent(agent("a7b"))
    second, end = await store.list_agents(AgentFilter(), Page(20, cursor))
    assert (ids(first), ids(second)) == (["a0", "a1", "a2", "a3"], ["a4", "a6", "a7", "a7b", "a8", "a9"])
    assert end is None


@pytest.mark.parametrize("text", ["", "x", "!", "WzEsMiwzXQ", "é", "a" * 10_000])
async def test_a_text_that_is_no_cursor_of_agents_is_refused(store: Store, text: str) -> None:
    for filter in (AgentFilter(), AgentFilter(agent_ids=("a",)), AgentFilter(agent_ids=())):
        with pytest.raises(BadCursor, match="is not a cursor of agents"):
            await store.list_agents(filter, Page(10, text))


async def test_a_cursor_of_agents_is_none_of_another_list(store: Store) -> None:
    for i in range(3):
        await store.add_agent(agent(f"a{i}"))
    _, cursor = await store.list_agents(AgentFilter(), Page(1))
    assert cursor is not None
    with pytest.raises(BadCursor):
        await store.list_headers(HeaderFilter(), Page(1, cursor))


async def test_an_agent_too_large_is_refused_by_name_and_leaves_the_one_before(store: Store) -> None:
    large = agent("a", config={"x": "x" * MAX_TEXT_BYTES})
    with pytest.raises(Unstorable, match=r"agent a is .* bytes of JSON; the limit is 16,760,832"):
        await store.add_agent(large)
    assert await store.count_agents() == 0
    await store.add_agent(agent("a"))
    with pytest.raises(Unstorable, match="agent a is"):
        await store.write_agent(large)
    assert await store.get_agent("a") == agent("a")
