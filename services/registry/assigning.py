"""What a host should run and stop, by the records of its types and by what it says it has. Pure."""

from collections.abc import Collection, Iterable, Mapping

from contracts.agents import AgentRecord, AgentState, AgentStatus
from contracts.hosts import HostAssignment


def assignment(
    host_id: str, agent_types: Collection[str], records: Iterable[AgentRecord], has: Mapping[str, AgentState]
) -> HostAssignment | None:
    """What to tell a host; None if it has what it should have.

    ``records`` are the agents of its types, ``has`` what it said last of its agents, by agent id. It is to run every
    instance that it does not have or could not start, and to give up those that are being stopped, have no record,
    or are of another type. Default agents (their ids are the types') come and go with their host.
    """
    wanted = {
        record.agent_id: record
        for record in records
        if not record.default and record.status not in (AgentStatus.STOPPING, AgentStatus.STOPPED)
    }
    run = [record.spec for agent_id, record in wanted.items() if not _runs(has.get(agent_id))]
    stop = [agent_id for agent_id in has if agent_id not in wanted and agent_id not in agent_types]
    if not run and not stop:
        return None
    return HostAssignment(host_id=host_id, run=tuple(run), stop=tuple(stop))


def to_run(record: AgentRecord, host_ids: Iterable[str]) -> list[HostAssignment]:
    return [HostAssignment(host_id=host_id, run=(record.spec,)) for host_id in host_ids]


def to_stop(agent_id: str, host_ids: Iterable[str]) -> list[HostAssignment]:
    return [HostAssignment(host_id=host_id, stop=(agent_id,)) for host_id in sorted(set(host_ids))]


def _runs(state: AgentState | None) -> bool:
    return state is not None and state.status not in (AgentStatus.ERROR, AgentStatus.STOPPED)
