"""Which agent types there are, by what hosts have said of themselves."""

from collections.abc import Iterable

from contracts.agents import AgentDescriptor
from services.runtime.store.base import Host

KNOWN_FOR = 24 * 3600.0  # seconds after its last word that a type still counts as known: its work would wait


def known_types(hosts: Iterable[Host], now: float) -> dict[str, AgentDescriptor]:
    """Descriptors by agent type; of several hosts of a type, what the latest heard of said.

    ``now`` is epoch seconds.
    """
    return {
        descriptor.agent_type: descriptor for host in _recent(hosts, now) for descriptor in host.announced.descriptors
    }


def services_of_types(hosts: Iterable[Host], now: float) -> dict[str, str]:
    """By agent type, the service that hosts it; of several, that of the latest heard of."""
    return {
        descriptor.agent_type: host.announced.service
        for host in _recent(hosts, now)
        for descriptor in host.announced.descriptors
    }


def _recent(hosts: Iterable[Host], now: float) -> list[Host]:
    return sorted((host for host in hosts if now - host.seen_at <= KNOWN_FOR), key=lambda host: host.seen_at)
