"""What hosts claim and the policy does not grant is left out, said so, and of no use to anybody."""

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from contracts.agents import AgentDescriptor, AgentRecord, AgentStatus, Capability
from contracts.envelope import wrap
from contracts.hosts import AgentTaken, HostAnnounced, PluginFault
from contracts.registry import AgentCreated, AgentFilter, AgentMail, BroadcastMail, BroadcastSent, CreateAgent
from services.edge.agent_types import types_of
from services.registry.finding import Finding
from services.registry.granting import granted
from services.registry.ledger import Ledger
from services.runtime.envelope_codec import Outgoing
from services.runtime.security.policy import AgentPolicy, BadPolicy, Grants
from services.runtime.security.principal import Principal, SenderKind
from services.runtime.service import Received
from services.runtime.store.base import Host
from tests.support.memory_store import MemoryStore
from tests.support.registry_world import RegistryWorld, registry_world

POLICY = AgentPolicy(
    source="the test's policy",
    agents={"clerk": Grants(capabilities=("write", "read_*")), "quiet": Grants(), "*": Grants()},
)
BROKEN = PluginFault(plugin="typo", source="typo.py", error="no")


def descriptor(agent_type: str, *names: str) -> AgentDescriptor:
    capabilities = tuple(Capability(name=name, input_schema={}, output_schema={}) for name in names)
    return AgentDescriptor(agent_type=agent_type, capabilities=capabilities)


def announcement(*descriptors: AgentDescriptor, host_id: str = "h1") -> HostAnnounced:
    return HostAnnounced(host_id=host_id, service="s", descriptors=descriptors, faults=(BROKEN,), heartbeat_seconds=60)


# ---- the decision


def test_what_is_granted_in_full_is_left_as_it_is() -> None:
    said = announcement(descriptor("clerk", "write", "read_all"), descriptor("quiet"))
    assert granted(said, POLICY) == (said, ())


def test_a_capability_that_is_claimed_is_left_out_and_named() -> None:
    kept, faults = granted(announcement(descriptor("clerk", "write", "sign", "read_all", "pay")), POLICY)
    assert [one.name for one in kept.descriptors[0].capabilities] == ["write", "read_all"]
    assert kept.faults == (BROKEN, *faults)
    assert [(fault.plugin, fault.source) for fault in faults] == [("clerk", "the test's policy")] * 2
    assert ["'sign'" in faults[0].error, "'pay'" in faults[1].error] == [True, True]


def test_a_type_that_is_granted_nothing_is_a_fault_and_no_type() -> None:
    kept, faults = granted(announcement(descriptor("tamer", "tame"), descriptor("clerk", "write")), POLICY)
    assert [one.agent_type for one in kept.descriptors] == ["clerk"]
    assert [fault.plugin for fault in faults] == ["tamer"]
    assert "[agents.tamer]" in faults[0].error


def test_a_type_with_an_entry_that_grants_it_no_capability_is_there_without_any() -> None:
    kept, faults = granted(announcement(descriptor("quiet", "shout")), POLICY)
    assert (kept.descriptors, len(faults)) == ((descriptor("quiet"),), 1)


# ---- the registry


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RegistryWorld]:
    path = tmp_path / "policy.toml"
    path.write_text('[agents.clerk]\ncapabilities = ["write"]\n', encoding="utf-8")
    async with registry_world(agent_policy=path) as world:
        await world.registry()
        yield world


async def known(world: RegistryWorld, host_id: str) -> None:
    async def there() -> bool:
        return host_id in [host.announced.host_id for host in await world.store.list_hosts()]

    await world.until(there)


async def test_types_that_are_not_granted_cannot_be_created_found_or_used(world: RegistryWorld) -> None:
    await world.say(announcement(descriptor("tamer", "tame"), descriptor("clerk", "write", "sign")))
    await known(world, "h1")
    shown = types_of(await world.store.list_hosts())
    assert [(one.agent_type, [each.name for each in one.capabilities]) for one in shown.items] == [("clerk", ["write"])]
    assert [(fault.plugin, fault.host_id) for fault in shown.faults] == [
        ("typo", "h1"),
        ("tamer", "h1"),
        ("clerk", "h1"),
    ]
    assert await world.store.get_agent("tamer") is None
    clerk = await world.store.get_agent("clerk")
    assert clerk is not None
    assert clerk.capabilities == ("write",)
    await world.refused(CreateAgent(agent_type="tamer", agent_id="tim"), "invalid")


async def test_a_host_cannot_give_an_agent_more_than_is_granted(world: RegistryWorld) -> None:
    host = await world.told_host("h1")
    await known(world, "h1")
    asked = world.asked(CreateAgent(agent_type="clerk", agent_id="ann"), AgentCreated)
    await host.until_told_to_run("ann")
    await world.say(AgentTaken(host_id="h1", agent_id="ann", ok=True, capabilities=("write", "sign")))
    assert (await asked).agent.capabilities == ("write",)


