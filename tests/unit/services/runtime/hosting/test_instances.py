"""Instances of a host: run, given up and run again as the registry says, however often it says so."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contracts import topology
from contracts.agents import AgentStatus
from contracts.hosts import AgentTaken, HostAnnounced
from contracts.topology import QueueKind
from services.runtime.hosting.instances import LONGEST_STANDBY, standby_delay
from tests.support.buses import direct_world
from tests.support.host_world import Clerk, HostWorld, host_world


@pytest.fixture
async def hosts() -> AsyncIterator[HostWorld]:
    world = direct_world()
    async with host_world(world) as hosts:
        yield hosts
    await world.close()


async def test_an_instance_works_by_its_own_configuration_beside_the_default_agent(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host, config={"desk": 7})
    await hosts.step("x", "amy")
    await hosts.step("x")
    results = await hosts.results_of(2)
    assert {result.agent_id: result.output["text"] for result in results} == {
        hosts.id_of("amy"): "amy: x at desk 7",
        hosts.agent_type: f"{hosts.agent_type}: x at desk 0",
    }
    (taken,) = hosts.taken("amy")
    assert (taken.ok, taken.capabilities) == (True, ("write",))
    await hosts.until_state(host, "amy", AgentStatus.IDLE)


async def test_saying_it_twice_changes_nothing_and_is_answered_again(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host)
    await hosts.run("amy", host)
    assert [one.ok for one in hosts.taken("amy")] == [True, True]
    assert hosts.office.who_did("stopped") == []
    await hosts.assign(host, stop=("amy",))
    await hosts.until(lambda: len(hosts.released("amy")) == 1)
    await hosts.assign(host, stop=("amy", "nobody"))
    await hosts.until(lambda: len(hosts.released("amy")) == 2 and len(hosts.released("nobody")) == 1)
    assert hosts.office.who_did("stopped") == ["amy@h1"]


async def test_another_configuration_is_another_agent(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host, config={"desk": 1})
    await hosts.run("amy", host, config={"desk": 2})
    assert (await hosts.ask("amy", {"action": "write", "inputs": {"text": "x"}})).body == {"text": "amy: x at desk 2"}
    assert hosts.office.who_did("stopped") == ["amy@h1"]


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        ({"desk": "none"}, "config.desk", "valid integer"),
        ({"safe": "open"}, "config.safe", "is set by its service"),
        ({"refuses_to_start": True}, "config", "the desk is locked"),
    ],
)
async def test_an_instance_that_cannot_start_is_in_error_and_says_why(
    hosts: HostWorld, config: dict[str, object], path: str, words: str
) -> None:
    host = await hosts.host()
    await hosts.run("amy", host, config=config)
    (taken,) = hosts.taken("amy")
    assert not taken.ok
    assert [fault.path for fault in taken.faults] == [path]
    assert words in taken.faults[0].message
    assert words in taken.error
    await hosts.until_state(host, "amy", AgentStatus.ERROR)
    state = hosts.state(host, "amy")
    assert state is not None
    assert words in state.error
    await hosts.assign(host, stop=("amy",))
    await hosts.until(lambda: len(hosts.released("amy")) == 1)
    await hosts.until_state(host, "amy", None)


async def test_what_could_not_start_is_tried_again_when_it_is_assigned_again(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.run("amy", host, config={"refuses_to_start": True})
    await hosts.office.close("h1")  # the desk is not locked any more
    await hosts.run("amy", host, config={"refuses_to_start": True})
    assert [one.ok for one in hosts.taken("amy")] == [False, True]
    await hosts.until_state(host, "amy", AgentStatus.IDLE)


async def test_a_start_without_end_is_an_error(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits(self: Clerk) -> None:
        if self.name == "amy":
            await self.office.note(self.me, "starting")

    monkeypatch.setattr(Clerk, "on_start", waits)
    await hosts.office.close("starting")
    host = await hosts.host(agent_timeout=0.1)
    await hosts.run("amy", host)
    assert [(one.ok, one.error) for one in hosts.taken("amy")] == [(False, "it did not start within 0.1 s")]


async def test_an_instance_of_another_type_is_refused(hosts: HostWorld) -> None:
    host = await hosts.host()
    spec = hosts.spec("amy").model_copy(update={"agent_type": "painter"})
    await hosts.assign(host, spec)
    await hosts.until(lambda: len(hosts.taken("amy")) == 1)
    assert "no agents of type 'painter'" in hosts.taken("amy")[0].error


async def test_a_queue_that_exists_with_other_settings_is_an_error(hosts: HostWorld) -> None:
    host = await hosts.host()
    spec = hosts.spec("amy")
    queue = topology.agent_queue(spec.agent_type, spec.agent_id)
    await hosts.bus.declare(replace(queue, kind=QueueKind.WORK))
    await hosts.run("amy", host)
    (taken,) = hosts.taken("amy")
    assert not taken.ok
    assert "exists with" in taken.error
    assert hosts.office.who_did("stopped") == ["amy@h1"]
    await hosts.until_state(host, "amy", AgentStatus.ERROR)


async def test_given_up_while_it_still_starts(hosts: HostWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits(self: Clerk) -> None:
        if self.name == "amy":
            await self.office.note(self.me, "starting")

    monkeypatch.setattr(Clerk, "on_start", waits)
    host = await hosts.host()
    await hosts.office.close("starting")
    await hosts.assign(host, hosts.spec("amy"))
    await hosts.office.until(lambda done: len(done) == 1)
    await hosts.until_state(host, "amy", AgentStatus.STARTING)
    await hosts.assign(host, stop=("amy",))
    await hosts.until_state(host, "amy", AgentStatus.STOPPING)
    await hosts.office.open("starting")
    await hosts.until(lambda: len(hosts.released("amy")) == 1)
    assert hosts.office.who_did("stopped") == ["amy@h1"]


async def test_an_agent_has_a_queue_before_anybody_hears_that_it_runs(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.assign(host, hosts.spec("amy"))
    await hosts.until(lambda: bool(hosts.of(AgentTaken)))
    await hosts.mail("amy", {"text": "first"}, "note")  # would be unroutable
    await hosts.office.until(lambda done: done == [("amy@h1", "first")])


async def test_a_host_announces_itself_when_it_is_asked(hosts: HostWorld) -> None:
    host = await hosts.host()
    await hosts.assign(host, announce=True)
    await hosts.until(lambda: len(hosts.of(HostAnnounced)) == 2)
    first, second = hosts.of(HostAnnounced)
    assert first == second
    assert [descriptor.agent_type for descriptor in first.descriptors] == [hosts.agent_type]
    assert first.descriptors[0].message_types == ("fails", "nan", "note")


async def test_a_command_from_quarantine_runs_by_its_instances_configuration(hosts: HostWorld) -> None:
    """Of an instance that the host does not run yet it waits for the assignment; of one that nobody runs it fails."""
    host = await hosts.host(agent_heartbeat=0.5)
    await hosts.step("x", "ghost", quarantine=True)
    (ghost,) = await hosts.results_of(1)
    assert ghost.error is not None
    assert (ghost.ok, ghost.error.type, ghost.error.retryable) == (False, "UnknownAgent", True)
    await hosts.step("x", "amy", quarantine=True, timeout=0.01)
    await hosts.run("amy", host)
    results = await hosts.results_of(2)
    assert results[-1].agent_id == hosts.id_of("amy")


def test_hosts_wait_differently_for_different_instances() -> None:
    delays = [[standby_delay(f"h{host}", f"a{agent}") for host in range(3)] for agent in range(60)]
    assert all(0 <= delay <= LONGEST_STANDBY for row in delays for delay in row)
    first = [row.index(min(row)) for row in delays]
    assert min(first.count(host) for host in range(3)) >= 10
