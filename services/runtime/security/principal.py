"""Who sent a message, as its signature proves."""

from dataclasses import dataclass
from enum import StrEnum

ANY_TYPE = "*"


class SenderKind(StrEnum):
    SERVICE = "service"  # one of ours: edge, orchestrator, registry, dead_letters, access, auditor
    AGENT = "agent"  # a host of agents
    CLIENT = "client"  # a program that publishes straight onto the broker


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a trusted key. ``name`` is a service's name, or a client's; ``agent_types`` are those that a host
    may answer for (``*``: every one). ``may_start`` and ``may_message`` (agent types and ids, ``*``: all) are what the
    policy grants a host's agents."""

    name: str
    kind: SenderKind
    key_id: str
    agent_types: frozenset[str] = frozenset()
    may_start: bool = False
    may_message: frozenset[str] = frozenset()

    def answers_for(self, agent_type: str) -> bool:
        return self.kind is SenderKind.AGENT and not self.agent_types.isdisjoint((agent_type, ANY_TYPE))

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"