async def test_a_host_without_the_type_cannot_take_an_agent_or_refuse_it(world: RegistryWorld) -> None:
    host = await world.told_host("h1")
    await known(world, "h1")
    await world.say(announcement(host_id="thief"))
    await known(world, "thief")
    asked = world.asked(CreateAgent(agent_type="clerk", agent_id="ann"), AgentCreated)
    await host.until_told_to_run("ann")
    for thief in ("thief", "nobody"):
        await world.say(AgentTaken(host_id=thief, agent_id="ann", ok=False, error="I say no"))
        await world.say(AgentTaken(host_id=thief, agent_id="ann", ok=True, capabilities=("write",)))
    await host.take("ann")
    assert (await asked).agent.hosts == ("h1",)


async def test_a_policy_that_cannot_be_read_stops_the_registry_at_its_start(tmp_path: Path) -> None:
    async with registry_world(agent_policy=tmp_path / "absent.toml") as world:
        with pytest.raises(BadPolicy, match=r"absent\.toml: cannot be read"):
            await world.registry()


async def test_what_a_new_policy_takes_back_is_gone_once_its_registry_runs(tmp_path: Path) -> None:
    """The hosts had announced themselves under an earlier policy; one of them is silent."""
    path = tmp_path / "policy.toml"
    path.write_text('[agents.clerk]\ncapabilities = ["write"]\n', encoding="utf-8")
    async with registry_world(agent_policy=path) as world:
        before = announcement(descriptor("clerk", "write", "sign"), descriptor("tamer", "tame"))
        await world.store.put_host(Host(before, time.time(), available=False))
        signing = AgentRecord(
            agent_id="ann", agent_type="clerk", capabilities=("sign", "write"), created_at=1.0, status=AgentStatus.IDLE
        )
        tamer = AgentRecord(agent_id="tamer", agent_type="tamer", capabilities=("tame",), created_at=1.0, default=True)
        for record in (signing, tamer):
            await world.store.add_agent(record)
        await world.registry()

        async def taken_back() -> bool:
            ann = await world.store.get_agent("ann")
            return ann is not None and ann.capabilities == ("write",) and await world.store.get_agent("tamer") is None

        await world.until(taken_back)
        shown = types_of(await world.store.list_hosts())
        assert [(one.agent_type, len(one.capabilities)) for one in shown.items] == [("clerk", 1)]


async def test_a_host_that_an_earlier_registry_knew_is_asked_once_what_it_offers(world: RegistryWorld) -> None:
    host = await world.told_host("h1")
    await known(world, "h1")
    for service in list(world._services):
        await world.kill(service)
    await world.registry()
    for _ in range(3):
        await host.beat(clerk=AgentStatus.IDLE)
    await host.until_told(lambda one: one.announce)
    await world.say(announcement(descriptor("clerk"), host_id="last"))
    await known(world, "last")
    assert sum(one.announce for one in host.told) == 1


async def test_it_is_logged_once(world: RegistryWorld) -> None:
    with capture_logs() as logs:
        for host_id in ("h1", "h2", "h1"):
            await world.say(announcement(descriptor("clerk", "sign"), host_id=host_id))
        await world.say(announcement(host_id="last"))
        await known(world, "last")
    found = [one for one in logs if one["event"] == "not granted"]
    assert [(one["log_level"], one["agent_type"]) for one in found] == [("error", "clerk")]


# ---- broadcasts of agents


class Letters:
    def __init__(self) -> None:
        self.sent: list[Outgoing[Any]] = []

    async def send(self, outgoing: Any) -> None:
        self.sent += outgoing


class Delivery:
    reply_to = "r"
    redeliveries = 0
    headers: Mapping[str, str] = {}

    def __init__(self, signer: Principal | None) -> None:
        self.signer = signer


@pytest.mark.parametrize(
    ("may", "reached"),
    [
        ((), []),
        (("clerk",), ["ann", "clerk"]),
        (("bob", "clerk"), ["ann", "bob", "clerk"]),
        (("*",), ["ann", "baker", "bob", "clerk"]),
        (None, ["ann", "baker", "bob", "clerk"]),
    ],
)
async def test_a_broadcast_of_an_agent_reaches_only_whom_it_may_message(may: Any, reached: list[str]) -> None:
    store, letters = MemoryStore(), Letters()
    for agent_id, agent_type in (("ann", "clerk"), ("clerk", "clerk"), ("bob", "baker"), ("baker", "baker")):
        await store.add_agent(AgentRecord(agent_id=agent_id, agent_type=agent_type, created_at=1.0))
    outbox: Any = letters
    signer = None if may is None else Principal("x", SenderKind.AGENT, "k", may_message=frozenset(may))
    received: Any = Received(wrap(BroadcastMail(body={}, filter=AgentFilter()), sender="x"), Delivery(signer))  # type: ignore[arg-type]
    (answer,) = await Finding(Ledger(store, outbox), outbox).broadcast(received)
    assert isinstance(answer.message, BroadcastSent)
    assert sorted(answer.message.agent_ids) == reached
    assert sorted(one.message.agent_id for one in letters.sent if isinstance(one.message, AgentMail)) == reached
