from dataclasses import replace
from typing import Any

from contracts.agents import AgentDescriptor, AgentRecord, AgentStatus
from contracts.hosts import HostAnnounced
from contracts.monitoring_health import ActionView, Severity
from services.monitor.agent_health import HostWatch, agent_findings, types_of
from services.runtime.bus.base import QueueFigures
from services.runtime.known_types import KNOWN_FOR
from services.runtime.store.base import Host

NOW = 1_800_000_000.0


def host(host_id: str, *agent_types: str, seen_at: float = NOW, available: bool = True) -> Host:
    descriptors = tuple(AgentDescriptor(agent_type=one) for one in agent_types or ("clerk",))
    said = HostAnnounced(host_id=host_id, service="s", descriptors=descriptors, heartbeat_seconds=5.0)
    return Host(said, seen_at, available)


def agent(agent_id: str, status: AgentStatus = AgentStatus.IDLE, **fields: Any) -> AgentRecord:
    return AgentRecord(agent_id=agent_id, agent_type="clerk", status=status, created_at=NOW, **fields)


def gone(one: Host, seen_at: float = NOW) -> Host:
    return Host(one.announced, seen_at, available=False)


def test_a_type_is_shown_with_its_hosts_agents_and_queue() -> None:
    agents = [
        agent("clerk", default=True),
        agent("ann"),
        agent("bob", AgentStatus.ERROR, error="the desk is locked"),
        agent("cat", AgentStatus.UNAVAILABLE),
    ]
    hosts = [host("h1"), host("h2", available=False, seen_at=NOW - 100), host("h3", "other")]
    measured = {"clerk": QueueFigures(ready=4, unacked=None, consumers=1)}
    clerk, other = types_of(hosts, agents, {}, measured, NOW)
    assert (clerk.agent_type, clerk.hosts_available, clerk.hosts_silent) == ("clerk", 1, 1)
    assert [(one.host_id, one.available) for one in clerk.hosts] == [("h1", True), ("h2", False)]
    assert clerk.statuses == {AgentStatus.IDLE: 2, AgentStatus.ERROR: 1, AgentStatus.UNAVAILABLE: 1}
    assert [(one.agent_id, one.error) for one in clerk.faults] == [("bob", "the desk is locked")]
    assert (clerk.last_heard_at, clerk.consumers, clerk.waiting) == (NOW, 1, 4)
    assert (other.agent_type, other.hosts_available, other.statuses, other.consumers) == ("other", 1, {}, None)


def test_a_type_is_forgotten_a_day_after_its_last_host() -> None:
    old = host("h1", seen_at=NOW - KNOWN_FOR - 1, available=False)
    assert types_of([old], [], {}, {}, NOW) == ()
    (found,) = types_of([gone(old, NOW - KNOWN_FOR + 1)], [], {}, {}, NOW)
    assert found.hosts_available == 0


def test_what_is_wrong_with_a_type() -> None:
    action = ActionView(
        action="write", window=300.0, calls=10, failed=9, failure_rate=0.9, usual_failure_rate=0.01, failing=True
    )
    agents = [agent("bob", AgentStatus.ERROR, error="the desk is locked")]
    types = types_of([host("h1", available=False)], agents, {"clerk": [action]}, None, NOW)
    found = {one.code: one for one in agent_findings(types, [])}
    assert {code: one.severity for code, one in found.items()} == {
        "agent_type_without_host": Severity.ERROR,
        "agents_in_error": Severity.WARNING,
        "action_failing": Severity.WARNING,
    }
    assert "bob: the desk is locked" in found["agents_in_error"].what
    assert found["action_failing"].subject == "action:clerk.write"
    assert found["action_failing"].what == "9 of 10 calls of write by clerk failed; usual were 1.0 %"
    assert "fail with LeaseExpired" in found["agent_type_without_host"].what
    assert found["action_failing"].lasting


def test_what_shows_that_an_action_fails_is_said_along_with_what_came_after() -> None:
    action = ActionView(
        action="write",
        window=300.0,
        calls=12,
        failed=0,
        usual_failure_rate=0.05,
        failing=True,
        worst_calls=20,
        worst_failed=18,
    )
    (found,) = agent_findings(types_of([host("h1")], [], {"clerk": [action]}, None, NOW), [])
    assert found.what == "18 of 20 calls of write by clerk failed; usual were 5.0 %. Of the latest 12, 0 failed"


def test_a_host_that_said_that_it_ends_is_not_silent_though_its_type_has_no_host() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1"), host("h2")
    watch.silent([first, second], NOW)
    ended = replace(gone(first), stopped=True)
    assert watch.silent([ended, second], NOW + 10) == []
    (clerk,) = types_of([ended, gone(second)], [], {}, None, NOW + 10)
    assert (clerk.hosts_available, clerk.hosts_silent) == (0, 1)
    assert [(one.host_id, one.available, one.stopped) for one in clerk.hosts] == [
        ("h1", False, True),
        ("h2", False, False),
    ]
    types = types_of([ended], [], {}, None, NOW + 10)
    assert [one.hosts_silent for one in types] == [0]
    assert [one.code for one in agent_findings(types, [])] == ["agent_type_without_host"]


def test_nothing_is_wrong_with_a_type_that_has_a_host() -> None:
    assert list(agent_findings(types_of([host("h1")], [agent("ann")], {}, None, NOW), [])) == []


def names(hosts: list[Host]) -> list[str]:
    return [one.announced.host_id for one in hosts]


def test_a_host_that_went_silent_is_missed_until_another_comes() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1"), host("h2")
    assert watch.silent([first, second], NOW) == []
    assert names(watch.silent([gone(first), second], NOW + 10)) == ["h1"]
    assert names(watch.silent([gone(first), second], NOW + 20)) == ["h1"]
    assert watch.silent([gone(first), second, host("h3", seen_at=NOW + 30)], NOW + 30) == []


def test_a_host_that_comes_back_is_not_missed() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1"), host("h2")
    watch.silent([first, second], NOW)
    assert names(watch.silent([gone(first), second], NOW + 10)) == ["h1"]
    assert watch.silent([first, second], NOW + 20) == []


def test_a_host_is_not_missed_for_ever() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1"), host("h2")
    watch.silent([first, second], NOW)
    assert names(watch.silent([gone(first), second], NOW + 899)) == ["h1"]
    assert watch.silent([gone(first), second], NOW + 901) == []


def test_who_was_silent_before_the_monitor_came_may_have_been_replaced_long_ago() -> None:
    assert HostWatch(900.0).silent([gone(host("h1")), host("h2")], NOW) == []


def test_the_last_host_of_a_type_is_told_of_as_a_type_without_hosts() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1", "clerk", "porter"), host("h2", "clerk")
    watch.silent([first, second], NOW)
    assert watch.silent([gone(first), second], NOW + 10) == []


def test_a_host_of_another_type_replaces_nobody() -> None:
    watch = HostWatch(900.0)
    first, second = host("h1"), host("h2")
    watch.silent([first, second], NOW)
    assert names(watch.silent([gone(first), second, host("h3", "porter")], NOW + 30)) == ["h1"]
