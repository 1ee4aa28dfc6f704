"""Which agents take part in a contract net or a consensus."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from contracts.workflow import ID_PATTERN

AgentId = Annotated[str, Field(pattern=ID_PATTERN)]

MAX_AGENTS = 1_000


class AgentSelection(BaseModel):
    """All that are given must fit.

    Fields:
        capability: agents that offer this action.
        agent_type: agents of this type.
        agent_ids: these agents; they are asked whatever they offer, unless ``capability`` is given too. The
            coordinator that asks takes part only if it is named here.
        default_agents: whether types' default agents (each stands for whichever host of its type is free) take part.
            One that is named always does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capability: AgentId | None = None
    agent_type: AgentId | None = None
    agent_ids: list[AgentId] | None = Field(default=None, min_length=1, max_length=MAX_AGENTS)
    default_agents: bool = True

    @field_validator("agent_ids")
    @classmethod
    def _once_each(cls, value: list[str] | None) -> list[str] | None:
        repeated = sorted({name for name in value or [] if (value or []).count(name) > 1})
        if repeated:
            raise ValueError(f"named more than once: {', '.join(repeated)}")
        return value
