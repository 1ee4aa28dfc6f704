"""Agents: what a type offers, what an instance is, and the limits of both."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from contracts.envelope import Contract
from contracts.workflow import ID_PATTERN


class AgentStatus(StrEnum):
    STARTING = "starting"  # stored, and no host runs it yet
    IDLE = "idle"
    PROCESSING = "processing"
    ERROR = "error"  # no host could start it; its record says why
    STOPPING = "stopping"  # takes nothing new; what it works on ends first
    STOPPED = "stopped"
    UNAVAILABLE = "unavailable"  # every host that ran it is silent


class CapabilityLimits(Contract):
    """What one capability may use. None: no limit beyond the host's own.

    ``concurrency`` calls at once and ``rate`` calls a second are per host for an agent type, and whole for an
    instance, which has one active host at a time. Sizes are bytes of JSON.
    """

    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    rate: float | None = Field(default=None, gt=0, le=1_000_000)
    max_input_bytes: int | None = Field(default=None, ge=2)
    max_output_bytes: int | None = Field(default=None, ge=2)


class AgentLimits(CapabilityLimits):
    """Limits of an agent as a whole, and of single ``capabilities`` by name. Both hold at once."""

    capabilities: dict[str, CapabilityLimits] = Field(default_factory=dict)


class Capability(Contract):
    """One action that an agent type offers; the schemas are JSON Schema (draft 2020-12)."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class AgentDescriptor(Contract):
    """An agent type and everything it can do: ``capabilities``, the ``message_types`` it has handlers for, the JSON
    Schema of an instance's configuration where the type declares one, and the limits of each agent of the type."""

    agent_type: str
    description: str = ""
    capabilities: tuple[Capability, ...] = ()
    message_types: tuple[str, ...] = ()
    config_schema: dict[str, Any] | None = None
    limits: AgentLimits = AgentLimits()

    def capability(self, name: str) -> Capability | None:
        return next((c for c in self.capabilities if c.name == name), None)


class AgentSpec(Contract):
    """What a host needs to run an instance."""

    agent_id: str = Field(pattern=ID_PATTERN)
    agent_type: str = Field(pattern=ID_PATTERN)
    config: dict[str, Any] = Field(default_factory=dict)
    limits: AgentLimits = AgentLimits()


class AgentState(Contract):
    """How an instance does on one host."""

    agent_id: str
    status: AgentStatus
    error: str = ""


class AgentRecord(AgentSpec):
    """An agent as the registry has it; times are epoch seconds.

    Each type has one ``default`` agent, whose id is the type's name: it stands for whichever host is free, lives as
    long as its type is known and cannot be deleted. Every other agent is an instance with a durable queue of its own,
    which the hosts of its type stand by for, one of them active at a time. ``hosts`` are those that run it;
    ``request_id`` is the request that created it, so that a repeated one finds its own.
    """

    capabilities: tuple[str, ...] = ()
    status: AgentStatus = AgentStatus.STARTING
    hosts: tuple[str, ...] = ()
    default: bool = False
    created_at: float
    request_id: str = ""
    error: str = ""

    @property
    def spec(self) -> AgentSpec:
        return AgentSpec(agent_id=self.agent_id, agent_type=self.agent_type, config=self.config, limits=self.limits)
