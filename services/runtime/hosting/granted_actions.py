"""What the agents of a host may do: what they can do, as far as the agent policy grants it."""

from collections.abc import Iterable
from functools import partial

import structlog

from services.runtime.agent import BaseAgent
from services.runtime.security.policy import AgentPolicy

log = structlog.get_logger(__name__)


def keep_to_grants(agent: BaseAgent, policy: AgentPolicy) -> None:
    """Have an agent refuse, by name, the actions that its type is not granted."""
    agent.grant_by(partial(policy.why_not, agent.agent_type))


def log_what_is_not_granted(agents: Iterable[BaseAgent], policy: AgentPolicy) -> None:
    """Say at start what will not work, and what would grant it."""
    for agent in agents:
        if not policy.admits(agent.agent_type):
            log.error(
                "agent type is not granted", agent_type=agent.agent_type, detail=policy.left_out(agent.agent_type)
            )
            continue
        for action in agent.capabilities:
            reason = policy.why_not(agent.agent_type, action)
            if reason:
                log.error("capability is not granted", agent_type=agent.agent_type, capability=action, detail=reason)
