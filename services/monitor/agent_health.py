"""Agents: by type, who hosts them and how they do. Pure; times are epoch seconds.

Whether a host is there is what the registry wrote down. While there is no registry it writes nothing, not even when a
host was last heard of: that is a problem of its own, and says nothing about hosts.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from contracts import topology
from contracts.agents import AgentRecord, AgentStatus
from contracts.monitoring_health import ActionView, AgentFault, AgentTypeView, HostView, Severity
from services.monitor.findings import Finding, counted
from services.monitor.unusual import Tally, in_words
from services.runtime.bus.base import QueueFigures
from services.runtime.known_types import known_types
from services.runtime.store.base import Host

_SHOWN = 20  # hosts, and faults, of a type


class HostWatch:
    """Which hosts there were, so that one that went silent is told from one whose place another took long ago.

    Args:
        forgotten_after: seconds for which a silent host is mentioned.
    """

    def __init__(self, forgotten_after: float) -> None:
        self._forgotten_after = forgotten_after
        self._first_seen: dict[str, float] = {}  # hosts that were available at some look

    def silent(self, hosts: Sequence[Host], now: float) -> list[Host]:
        """Hosts that were there before, that went silent while others offer what they did, and that nobody replaced."""
        there = [host for host in hosts if host.available]
        known = {host.announced.host_id for host in hosts}
        self._first_seen = {host_id: at for host_id, at in self._first_seen.items() if host_id in known}
        for host in there:
            self._first_seen.setdefault(host.announced.host_id, now)
        return [
            host
            for host in hosts
            if host.silent
            and host.announced.host_id in self._first_seen
            and now - host.seen_at <= self._forgotten_after
            and _types(host) <= {one for other in there for one in _types(other)}
            and not any(self._replaces(other, host) for other in there)
        ]

    def _replaces(self, other: Host, silent: Host) -> bool:
        return self._first_seen[other.announced.host_id] > silent.seen_at and _types(silent) <= _types(other)


def types_of(
    hosts: Sequence[Host],
    agents: Iterable[AgentRecord],
    actions: Mapping[str, Sequence[ActionView]],
    measured: Mapping[str, QueueFigures] | None,
    now: float,
) -> tuple[AgentTypeView, ...]:
    """Every type that is known, with its hosts, its agents and what became of its ``actions`` (by type)."""
    by_type: dict[str, list[AgentRecord]] = {}
    for agent in agents:
        by_type.setdefault(agent.agent_type, []).append(agent)
    return tuple(
        _type_view(
            agent_type,
            descriptor.description,
            [host for host in hosts if agent_type in _types(host)],
            by_type.get(agent_type, []),
            actions.get(agent_type, ()),
            None if measured is None else measured.get(topology.agent_type_queue(agent_type).name),
        )
        for agent_type, descriptor in sorted(known_types(hosts, now).items())
    )


def agent_findings(types: Iterable[AgentTypeView], silent: Collection[Host]) -> Iterator[Finding]:
    """Types without a host, hosts that went silent, agents in error, actions that fail more often than usual."""
    for one in types:
        if not one.hosts_available:
            yield _without_host(one)
        if faults := one.statuses.get(AgentStatus.ERROR):
            yield _in_error(one, faults)
        yield from (_failing(one.agent_type, action) for action in one.actions if action.failing)
    for host in silent:
        yield Finding(
            "host_silent",
            Severity.WARNING,
            f"host:{host.announced.host_id}",
            f"host {host.announced.host_id} of {', '.join(sorted(_types(host)))} stopped its heartbeats without a word;"
            " other hosts do its work",
            "It crashed, hangs, or cannot reach the broker: see its log. Another host ends this.",
        )


def _type_view(
    agent_type: str,
    description: str,
    hosts: Sequence[Host],
    agents: Sequence[AgentRecord],
    actions: Sequence[ActionView],
    queue: QueueFigures | None,
) -> AgentTypeView:
    available = [host for host in hosts if host.available]
    latest_first = sorted(hosts, key=lambda host: (not host.available, -host.seen_at))
    return AgentTypeView(
        agent_type=agent_type,
        description=description,
        hosts_available=len(available),
        hosts_silent=sum(host.silent for host in hosts),
        hosts=tuple(_host_view(host) for host in latest_first[:_SHOWN]),
        statuses=dict(Counter(agent.status for agent in agents)),
        faults=tuple(
            AgentFault(agent_id=agent.agent_id, status=agent.status, error=agent.error)
            for agent in agents
            if agent.status is AgentStatus.ERROR
        )[:_SHOWN],
        last_heard_at=max((host.seen_at for host in hosts), default=None),
        consumers=None if queue is None else queue.consumers,
        waiting=None if queue is None else queue.ready,
        actions=tuple(actions),
    )


def _host_view(host: Host) -> HostView:
    return HostView(
        host_id=host.announced.host_id,
        service=host.announced.service,
        available=host.available,
        stopped=host.stopped,
        seen_at=host.seen_at,
        heartbeat=host.announced.heartbeat_seconds,
    )


def _without_host(one: AgentTypeView) -> Finding:
    waiting = "" if one.waiting is None else f"; {counted(one.waiting, 'message waits', 'messages wait')}"
    return Finding(
        "agent_type_without_host",
        Severity.ERROR,
        f"agent_type:{one.agent_type}",
        f"no host runs agents of type {one.agent_type}: their steps fail with LeaseExpired after twice their timeout"
        f" and STEP_LEASE{waiting}",
        "Start a service that hosts it. A type that is not wanted any more is forgotten a day after its last host.",
    )


def _in_error(one: AgentTypeView, faults: int) -> Finding:
    said = "; ".join(f"{fault.agent_id}: {fault.error or 'no reason given'}" for fault in one.faults[:3])
    return Finding(
        "agents_in_error",
        Severity.WARNING,
        f"agent_type:{one.agent_type}",
        f"{counted(faults, 'agent', 'agents')} of type {one.agent_type} could not be started. {said}",
        "Correct what the error names and create the agent anew, or delete it.",
    )


def _failing(agent_type: str, action: ActionView) -> Finding:
    recent = Tally(action.calls, action.failed)
    worst = recent if action.worst_calls is None else Tally(action.worst_calls, action.worst_failed or 0)
    return Finding(
        "action_failing",
        Severity.WARNING,
        f"action:{agent_type}.{action.action}",
        in_words(worst, recent, f"calls of {action.action} by {agent_type}", usual=action.usual_failure_rate or 0.0),
        "See the errors of its steps in the latest failed executions, and what the agent calls outside.",
        lasting=True,
    )


def _types(host: Host) -> set[str]:
    return {descriptor.agent_type for descriptor in host.announced.descriptors}
