"""An agent type as one host runs it: how its default agent and its instances are made."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.agents import AgentLimits, AgentSpec
from services.runtime.agent import BaseAgent
from services.runtime.agent.config import check_not_fixed
from services.runtime.agent.limits import overlay
from services.runtime.hosting.granted_actions import keep_to_grants
from services.runtime.security.policy import AgentPolicy

WAITING_PREFETCH = 500
INSTANCE_PREFETCH = 8


@dataclass(frozen=True, slots=True)
class HostedType:
    """An agent class, and what its service's configuration gives to every agent of it."""

    agent_class: type[BaseAgent]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def agent_type(self) -> str:
        return self.agent_class.agent_type


class AgentFactory:
    """Makes the agents of one type. ``limits`` are those that AGENT_LIMITS sets for it; ``places`` is what every step
    on the host passes; what they may do is ``policy``'s to say."""

    def __init__(self, hosted: HostedType, limits: AgentLimits, places: asyncio.Semaphore, policy: AgentPolicy) -> None:
        self.agent_type = hosted.agent_type
        self._hosted = hosted
        self._limits = limits
        self._places = places
        self._policy = policy

    def default(self) -> BaseAgent:
        return self._make(self.agent_type, self._hosted.config, self._limits)

    def instance(self, spec: AgentSpec) -> BaseAgent:
        """An agent that somebody created.

        Raises:
            FixedConfig: its configuration sets what only the service may set.
            Exception: whatever the agent's class says of a configuration that does not fit.
        """
        check_not_fixed(spec.config, self._hosted.agent_class.fixed_config, self.agent_type)
        return self._make(spec.agent_id, {**self._hosted.config, **spec.config}, overlay(self._limits, spec.limits))

    def _make(self, agent_id: str, config: Mapping[str, Any], limits: AgentLimits) -> BaseAgent:
        agent = self._hosted.agent_class(agent_id, config)
        agent.limit_by(limits, self._places)
        keep_to_grants(agent, self._policy)
        return agent


def shared_prefetch(agent: BaseAgent, concurrency: int) -> int:
    """How many messages of its type's queue a host may hold.

    As many as it works on: what a host that is slow or stuck holds besides, no other host could take. Work that waits
    for other agents is held while it waits, so a type that has such gets room for what it waits for.
    """
    return max(concurrency, WAITING_PREFETCH) if agent.waits_for_others else concurrency


def instance_prefetch(agent: BaseAgent, concurrency: int) -> int:
    """How many messages of an instance's queue its active host may hold: few, for they go back when it dies."""
    if agent.waits_for_others:
        return WAITING_PREFETCH
    return min(concurrency, INSTANCE_PREFETCH)
