"""What the monitor found, for Prometheus and its alerts. Every replica finds the same: take the largest, not the sum.

Values of labels come and go with agent types: each time they are set anew, and those that are no more are gone.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Gauge

from services.runtime.telemetry.bounds import UNKNOWN

_MOST_SERVICES = 100

L = TypeVar("L", bound=tuple[str, ...])


class MonitorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, *labels: str) -> Gauge:
            return Gauge(name, documentation, labels, registry=registry)

        self._problems = gauge("conclave_monitor_problems", "Problems that there are now, by severity", "severity")
        self._services = gauge(
            "conclave_service_instances", "Processes that run a service and report", "service", "ready"
        )
        self._messages = gauge("conclave_queue_messages", "Messages that wait in the queues of a family", "queue")
        self._consumers = gauge("conclave_queue_consumers", "Consumers of the queues of a family", "queue")
        self._agents = gauge("conclave_agents", "Agents of a type, the default one among them", "agent_type", "status")
        self._hosts = gauge("conclave_agent_hosts", "Hosts that offer an agent type", "agent_type", "available")
        self._overdue = gauge("conclave_executions_overdue", "Executions whose timer should have fired long ago")
        self._stuck = gauge("conclave_executions_stuck", "Open executions for which nothing more is to come")
        self._failing = gauge("conclave_workflows_failing", "Workflows that fail more often than usual")
        self._dead_letters = gauge("conclave_dead_letters", "Dead letters in the store, up to a limit")

    def problems(self, by_severity: Mapping[str, int]) -> None:
        _set(self._problems, {(severity,): count for severity, count in by_severity.items()})

    def services(self, ready: Mapping[str, int], not_ready: Mapping[str, int]) -> None:
        """Processes by service; those that went silent are neither. Services are what processes say that they are, so
        beyond a hundred they are not told apart."""
        names = {name: name if i < _MOST_SERVICES else UNKNOWN for i, name in enumerate(sorted({*ready, *not_ready}))}
        ready, not_ready = _renamed(ready, names), _renamed(not_ready, names)
        _set(
            self._services,
            {(name, "true"): count for name, count in ready.items()}
            | {(name, "false"): count for name, count in not_ready.items()},
        )

    def queues(self, by_family: Mapping[str, tuple[int, int]]) -> None:
        """Messages and consumers."""
        _set(self._messages, {(family,): ready for family, (ready, _) in by_family.items()})
        _set(self._consumers, {(family,): consumers for family, (_, consumers) in by_family.items()})

    def agents(self, by_type_and_status: Mapping[tuple[str, str], int]) -> None:
        _set(self._agents, by_type_and_status)

    def hosts(self, available: Mapping[str, int], silent: Mapping[str, int]) -> None:
        _set(
            self._hosts,
            {(name, "true"): count for name, count in available.items()}
            | {(name, "false"): count for name, count in silent.items()},
        )

    def executions(self, *, overdue: int, stuck: int) -> None:
        self._overdue.set(overdue)
        self._stuck.set(stuck)

    def workflows_failing(self, count: int) -> None:
        self._failing.set(count)

    def dead_letters(self, count: int) -> None:
        self._dead_letters.set(count)


def _renamed(counts: Mapping[str, int], names: Mapping[str, str]) -> Mapping[str, int]:
    found: Counter[str] = Counter()
    for name, count in counts.items():
        found[names[name]] += count
    return found


def _set(gauge: Gauge, values: Mapping[L, int]) -> None:
    gauge.clear()
    for labels, value in values.items():
        gauge.labels(*labels).set(value)
