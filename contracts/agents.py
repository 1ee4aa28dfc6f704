"""What agents say of themselves, and the messages agents send each other."""

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field

from contracts import topology
from contracts.envelope import Contract, Message
from contracts.topology import Address


class AgentStatus(StrEnum):
    IDLE = "idle"
    PROCESSING = "processing"
    ERROR = "error"
    STOPPED = "stopped"


class Capability(Contract):
    """One action that an agent type offers; the schemas are JSON Schema (draft 2020-12)."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


class AgentDescriptor(Contract):
    """An agent type and everything it can do."""

    agent_type: str
    description: str = ""
    capabilities: tuple[Capability, ...] = ()

    def capability(self, name: str) -> Capability | None:
        return next((c for c in self.capabilities if c.name == name), None)


class AgentAnnounced(Message):
    """A host has started, or is still there: what it hosts. Sent at start and with every heartbeat."""

    TYPE: ClassVar[str] = "agent.announced.v1"

    host_id: str
    descriptor: AgentDescriptor
    agent_ids: tuple[str, ...] = ()
    status: AgentStatus = AgentStatus.IDLE
    heartbeat_seconds: float = Field(default=5.0, gt=0)

    def address(self) -> Address:
        return topology.event("agent.announced")


class AgentMail(Message):
    """A message from one agent to another, delivered to its ``process_message``."""

    TYPE: ClassVar[str] = "agent.mail.v1"

    agent_id: str
    body: dict[str, Any]

    def address(self) -> Address:
        return topology.agent_mail(self.agent_id)


class AgentReply(Message):
    """What an agent's ``process_message`` answered."""

    TYPE: ClassVar[str] = "agent.reply.v1"

    agent_id: str
    body: dict[str, Any] | None = None
    error: str | None = None
