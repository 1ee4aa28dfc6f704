"""Whether an agent may be created, and its first record. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Literal

from contracts.agents import AgentDescriptor, AgentRecord, AgentStatus
from contracts.execution import Refused
from contracts.registry import REQUEST_REUSED, CreateAgent
from contracts.topology import ANY_AGENT
from contracts.workflow import Fault

_ID_LENGTH = 64
_DIGITS = 12


def chosen_id(command: CreateAgent, request_id: str) -> str:
    """The agent's id: the one that was asked for, or one made of the type and the request, so that the same request
    again comes to the same."""
    if command.agent_id is not None:
        return command.agent_id
    digest = hashlib.blake2b(request_id.encode(), digest_size=_DIGITS // 2).hexdigest()
    return f"{command.agent_type[: _ID_LENGTH - _DIGITS - 1]}-{digest}"


def refused(
    command: CreateAgent, agent_id: str, known: Mapping[str, AgentDescriptor], live: int, agents: int, most: int
) -> Refused | None:
    """Why an agent that does not exist yet may not be created; None if it may.

    ``known`` are the types there are, ``live`` how many hosts of its type, ``agents`` how many agents, of ``most``.
    """
    if agent_id == ANY_AGENT:
        message = f"{ANY_AGENT!r} stands for whichever agent is free and cannot be an agent's id"
        return _invalid(agent_id, Fault(path="agent_id", code="reserved_id", message=message))
    if command.agent_type not in known:
        message = f"there is no agent type {command.agent_type!r}; there are: {', '.join(sorted(known)) or 'none'}"
        return _invalid(agent_id, Fault(path="agent_type", code="unknown_agent_type", message=message))
    if agents >= most:
        message = f"there are {agents} agents, and MAX_AGENTS={most} allows no more; delete one first"
        return Refused(code="limit_reached", subject=agent_id, message=message)
    if not live:
        message = f"no host of agent type {command.agent_type!r} is running"
        return Refused(code="unavailable", subject=agent_id, message=message)
    return None


def first_record(
    command: CreateAgent, agent_id: str, request_id: str, descriptor: AgentDescriptor, now: float
) -> AgentRecord:
    return AgentRecord(
        agent_id=agent_id,
        agent_type=command.agent_type,
        config=command.config,
        limits=command.limits,
        capabilities=tuple(capability.name for capability in descriptor.capabilities),
        created_at=now,
        request_id=request_id,
    )


def meets(command: CreateAgent, record: AgentRecord, request_id: str) -> Literal["wait", "exists"] | Refused:
    """What a command that finds an agent of its id comes to: ``wait`` for a host to take it, ``exists`` (answered at
    once), or a refusal."""
    subject = record.agent_id
    if record.default:
        message = f"{subject!r} is the default agent of the agent type of that name"
        return Refused(code="already_exists", subject=subject, message=message)
    own = bool(request_id) and record.request_id == request_id
    if own and (record.agent_type, record.config, record.limits) != (
        command.agent_type,
        command.config,
        command.limits,
    ):
        message = f"request {request_id!r} created agent {subject!r} with another type, configuration or limits"
        fault = Fault(path="request_id", code=REQUEST_REUSED, message=message)
        return Refused(code="conflict", subject=subject, message=message, faults=(fault,))
    if record.status is AgentStatus.STOPPING:
        message = f"agent {subject!r} is being stopped; it can be created again once it is gone"
        return Refused(code="conflict", subject=subject, message=message)
    if own:
        return "wait" if record.status is AgentStatus.STARTING else "exists"
    if command.if_absent and record.agent_type == command.agent_type:
        return "exists"
    message = f"there is already an agent {subject!r}, of agent type {record.agent_type!r}"
    return Refused(code="already_exists", subject=subject, message=message)


def not_taken(record: AgentRecord, seconds: float) -> Refused:
    """No host has taken it in time."""
    message = (
        f"no host of agent type {record.agent_type!r} has taken agent {record.agent_id!r} within {seconds:g} s;"
        " it stays 'starting' and starts when a host takes it"
    )
    return Refused(code="unavailable", subject=record.agent_id, message=message)


def could_not_start(record: AgentRecord, error: str, faults: tuple[Fault, ...]) -> Refused:
    """A host would not run it with this configuration."""
    message = f"agent {record.agent_id!r} cannot be started"
    reason = error or "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
    message += f": {reason}" if reason else ""
    return Refused(code="invalid", subject=record.agent_id, message=message, faults=faults)


def deleted_meanwhile(agent_id: str) -> Refused:
    return Refused(code="conflict", subject=agent_id, message=f"agent {agent_id!r} was deleted before a host took it")


def _invalid(agent_id: str, fault: Fault) -> Refused:
    return Refused(code="invalid", subject=agent_id, message=fault.message, faults=(fault,))
