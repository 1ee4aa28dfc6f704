"""Which hosts are there, which have gone silent, which are forgotten."""

import pytest

from contracts.agents import AgentDescriptor
from contracts.hosts import HostAnnounced
from services.registry.presence import available, forgettable, gone_silent, is_replaced, next_look
from services.runtime.known_types import known_types
from services.runtime.store.base import Host

HOUR = 3600.0


def host(host_id: str, *types: str, seen: float = 100.0, available: bool = True, heartbeat: float = 4.0) -> Host:
    descriptors = tuple(AgentDescriptor(agent_type=kind, description=host_id) for kind in types)
    announced = HostAnnounced(host_id=host_id, service="s", descriptors=descriptors, heartbeat_seconds=heartbeat)
    return Host(announced, seen, available)


def ids(hosts: list[Host]) -> list[str]:
    return [one.announced.host_id for one in hosts]


def test_a_host_is_silent_after_one_and_a_half_of_its_own_heartbeats() -> None:
    hosts = [host("quick", seen=100, heartbeat=4), host("slow", seen=100, heartbeat=10)]
    assert ids(gone_silent(hosts, 0, 106)) == []
    assert ids(gone_silent(hosts, 0, 106.1)) == ["quick"]
    assert ids(gone_silent(hosts, 0, 115.1)) == ["quick", "slow"]
    assert ids(gone_silent([host("marked", available=False)], 0, 1000)) == []


def test_silence_before_anybody_listened_means_nothing() -> None:
    assert ids(gone_silent([host("h1", seen=100)], 500, 506)) == []
    assert ids(gone_silent([host("h1", seen=100)], 500, 506.1)) == ["h1"]


@pytest.mark.parametrize(
    ("hosts", "now", "moment"),
    [
        ([host("h1", seen=100)], 101, 106),
        ([host("h1", seen=100), host("h2", seen=95)], 101, 101),
        ([host("h1", seen=100, heartbeat=50)], 101, 107),
        ([host("h1", seen=0, available=False)], 101, 107),
        ([], 101, 107),
    ],
)
def test_nobody_looks_before_a_host_can_have_gone_silent(hosts: list[Host], now: float, moment: float) -> None:
    assert next_look(hosts, 0, now, 4) == moment
    assert gone_silent(hosts, 0, moment) == []


def test_hosts_of_a_type_are_those_that_are_there() -> None:
    hosts = [host("h1", "a", "b"), host("h2", "b"), host("h3", "a", available=False)]
    assert available(hosts) == ["h1", "h2"]
    assert (available(hosts, "a"), available(hosts, "b"), available(hosts, "c")) == (["h1"], ["h1", "h2"], [])


def test_a_host_is_replaced_if_others_offer_all_its_types() -> None:
    first, second = host("h1", "a", "b"), host("h2", "a")
    assert not is_replaced(first, [first, second])
    assert is_replaced(second, [first, second])
    assert not is_replaced(second, [host("h1", "a", available=False), second])


def test_silent_hosts_are_forgotten_after_an_hour_and_the_last_word_on_a_type_after_a_day() -> None:
    hosts = [
        host("old", "a", seen=0, available=False),
        host("last", "a", seen=1, available=False),
        host("there", "b", seen=1),
        host("both", "b", "c", seen=0, available=False),
        host("nothing", seen=0, available=False),
    ]
    assert forgettable(hosts, HOUR) == []
    assert forgettable(hosts, HOUR + 1) == ["old", "nothing"]
    assert forgettable(hosts, 24 * HOUR) == ["old", "nothing"]
    assert forgettable(hosts, 24 * HOUR + 2) == ["old", "last", "both", "nothing"]


def test_a_type_is_what_the_host_heard_of_last_said_and_is_known_for_a_day() -> None:
    hosts = [host("h2", "a", seen=5), host("h1", "a", "b", seen=3, available=False)]
    assert {kind: one.description for kind, one in known_types(hosts, 10).items()} == {"a": "h2", "b": "h1"}
    assert set(known_types(hosts, 24 * HOUR + 4)) == {"a"}
    assert known_types(hosts, 24 * HOUR + 6) == {}
