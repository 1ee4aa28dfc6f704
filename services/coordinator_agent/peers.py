"""Finding other agents, and asking many of them at once. What one of them does never fails the whole."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from contracts.agents import AgentRecord, AgentStatus
from contracts.envelope import new_id
from services.coordinator_agent.selection_models import MAX_AGENTS, AgentSelection
from services.runtime.agent import AgentFailed, BaseAgent, NotGranted, current_step
from services.runtime.bus.base import BusError, UnroutableMessage
from services.runtime.requests import ReplyTimeout

log = structlog.get_logger(__name__)

LIVE = (AgentStatus.IDLE, AgentStatus.PROCESSING)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An agent that was named and is not asked."""

    agent_id: str
    agent_type: str
    state: Literal["unavailable", "unknown"]
    reason: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whom to ask, by id, and who was named but is not asked."""

    asked: tuple[AgentRecord, ...]
    left_out: tuple[LeftOut, ...] = ()


async def choose(agent: BaseAgent, selection: AgentSelection, capability: str | None) -> Chosen:
    """Find the agents that are meant, by what the registry knows now: those that are idle or at work.

    ``capability`` is what is looked for where the selection neither says one nor names agents. ``agent`` asks, and is
    left out unless it is named.
    """
    if selection.agent_ids is None:
        found = await agent.find_agents(
            agent_type=selection.agent_type,
            capability=selection.capability or capability,
            statuses=LIVE,
            limit=MAX_AGENTS,
        )
        return Chosen(tuple(r for r in found if r.agent_id != agent.agent_id and _wanted(selection, r)))
    found = await agent.find_agents(
        agent_type=selection.agent_type,
        capability=selection.capability,
        agent_ids=tuple(selection.agent_ids),
        limit=MAX_AGENTS,
    )
    return split_named(selection.agent_ids, found)


def split_named(agent_ids: list[str], found: tuple[AgentRecord, ...]) -> Chosen:
    """Of agents that were named: who can be asked, and why the others cannot."""
    records = {record.agent_id: record for record in found}
    left_out = []
    for agent_id in sorted(agent_ids):
        record = records.get(agent_id)
        if record is None:
            reason = "the registry has no such agent that fits the selection"
            left_out.append(LeftOut(agent_id, "", "unknown", reason))
        elif record.status not in LIVE:
            left_out.append(LeftOut(agent_id, record.agent_type, "unavailable", f"it is {record.status}"))
    asked = (records[agent_id] for agent_id in sorted(records) if records[agent_id].status in LIVE)
    return Chosen(tuple(asked), tuple(left_out))


def _wanted(selection: AgentSelection, record: AgentRecord) -> bool:
    return selection.default_agents or not record.default


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back from one agent after ``seconds``: a ``body``, or None and the ``reason``."""

    state: Literal["answered", "failed", "silent"]
    seconds: float
    body: dict[str, Any] | None = None
    reason: str = ""


async def ask_all(
    agent: BaseAgent, bodies: Mapping[str, dict[str, Any]], message_type: str, deadline: float
) -> dict[str, Heard]:
    """Ask agents side by side, each its own body, and wait until all have answered or ``deadline`` seconds are over."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            agent_id: group.create_task(ask_one(agent, agent_id, body, message_type, deadline))
            for agent_id, body in bodies.items()
        }
    return {agent_id: task.result() for agent_id, task in tasks.items()}


async def ask_one(agent: BaseAgent, agent_id: str, body: dict[str, Any], message_type: str, deadline: float) -> Heard:
    """Ask one agent; whatever goes wrong is in what is returned."""
    began = time.perf_counter()

    def heard(state: Literal["failed", "silent"], reason: str) -> Heard:
        return Heard(state, time.perf_counter() - began, reason=reason)

    try:
        answer = await agent.ask(agent_id, body, message_type=message_type, timeout=deadline)
    except ReplyTimeout:
        return heard("silent", f"no answer within {deadline:g} s")
    except (AgentFailed, NotGranted) as error:
        return heard("failed", str(error))
    except UnroutableMessage:
        return heard("failed", "nobody takes its messages")
    except BusError as error:
        return heard("failed", f"it could not be asked: {error}")
    except Exception as error:
        log.warning("what an agent answered cannot be read", asked_agent_id=agent_id, error=repr(error))
        return heard("failed", f"its answer cannot be read: {error}")
    return Heard("answered", time.perf_counter() - began, answer)


def conversation_id() -> str:
    """The step's idempotency key, the same however often it runs; a new id outside of a step."""
    step = current_step()
    return new_id() if step is None else step.idempotency_key
