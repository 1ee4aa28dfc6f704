"""Agent types as the hosts describe them."""

from typing import Any

from contracts.agents import AgentDescriptor, AgentLimits, Capability
from contracts.hosts import HostAnnounced, PluginFault
from services.edge.agent_types import types_of
from services.runtime.store.base import Host


def descriptor(agent_type: str, *actions: str, **more: Any) -> AgentDescriptor:
    capabilities = tuple(
        Capability(name=action, input_schema={"type": "object"}, output_schema={"type": "string"}) for action in actions
    )
    return AgentDescriptor(agent_type=agent_type, capabilities=capabilities, **more)


def host(host_id: str, seen_at: float, *descriptors: AgentDescriptor, available: bool = True, broken: str = "") -> Host:
    faults = (PluginFault(plugin=broken, source=f"{broken}.py", error="no", traceback="line 1"),) if broken else ()
    announced = HostAnnounced(
        host_id=host_id, service="plugin_agent", descriptors=descriptors, faults=faults, heartbeat_seconds=5
    )
    return Host(announced, seen_at, available)


def test_no_hosts_no_types() -> None:
    shown = types_of([])
    assert (shown.items, shown.faults) == ([], [])


def test_hosts_of_one_type_are_merged() -> None:
    shown = types_of(
        [
            host("h1", 10.0, descriptor("b", "go"), descriptor("a", "stay")),
            host("h2", 20.0, descriptor("b", "go"), available=False),
        ]
    )
    assert [item.agent_type for item in shown.items] == ["a", "b"]
    assert [(one.host_id, one.available) for one in shown.items[1].hosts] == [("h1", True), ("h2", False)]
    assert [item.status for item in shown.items] == ["available", "available"]


def test_a_type_whose_hosts_are_silent_is_unavailable_and_still_described() -> None:
    (item,) = types_of([host("h1", 10.0, descriptor("a", "go"), available=False)]).items
    assert (item.status, [one.name for one in item.capabilities]) == ("unavailable", ["go"])


def test_the_description_is_that_of_the_host_that_is_there_then_the_latest() -> None:
    old, new, gone = descriptor("a", "old"), descriptor("a", "old", "new"), descriptor("a", "gone")
    shown = types_of([host("h1", 10.0, old), host("h2", 20.0, new), host("h3", 30.0, gone, available=False)])
    assert [one.name for one in shown.items[0].capabilities] == ["old", "new"]


def test_everything_of_a_type_is_shown() -> None:
    described = descriptor(
        "a",
        "go",
        description="Goes.",
        message_types=("ping",),
        config_schema={"type": "object"},
        limits=AgentLimits(concurrency=3),
    )
    (item,) = types_of([host("h1", 0.0, described)]).items
    assert item.model_dump(mode="json") == {
        "agent_type": "a",
        "description": "Goes.",
        "status": "available",
        "capabilities": [
            {"name": "go", "description": "", "input_schema": {"type": "object"}, "output_schema": {"type": "string"}}
        ],
        "message_types": ["ping"],
        "config_schema": {"type": "object"},
        "limits": {
            "concurrency": 3,
            "rate": None,
            "max_input_bytes": None,
            "max_output_bytes": None,
            "capabilities": {},
        },
        "hosts": [{"host_id": "h1", "service": "plugin_agent", "available": True, "last_seen": "1970-01-01T00:00:00Z"}],
    }


def test_faults_are_of_hosts_that_are_there() -> None:
    shown = types_of(
        [host("h1", 1.0, broken="x"), host("h2", 2.0, broken="x"), host("h0", 0.0, broken="y", available=False)]
    )
    assert [(fault.host_id, fault.plugin, fault.traceback) for fault in shown.faults] == [
        ("h2", "x", "line 1"),
        ("h1", "x", "line 1"),
    ]
