"""What is asked and answered about agents."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from contracts.agents import AgentLimits, AgentStatus, Capability, CapabilityLimits
from contracts.registry import AgentFilter
from contracts.workflow import ID_PATTERN
from services.edge.models import Body, View

# What stands under /agents itself and so can be no agent's id.
RESERVED_AGENT_IDS = frozenset({"types", "broadcast"})

# ---- requests


class GivenCapabilityLimits(CapabilityLimits):
    """Limits of one capability; what is not given is as the type has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GivenLimits(GivenCapabilityLimits):
    """Limits of the agent as a whole, and of single `capabilities` by name; what is not given is as the type has it."""

    capabilities: dict[str, GivenCapabilityLimits] = Field(default_factory=dict)

    @property
    def limits(self) -> AgentLimits:
        return AgentLimits.model_validate(self.model_dump())


class NewAgent(Body):
    """An agent to create."""

    agent_type: str = Field(pattern=ID_PATTERN, description="One of `GET /api/v1/agents/types`.")
    agent_id: str | None = Field(
        default=None, pattern=ID_PATTERN, description="The id it is to have; made up if not given."
    )
    id: str | None = Field(default=None, pattern=ID_PATTERN, description="Another name for `agent_id`.")
    config: dict[str, Any] = Field(default_factory=dict, description="As the type's `config_schema` says.")
    limits: GivenLimits = GivenLimits()

    @field_validator("agent_id", "id")
    @classmethod
    def _not_reserved(cls, value: str | None) -> str | None:
        if value in RESERVED_AGENT_IDS:
            raise ValueError(
                f"{value!r} is reserved; ids that no agent can have: {', '.join(sorted(RESERVED_AGENT_IDS))}"
            )
        return value

    @model_validator(mode="after")
    def _one_id(self) -> Self:
        if self.id is not None and self.agent_id is not None and self.id != self.agent_id:
            raise ValueError("`agent_id` and `id` are two names of one thing, and say two things")
        return self

    @property
    def chosen_id(self) -> str | None:
        return self.agent_id if self.agent_id is not None else self.id


class NewMessage(Body):
    """A message to an agent: its content under `payload` or `message`, whichever is liked better."""

    payload: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    message_type: str = Field(
        default="",
        max_length=200,
        description="Chooses the agent's handler. Without one the content is a call of a capability:"
        " `{action: NAME, inputs: {...}}`.",
    )

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.payload is None) == (self.message is None):
            raise ValueError("a message has its content, an object, under `payload` or under `message`: one of them")
        return self

    @property
    def content(self) -> dict[str, Any]:
        return (self.message if self.payload is None else self.payload) or {}


class GivenFilter(Body):
    """Which agents are meant; what is not given matches all."""

    agent_type: str | None = None
    capability: str | None = None
    status: tuple[AgentStatus, ...] | None = Field(default=None, description="Any of them. One needs no list.")

    @field_validator("status", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @property
    def filter(self) -> AgentFilter:
        return AgentFilter(agent_type=self.agent_type, capability=self.capability, statuses=self.status)


class NewBroadcast(NewMessage):
    """The same message for every agent that `filter` matches; without a filter for every agent."""

    filter: GivenFilter = GivenFilter()


# ---- answers


class AgentView(View):
    agent_id: str
    agent_type: str
    status: AgentStatus = Field(description="`unavailable`: every host that ran it is silent. Its queue is kept.")
    capabilities: tuple[str, ...]
    config: dict[str, Any] = Field(description="With `***` for what is secret.")
    limits: AgentLimits = Field(description="Its own; those of its type hold beside them.")
    hosts: tuple[str, ...] = Field(description="The hosts that run it or stand by for it.")
    default: bool = Field(description="It is its type's default agent: any free host answers for it.")
    created_at: datetime
    error: str = Field(description="Why no host could start it, where that is so.")
    href: str
    links: dict[str, str] = Field(description="Where to send it messages, and where its type is described.")


class AgentPage(View):
    items: list[AgentView]
    next: str | None = Field(default=None, description="`after` of the next page; null on the last one.")


class MessageSent(View):
    message_id: str
    status: Literal["sent"] = "sent"
    timestamp: datetime


class MessageAnswered(View):
    message_id: str
    status: Literal["answered"] = "answered"
    timestamp: datetime
    reply: dict[str, Any] | None


class BroadcastSentView(View):
    broadcast_id: str
    status: Literal["sent"] = "sent"
    timestamp: datetime
    agent_ids: tuple[str, ...] = Field(description="Who gets it, each as the message `BROADCAST_ID/AGENT_ID`.")
    count: int


class AgentStopped(View):
    agent_id: str
    status: Literal["stopped"] = "stopped"
    message: str = "Agent removed successfully"
    undelivered: int = Field(description="Messages that were left in its queue; they are dead letters now.")


class AgentStopping(View):
    agent_id: str
    status: Literal["stopping"] = "stopping"
    message: str = "What the agent works on has not ended yet; it takes nothing new, and is removed at its end"


# ---- types


class TypeHost(View):
    host_id: str
    service: str
    available: bool
    last_seen: datetime


class AgentTypeView(View):
    agent_type: str
    description: str
    status: Literal["available", "unavailable"] = Field(description="Whether a host of it is there now.")
    capabilities: tuple[Capability, ...] = Field(description="Each with the JSON Schemas of its input and its output.")
    message_types: tuple[str, ...] = Field(description="Messages it has handlers for.")
    config_schema: dict[str, Any] | None = Field(description="JSON Schema of an agent's `config`, where it has one.")
    limits: AgentLimits
    hosts: list[TypeHost]


class PluginFaultView(View):
    plugin: str
    source: str
    error: str
    traceback: str
    host_id: str


class AgentTypes(View):
    items: list[AgentTypeView]
    faults: list[PluginFaultView] = Field(description="Plugins that could not be loaded.")
