"""What an agent's record becomes by what its hosts say, or by their silence. Pure."""

from collections.abc import Collection, Iterable, Mapping

from contracts.agents import AgentDescriptor, AgentRecord, AgentState, AgentStatus
from contracts.hosts import AgentTaken

Said = Mapping[str, AgentState]  # what each host said last of one agent, by host id

_WORKING = (AgentStatus.IDLE, AgentStatus.PROCESSING)


def default_agent(descriptor: AgentDescriptor, now: float) -> AgentRecord:
    """The record of a type's default agent before any host counts as running it."""
    return AgentRecord(
        agent_id=descriptor.agent_type,
        agent_type=descriptor.agent_type,
        capabilities=_names(descriptor),
        default=True,
        created_at=now,
    )


def announced(record: AgentRecord, descriptor: AgentDescriptor, host_id: str, said: Said) -> AgentRecord:
    """A default agent, after a host has announced its type."""
    offered = record.model_copy(update={"capabilities": _names(descriptor)})
    return _run_by(offered, {*record.hosts, host_id}, said)


def heard(record: AgentRecord, host_id: str, said: Said) -> AgentRecord:
    """After a heartbeat of a host; ``said`` has no word of that host if the heartbeat leaves the agent out."""
    state = said.get(host_id)
    if state is not None and _is_run(record, state):
        return _run_by(record, {*record.hosts, host_id}, said)
    return _run_by(record, set(record.hosts) - {host_id}, said)


def taken(record: AgentRecord, message: AgentTaken, said: Said) -> AgentRecord:
    """After a host has said that it runs the agent now, or that it could not start it."""
    if not message.ok:
        return _run_by(record, set(record.hosts) - {message.host_id}, said)
    able = record.model_copy(update={"capabilities": message.capabilities or record.capabilities})
    return _run_by(able, {*record.hosts, message.host_id}, said)


def kept_by(record: AgentRecord, live: Collection[str], said: Said) -> AgentRecord:
    """With only those of its hosts that are there."""
    return _run_by(record, {host_id for host_id in record.hosts if host_id in live}, said)


def stopping(record: AgentRecord) -> AgentRecord:
    return record.model_copy(update={"status": AgentStatus.STOPPING})


def is_finished(record: AgentRecord) -> bool:
    """Whether it was to be stopped and no host runs it any more."""
    return record.status is AgentStatus.STOPPING and not record.hosts


def _is_run(record: AgentRecord, state: AgentState) -> bool:
    if record.status is AgentStatus.STOPPING:
        # Whatever a host still does with it has to end first.
        return state.status not in (AgentStatus.STOPPED, AgentStatus.ERROR)
    return state.status in (*_WORKING, AgentStatus.STOPPING)


def _run_by(record: AgentRecord, hosts: Iterable[str], said: Said) -> AgentRecord:
    hosts = tuple(sorted(hosts))
    status, error = _status(record, hosts, said)
    return record.model_copy(update={"hosts": hosts, "status": status, "error": error})


def _status(record: AgentRecord, hosts: Collection[str], said: Said) -> tuple[AgentStatus, str]:
    if record.status is AgentStatus.STOPPING:
        return AgentStatus.STOPPING, record.error
    if hosts:
        told = {said[host_id].status for host_id in hosts if host_id in said}
        if AgentStatus.PROCESSING in told:
            return AgentStatus.PROCESSING, ""
        # Of hosts that have not spoken since the registry started nothing new is known.
        return (record.status if not told and record.status in _WORKING else AgentStatus.IDLE), ""
    for state in said.values():
        if state.status is AgentStatus.ERROR:
            return AgentStatus.ERROR, state.error
    if record.status in (AgentStatus.STARTING, AgentStatus.ERROR):
        return record.status, record.error
    return AgentStatus.UNAVAILABLE, ""


def _names(descriptor: AgentDescriptor) -> tuple[str, ...]:
    return tuple(capability.name for capability in descriptor.capabilities)
