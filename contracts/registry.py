"""Commands to the registry, its answers, and the messages that agents send each other."""

from typing import Any, ClassVar

from pydantic import Field

from contracts import topology
from contracts.agents import AgentLimits, AgentRecord, AgentStatus
from contracts.envelope import Contract, Message
from contracts.topology import Address
from contracts.workflow import ID_PATTERN

# ---- the life of an agent

# The code of the fault that refuses a ``request_id`` which created another agent than it now asks for.
REQUEST_REUSED = "request_reused"


class CreateAgent(Message):
    """Create an instance of an agent type. Answered by ``AgentCreated`` once a host runs it, or ``Refused``.

    The registry makes an id where none is given. The same ``request_id`` again is the same agent. ``if_absent``: an
    agent of that id that exists already is left as it is, which is no refusal.
    """

    TYPE: ClassVar[str] = "agent.create.v1"

    agent_type: str = Field(pattern=ID_PATTERN)
    agent_id: str | None = Field(default=None, pattern=ID_PATTERN)
    config: dict[str, Any] = Field(default_factory=dict)
    limits: AgentLimits = AgentLimits()
    request_id: str = Field(default="", max_length=200)
    if_absent: bool = False

    def address(self) -> Address:
        return topology.command("agent.create")


class AgentCreated(Message):
    TYPE: ClassVar[str] = "agent.created.v1"

    agent: AgentRecord
    repeated: bool = False


class DeleteAgent(Message):
    """Stop an instance and remove it. Answered by ``AgentDeleted`` once what it worked on has ended, or ``Refused``.
    Messages that still wait for it become dead letters."""

    TYPE: ClassVar[str] = "agent.delete.v1"

    agent_id: str

    def address(self) -> Address:
        return topology.command("agent.delete")


class AgentDeleted(Message):
    """``undelivered``: how many messages were left in its queue, and are dead letters now."""

    TYPE: ClassVar[str] = "agent.deleted.v1"

    agent_id: str
    undelivered: int = 0


# ---- finding agents


class AgentFilter(Contract):
    """Which agents are meant; None matches all. ``statuses`` is any of them, ``agent_ids`` too."""

    agent_type: str | None = None
    capability: str | None = None
    statuses: tuple[AgentStatus, ...] | None = None
    agent_ids: tuple[str, ...] | None = None


class FindAgents(Message):
    """Ask which agents there are. Answered by ``AgentsFound``."""

    TYPE: ClassVar[str] = "agent.find.v1"

    filter: AgentFilter = AgentFilter()
    limit: int = Field(default=1_000, ge=1, le=10_000)

    def address(self) -> Address:
        return topology.command("agent.find")


class AgentsFound(Message):
    """Agents by id; ``complete`` is False where there are more than were asked for."""

    TYPE: ClassVar[str] = "agent.found.v1"

    agents: tuple[AgentRecord, ...]
    complete: bool = True


# ---- messages between agents


class AgentMail(Message):
    """A message to an agent. ``message_type`` chooses the agent's handler; ``sender_id`` is the agent or client that
    sent it. Where a reply was asked for, ``AgentReply`` is it. The envelope's ``retry_count`` says how often the
    agent failed on it before."""

    TYPE: ClassVar[str] = "agent.mail.v1"

    agent_id: str
    body: dict[str, Any]
    message_type: str = Field(default="", max_length=200)
    sender_id: str = Field(default="", max_length=200)

    def address(self) -> Address:
        return topology.agent_mail(self.agent_id)


class AgentReply(Message):
    """What an agent answered, or why it could not: ``error`` in words and its ``code``."""

    TYPE: ClassVar[str] = "agent.reply.v1"

    agent_id: str
    body: dict[str, Any] | None = None
    error: str | None = None
    code: str = ""


class BroadcastMail(Message):
    """The same message to every agent that the filter matches, but not back to its sender. Answered by
    ``BroadcastSent`` once every copy is in its agent's queue."""

    TYPE: ClassVar[str] = "agent.broadcast.v1"

    body: dict[str, Any]
    message_type: str = Field(default="", max_length=200)
    sender_id: str = Field(default="", max_length=200)
    filter: AgentFilter = AgentFilter()

    def address(self) -> Address:
        return topology.command("agent.broadcast")


class BroadcastSent(Message):
    """``broadcast_id`` is the id of the broadcast; each copy's message id is ``broadcast_id/agent_id``."""

    TYPE: ClassVar[str] = "agent.broadcast_sent.v1"

    broadcast_id: str
    agent_ids: tuple[str, ...]


# ---- the registry to itself


class SweepHosts(Message):
    """Time to look for hosts that have gone silent. Every replica of the registry sends it and the active one does it,
    after all that hosts have said before."""

    TYPE: ClassVar[str] = "agent.sweep.v1"

    def address(self) -> Address:
        return topology.command("agent.sweep")
