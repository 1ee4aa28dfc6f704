"""Which hosts are there, which have gone silent, and which may be forgotten. Pure; times are epoch seconds."""

from collections.abc import Collection, Iterable

from services.runtime.known_types import KNOWN_FOR
from services.runtime.store.base import Host

SILENT_AFTER = 1.5  # of its heartbeats
FORGOTTEN_AFTER = 3600.0  # seconds


def types_of(host: Host) -> tuple[str, ...]:
    return tuple(descriptor.agent_type for descriptor in host.announced.descriptors)


def available(hosts: Iterable[Host], agent_type: str | None = None) -> list[str]:
    """Ids of the hosts that are there, of one type or of any."""
    return [
        host.announced.host_id
        for host in hosts
        if host.available and (agent_type is None or agent_type in types_of(host))
    ]


def silent_at(host: Host, listening_since: float) -> float:
    """When a host counts as silent if it says nothing more. Before ``listening_since`` nobody was there to hear it."""
    return max(host.seen_at, listening_since) + SILENT_AFTER * host.announced.heartbeat_seconds


def gone_silent(hosts: Iterable[Host], listening_since: float, now: float) -> list[Host]:
    return [host for host in hosts if host.available and silent_at(host, listening_since) < now]


def next_look(hosts: Iterable[Host], listening_since: float, now: float, heartbeat: float) -> float:
    """When a host may next have gone silent; those that come later have ``heartbeat`` seconds between theirs."""
    moments = [silent_at(host, listening_since) for host in hosts if host.available]
    return min([*moments, now + SILENT_AFTER * heartbeat])


def is_replaced(host: Host, hosts: Iterable[Host]) -> bool:
    """Whether other hosts that are there offer everything that this one does."""
    others = [other for other in hosts if other.announced.host_id != host.announced.host_id]
    return all(available(others, agent_type) for agent_type in types_of(host))


def replaced(hosts: Collection[Host]) -> list[str]:
    """Ids of hosts that ended in good order, and whose types others offer now."""
    return [
        host.announced.host_id for host in hosts if host.stopped and not host.available and is_replaced(host, hosts)
    ]


def forgettable(hosts: Collection[Host], now: float) -> list[str]:
    """Ids of hosts that nobody will miss: silent for an hour, and not the last word on a type that is still known."""
    last_words: dict[str, Host] = {}
    for host in sorted(hosts, key=lambda host: host.seen_at):
        last_words.update(dict.fromkeys(types_of(host), host))
    needed = {host.announced.host_id for host in last_words.values() if now - host.seen_at <= KNOWN_FOR}
    return [
        host.announced.host_id
        for host in hosts
        if not host.available and now - host.seen_at > FORGOTTEN_AFTER and host.announced.host_id not in needed
    ]
