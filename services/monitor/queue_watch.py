"""Queues: which there should be, what they hold, and how that changes. Times are epoch seconds."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from contracts import topology
from contracts.agents import AgentRecord
from contracts.topology import Queue
from services.monitor.service_health import EXPECTED
from services.runtime.bus.base import Bus, QueueFigures

PERIOD = 60.0  # seconds over which rates are taken

_AT_ONCE = 100  # instances' queues that are measured in one look


@dataclass(frozen=True, slots=True)
class Known:
    """A queue that should exist, and the service that takes from it (the agent type where that is not known)."""

    queue: Queue
    owner: str
    instance: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """``growth``: messages a second that it grew by over the last ``period`` seconds, None after one measurement."""

    known: Known
    figures: QueueFigures
    at: float
    growth: float | None = None
    period: float = 0.0


def known_queues(services: Mapping[str, str], agents: Iterable[AgentRecord]) -> list[Known]:
    """Those of the services, of the types that are known (by each, the service that hosts it), and of agents'
    instances."""
    of_services = [Known(queue, service) for service, expected in EXPECTED.items() for queue in expected.queues]
    of_types = [
        Known(queue, services[agent_type])
        for agent_type in sorted(services)
        for queue in (topology.agent_type_queue(agent_type), topology.agent_quarantine_queue(agent_type))
    ]
    of_instances = [
        Known(
            topology.agent_queue(agent.agent_type, agent.agent_id),
            services.get(agent.agent_type, agent.agent_type),
            instance=True,
        )
        for agent in agents
        if not agent.default
    ]
    return [*of_services, Known(topology.unstorable_letters(), "dead_letters"), *of_types, *of_instances]


class QueueWatch:
    """Measures what is known; of very many agents' queues some at each look, and the others at the next."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._measured: dict[str, Measured] = {}
        self._depths: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._next = 0
        self.complete = True

    async def look(self, known: Sequence[Known], now: float) -> None:
        """
        Raises:
            BusUnavailable: the broker is away; what was measured before stays.
        """
        asked = {one.queue.name: one for one in [*(one for one in known if not one.instance), *self._some(known)]}
        found = await self._bus.measure([one.queue for one in asked.values()])
        there = {one.queue.name for one in known}
        self._measured = {
            name: one for name, one in self._measured.items() if name in there and (name not in asked or name in found)
        }
        for name in [name for name in self._depths if name not in self._measured and name not in found]:
            del self._depths[name]
        for name, figures in found.items():
            growth, period = self._grown(name, figures.ready, now)
            self._measured[name] = Measured(asked[name], figures, now, growth, period)
        instances = [one for one in known if one.instance]
        self.complete = all(one.queue.name in self._measured for one in instances) or len(instances) <= _AT_ONCE

    @property
    def measured(self) -> Mapping[str, Measured]:
        """By the queue's name."""
        return self._measured

    @property
    def figures(self) -> dict[str, QueueFigures]:
        return {name: one.figures for name, one in self._measured.items()}

    def _some(self, known: Sequence[Known]) -> list[Known]:
        instances = [one for one in known if one.instance]
        if len(instances) <= _AT_ONCE:
            return instances
        first = self._next % len(instances)
        self._next = first + _AT_ONCE
        return [*instances[first:], *instances[:first]][:_AT_ONCE]

    def _grown(self, name: str, ready: int, now: float) -> tuple[float | None, float]:
        depths = self._depths[name]
        # The oldest that is kept is about PERIOD old: the rate is that of the last minute.
        while len(depths) > 1 and depths[1][0] <= now - PERIOD:
            depths.popleft()
        depths.append((now, ready))
        at, before = depths[0]
        return (None, 0.0) if now <= at else ((ready - before) / (now - at), now - at)
