"""Services: which the system needs, whether anybody runs them, and whether those who do are ready. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contracts import topology
from contracts.monitoring_health import Component, InstanceHealth, ServiceHealth, Severity
from contracts.topology import Queue
from services.monitor.findings import Finding, counted
from services.runtime.bus.base import QueueFigures


@dataclass(frozen=True, slots=True)
class Expected:
    """A service without which something is not done: from which queues it takes, and what is missing without it."""

    queues: tuple[Queue, ...]
    severity: Severity
    without: str


EXPECTED: Mapping[str, Expected] = {
    "orchestrator": Expected(
        (
            topology.orchestrator_commands(),
            topology.orchestrator_starts(),
            *topology.orchestrator_shards(),
            topology.orchestrator_crashed(),
        ),
        Severity.CRITICAL,
        "no execution is started and none goes on",
    ),
    "registry": Expected(
        (topology.registry_queue(),),
        Severity.ERROR,
        "no agent is created, deleted or found, and nobody sees that a host is gone",
    ),
    "dead_letters": Expected(
        (topology.dead_letters(), topology.dead_letter_commands()),
        Severity.ERROR,
        "dead letters wait in their queue, and cannot be listed or replayed",
    ),
    "access": Expected((topology.access_queue(),), Severity.ERROR, "no API key can be made, rotated or revoked"),
    "auditor": Expected((topology.auditor_queue(),), Severity.ERROR, "what happens waits to be put on record"),
    "monitor": Expected((topology.monitor_queue(),), Severity.WARNING, "nobody answers what the monitor is asked"),
}


def component_findings(components: Iterable[Component]) -> Iterator[Finding]:
    """What the monitor needs and everybody else does too."""
    for component in components:
        if not component.ok:
            yield Finding(
                f"{component.name}_unavailable",
                Severity.CRITICAL,
                component.name,
                f"the {component.name} cannot be used: {component.fault}",
                f"See that the {component.name} runs and can be reached from the services; they go on by themselves.",
            )


def consumers_of(expected: Expected, measured: Mapping[str, QueueFigures]) -> int:
    """How many take from that of its queues from which the fewest do; 0 where one does not exist."""
    return min(measured[queue.name].consumers if queue.name in measured else 0 for queue in expected.queues)


def services_of(
    instances: Mapping[str, Sequence[InstanceHealth]], measured: Mapping[str, QueueFigures] | None
) -> tuple[ServiceHealth, ...]:
    """Every service that is expected or reported; ``measured`` is None where the queues could not be measured."""
    return tuple(
        ServiceHealth(
            service=name,
            expected=name in EXPECTED,
            consumers=None if measured is None or name not in EXPECTED else consumers_of(EXPECTED[name], measured),
            instances=tuple(instances.get(name, ())),
        )
        for name in sorted({*EXPECTED, *instances})
    )


def service_findings(
    services: Iterable[ServiceHealth], measured: Mapping[str, QueueFigures] | None, away: Collection[str] = ()
) -> Iterator[Finding]:
    """Services that nobody runs, that are not ready, and processes that have gone silent. ``away`` are components that
    nobody can use, which is one problem and not one of each service that lacks them."""
    for service in services:
        expected = EXPECTED.get(service.service)
        if expected is not None and measured is not None and not service.consumers:
            yield _missing(service, expected, measured)
        yield from _not_ready(service, expected, away)
        yield from _silent(service, expected)


def _missing(service: ServiceHealth, expected: Expected, measured: Mapping[str, QueueFigures]) -> Finding:
    unserved = [queue.name for queue in expected.queues if not _consumers(queue, measured)]
    waiting = sum(measured[name].ready for name in unserved if name in measured)
    return Finding(
        "service_missing",
        expected.severity,
        f"service:{service.service}",
        f"nobody takes from {', '.join(unserved)}, where {counted(waiting, 'message waits', 'messages wait')}:"
        f" {expected.without}",
        f"Start {service.service}, or see in its log why it does not take messages. What waits is not lost.",
    )


def _not_ready(service: ServiceHealth, expected: Expected | None, away: Collection[str]) -> Iterator[Finding]:
    faulty = [one for one in service.instances if not one.silent and not one.ready and not _only_lacks(one, away)]
    if not faulty:
        return
    ready = sum(not one.silent and one.ready for one in service.instances)
    severity = expected.severity if expected is not None and not ready else Severity.WARNING
    said = "; ".join(f"{_place(one)}: {_faults(one)}" for one in faulty[:3])
    yield Finding(
        "service_not_ready",
        severity,
        f"service:{service.service}",
        f"{len(faulty)} of {len(faulty) + ready} processes of {service.service} are not ready. {said}",
        "The check that failed says what it lacks; it goes on by itself once that is there.",
    )


def _silent(service: ServiceHealth, expected: Expected | None) -> Iterator[Finding]:
    silent = [one for one in service.instances if one.silent]
    if not silent:
        return
    left = len(service.instances) - len(silent)
    severity = Severity.WARNING if left else Severity.ERROR if expected is None else expected.severity
    yield Finding(
        "service_silent",
        severity,
        f"service:{service.service}",
        f"{', '.join(map(_place, silent[:3]))} stopped reporting without a word; "
        f"{counted(left, f'other of {service.service} reports', f'others of {service.service} report')}",
        "It crashed, hangs, or cannot reach the broker: see its log. Another one in its place ends this.",
    )


def _consumers(queue: Queue, measured: Mapping[str, QueueFigures]) -> int:
    return measured[queue.name].consumers if queue.name in measured else 0


def _only_lacks(instance: InstanceHealth, away: Collection[str]) -> bool:
    return bool(instance.faults) and all(check.name in away for check in instance.faults)


def _place(instance: InstanceHealth) -> str:
    return f"{instance.host}:{instance.pid}"


def _faults(instance: InstanceHealth) -> str:
    return ", ".join(f"{check.name}: {check.fault}" for check in instance.faults) or "it does not say why"
