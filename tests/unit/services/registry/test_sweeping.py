"""Hosts that go silent, by a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contracts.agents import AgentDescriptor, AgentRecord, AgentState, AgentStatus
from contracts.hosts import HostAnnounced, HostHeartbeat, HostStopped
from contracts.registry import AgentFilter
from services.registry.hearing import Hearing
from services.registry.ledger import Ledger
from services.registry.removing import Removing
from services.registry.sweeping import Sweeping, Ticker
from services.runtime.bus.direct import DirectBus
from services.runtime.bus.direct_broker import DirectBroker
from services.runtime.known_types import KNOWN_FOR
from services.runtime.security.policy import AgentPolicy, Grants
from services.runtime.service import Outbox
from services.runtime.store.base import Page, StoreUnavailable
from tests.support.memory_store import MemoryStore

EVERYTHING = AgentPolicy(agents={"*": Grants(capabilities=("*",))})
BEAT = 4.0
START = 1_000_000.0


class Asked:
    """A message as a handler gets it, with nobody waiting for an answer."""

    def __init__(self, message: Any = None) -> None:
        self.message = message


class Registry:
    """One replica's handlers, called as its queue would."""

    def __init__(self, store: MemoryStore, bus: DirectBus) -> None:
        self.now = START
        self.store = store
        outbox = Outbox(bus, "registry")
        ledger = Ledger(store, outbox, lambda: self.now)
        removing = Removing(ledger, bus, outbox)
        self.hearing = Hearing(ledger, removing, EVERYTHING)
        self.sweeping = Sweeping(ledger, removing, BEAT, EVERYTHING)

    async def announce(self, host_id: str, *types: str) -> None:
        descriptors = tuple(AgentDescriptor(agent_type=kind) for kind in types)
        message = HostAnnounced(host_id=host_id, service="s", descriptors=descriptors, heartbeat_seconds=BEAT)
        await self.hearing.announced(Asked(message))  # type: ignore[arg-type]

    async def beat(self, host_id: str, *agent_ids: str) -> None:
        states = tuple(AgentState(agent_id=agent_id, status=AgentStatus.IDLE) for agent_id in agent_ids)
        await self.hearing.heartbeat(Asked(HostHeartbeat(host_id=host_id, agents=states)))  # type: ignore[arg-type]

    async def end(self, host_id: str) -> None:
        await self.hearing.stopped(Asked(HostStopped(host_id=host_id)))  # type: ignore[arg-type]

    async def pass_time(self, beats: float, *speaking: tuple[str, ...]) -> None:
        """Sweep every quarter of a beat; hosts that speak (an id and what they run) do so at each whole one."""
        for quarter in range(1, round(beats * 4) + 1):
            self.now += BEAT / 4
            if quarter % 4 == 0:
                for host_id, *agent_ids in speaking:
                    await self.beat(host_id, *agent_ids)
            await self.sweep()

    async def sweep(self) -> None:
        await self.sweeping.sweep(Asked())  # type: ignore[arg-type]

    async def statuses(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        found, _ = await self.store.list_agents(AgentFilter(), Page(100))
        return {agent.agent_id: (agent.status.value, agent.hosts) for agent in found}

    async def hosts(self) -> dict[str, bool]:
        return {host.announced.host_id: host.available for host in await self.store.list_hosts()}


@pytest.fixture
async def bus() -> AsyncIterator[DirectBus]:
    bus = DirectBus(DirectBroker())
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def registry(bus: DirectBus) -> Registry:
    """Two hosts of a type, both with its default agent and one instance."""
    registry = Registry(MemoryStore(), bus)
    await registry.sweep()
    ann = AgentRecord(agent_id="ann", agent_type="clerk", created_at=START)
    await registry.store.add_agent(ann)
    for host_id in ("h1", "h2"):
        await registry.announce(host_id, "clerk")
        await registry.beat(host_id, "clerk", "ann")
    assert await registry.statuses() == {"ann": ("idle", ("h1", "h2")), "clerk": ("idle", ("h1", "h2"))}
    return registry


async def test_a_silent_host_is_unavailable_within_two_heartbeats(registry: Registry) -> None:
    speaking = ("h2", "clerk", "ann")
    await registry.pass_time(1.5, speaking)
    assert await registry.hosts() == {"h1": True, "h2": True}
    await registry.pass_time(0.25, speaking)
    assert await registry.hosts() == {"h1": False, "h2": True}
    assert await registry.statuses() == {"ann": ("idle", ("h2",)), "clerk": ("idle", ("h2",))}
    await registry.pass_time(1.75)
    assert await registry.hosts() == {"h1": False, "h2": False}
    assert await registry.statuses() == {"ann": ("unavailable", ()), "clerk": ("unavailable", ())}
    await registry.beat("h1", "clerk", "ann")
    assert await registry.hosts() == {"h1": True, "h2": False}
    assert await registry.statuses() == {"ann": ("idle", ("h1",)), "clerk": ("idle", ("h1",))}


async def test_hosts_that_speak_are_never_marked_and_seldom_looked_at(registry: Registry) -> None:
    everyone = (("h1", "clerk", "ann"), ("h2", "clerk", "ann"))
    reads = registry.store.calls["list_hosts"]
    writes = registry.store.calls["write_agent"]
    await registry.pass_time(40, *everyone)
    assert await registry.hosts() == {"h1": True, "h2": True}
    assert registry.store.calls["list_hosts"] - reads <= 81  # of 160 sweeps
    assert registry.store.calls["write_agent"] == writes


async def test_a_registry_that_has_just_come_gives_hosts_time_to_speak(registry: Registry, bus: DirectBus) -> None:
    later = Registry(registry.store, bus)
    later.now = START + 100 * BEAT
    await later.sweep()
    await later.pass_time(1.5)
    assert await later.hosts() == {"h1": True, "h2": True}
    await later.beat("h2", "clerk", "ann")
    await later.pass_time(0.25)
    assert await later.hosts() == {"h1": False, "h2": True}


async def test_a_registry_that_was_cut_off_gives_hosts_time_to_speak(registry: Registry) -> None:
    await registry.pass_time(1)
    registry.now += 50 * BEAT
    await registry.sweep()
    await registry.pass_time(1.5)
    assert await registry.hosts() == {"h1": True, "h2": True}
    await registry.pass_time(0.25)
    assert await registry.hosts() == {"h1": False, "h2": False}


async def test_a_registry_that_stood_still_reads_what_waits_behind_the_sweep_first(registry: Registry) -> None:
    """For less than a heartbeat: those of the hosts, due meanwhile, are in the queue, behind the sweep."""
    await registry.pass_time(0.75)
    registry.now += 0.9 * BEAT
    await registry.sweep()
    assert await registry.hosts() == {"h1": True, "h2": True}
    await registry.beat("h1", "clerk", "ann")
    await registry.pass_time(1.5, ("h1", "clerk", "ann"))
    assert await registry.hosts() == {"h1": True, "h2": True}
    await registry.pass_time(0.25, ("h1", "clerk", "ann"))
    assert await registry.hosts() == {"h1": True, "h2": False}


async def test_what_another_registry_left_half_done_is_done(registry: Registry, bus: DirectBus) -> None:
    await registry.store.mark_host("h1", START, available=False)
    await registry.store.mark_host("h2", START, available=False)
    later = Registry(registry.store, bus)
    await later.sweep()
    assert await later.statuses() == {"ann": ("unavailable", ()), "clerk": ("unavailable", ())}


async def test_a_host_that_ends_in_good_order_is_gone_at_once(registry: Registry) -> None:
    await registry.end("h1")
    assert await registry.hosts() == {"h2": True}
    assert await registry.statuses() == {"ann": ("idle", ("h2",)), "clerk": ("idle", ("h2",))}
    await registry.end("h2")
    assert await registry.hosts() == {"h2": False}  # the last word on its type
    assert await registry.statuses() == {"ann": ("unavailable", ()), "clerk": ("unavailable", ())}
    await registry.end("h1")
    assert await registry.hosts() == {"h2": False}


async def test_hosts_that_ended_in_good_order_are_kept_until_another_offers_their_types(registry: Registry) -> None:
    await registry.end("h2")
    for number in range(3, 6):  # each restarted after the one before it ended
        await registry.end(f"h{number - 2}" if number == 3 else f"h{number - 1}")
        (last,) = await registry.store.list_hosts()
        assert (last.available, last.stopped, last.silent) == (False, True, False)
        await registry.announce(f"h{number}", "clerk")
        assert await registry.hosts() == {f"h{number}": True}
    await registry.pass_time(2)
    (last,) = await registry.store.list_hosts()
    assert (last.stopped, last.silent) == (False, True)
    await registry.announce("h6", "clerk")
    assert await registry.hosts() == {"h5": False, "h6": True}, "who fell silent may be alive"


async def test_a_type_is_forgotten_a_day_after_its_last_host_and_its_default_agent_with_it(registry: Registry) -> None:
    await registry.end("h1")
    await registry.end("h2")
    registry.now += KNOWN_FOR
    await registry.sweep()
    assert await registry.hosts() == {"h2": False}
    registry.now += 2 * BEAT
    await registry.sweep()
    assert await registry.hosts() == {}
    assert await registry.statuses() == {"ann": ("unavailable", ())}


async def test_an_instance_with_the_name_of_a_type_stays_what_it_is(registry: Registry) -> None:
    await registry.store.add_agent(AgentRecord(agent_id="cook", agent_type="clerk", created_at=START))
    await registry.announce("h3", "cook")
    record = await registry.store.get_agent("cook")
    assert record is not None
    assert (record.agent_type, record.default) == ("clerk", False)


async def test_what_cannot_be_done_now_is_passed_over(registry: Registry) -> None:
    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("away")

    registry.store.hook = away
    await registry.pass_time(3, ("h1", "clerk", "ann"))
    registry.store.hook = None
    for _ in range(6):  # who could not be written down is not silent
        await registry.pass_time(0.25)
        assert await registry.hosts() == {"h1": True, "h2": True}
    await registry.beat("h1", "clerk", "ann")
    await registry.pass_time(0.5)
    assert await registry.hosts() == {"h1": True, "h2": False}


async def test_one_heartbeat_that_could_not_be_written_down_is_no_silence(registry: Registry) -> None:
    async def away(operation: str, moment: str) -> None:
        raise StoreUnavailable("away")

    await registry.pass_time(0.75)
    registry.store.hook = away
    await registry.pass_time(0.25)
    await registry.beat("h1", "clerk", "ann")
    registry.store.hook = None
    await registry.pass_time(1.25)
    assert await registry.hosts() == {"h1": True, "h2": True}


class NotingOutbox:
    def __init__(self) -> None:
        self.sent = asyncio.Event()

    async def send(self, outgoing: object) -> None:
        self.sent.set()


async def test_no_sweep_is_sent_before_the_registry_listens() -> None:
    outbox, listening = NotingOutbox(), asyncio.Event()
    ticker = Ticker(outbox, 0.004, listening)  # type: ignore[arg-type]
    await ticker.start()
    await asyncio.sleep(0.02)
    assert not outbox.sent.is_set()
    listening.set()
    await asyncio.wait_for(outbox.sent.wait(), 10)
    await ticker.stop()
