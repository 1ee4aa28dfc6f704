"""What agent hosts and the registry tell each other. A host is one process that runs agents of one or more types."""

from typing import ClassVar

from pydantic import Field

from contracts import topology
from contracts.agents import AgentDescriptor, AgentSpec, AgentState
from contracts.envelope import Contract, Message
from contracts.topology import Address
from contracts.workflow import Fault


class PluginFault(Contract):
    """A plugin that could not be loaded: its name, where it was found, what went wrong, and the traceback."""

    plugin: str
    source: str
    error: str
    traceback: str = ""


class HostAnnounced(Message):
    """A host has started, or was asked what it offers: the types it runs in full."""

    TYPE: ClassVar[str] = "host.announced.v1"

    host_id: str
    service: str
    descriptors: tuple[AgentDescriptor, ...]
    faults: tuple[PluginFault, ...] = ()
    heartbeat_seconds: float = Field(gt=0)

    def address(self) -> Address:
        return topology.event("host.announced")


class HostHeartbeat(Message):
    """A host is still there, and how its agents do (default agents under their type's name)."""

    TYPE: ClassVar[str] = "host.heartbeat.v1"

    host_id: str
    agents: tuple[AgentState, ...] = ()

    def address(self) -> Address:
        return topology.event("host.heartbeat")


class HostStopped(Message):
    """A host ends in good order; it runs nothing any more."""

    TYPE: ClassVar[str] = "host.stopped.v1"

    host_id: str

    def address(self) -> Address:
        return topology.event("host.stopped")


class HostAssignment(Message):
    """The registry to one host: instances to run and instances to give up, beside those it has. Saying it twice changes
    nothing. ``announce`` asks for a ``HostAnnounced``: the registry does not know the host."""

    TYPE: ClassVar[str] = "host.assignment.v1"

    host_id: str
    run: tuple[AgentSpec, ...] = ()
    stop: tuple[str, ...] = ()
    announce: bool = False

    def address(self) -> Address:
        return topology.host_control(self.host_id)


class AgentTaken(Message):
    """A host runs an instance now (``ok``), or could not start it: ``faults`` say why, paths below ``config``."""

    TYPE: ClassVar[str] = "host.agent_taken.v1"

    host_id: str
    agent_id: str
    ok: bool
    capabilities: tuple[str, ...] = ()
    error: str = ""
    faults: tuple[Fault, ...] = ()

    def address(self) -> Address:
        return topology.event("host.agent_taken")


class AgentReleased(Message):
    """A host has given an instance up: what it worked on has ended."""

    TYPE: ClassVar[str] = "host.agent_released.v1"

    host_id: str
    agent_id: str

    def address(self) -> Address:
        return topology.event("host.agent_released")
