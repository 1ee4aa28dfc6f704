"""Reports of processes, as tests make them, and a clock that tests turn."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from contracts.monitoring import MetricFamily, MetricKind, ProcessReported, ServiceState, SystemFigures
from services.runtime.telemetry.families import families_of

BEGAN = 1_000_000.0


class Clock:
    """Seconds since some moment; as an argument, it stands for a clock that is read."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def report(
    instance: str = "one",
    number: int = 1,
    *,
    metrics: tuple[MetricFamily, ...] = (),
    uptime: float = 5.0,
    host: str = "host",
    services: tuple[str, ...] = ("edge",),
    stopping: bool = False,
    interval: float = 5.0,
    system: SystemFigures | None = None,
) -> ProcessReported:
    return ProcessReported(
        instance=instance,
        number=number,
        host=host,
        pid=4711,
        version="1.2",
        started_at=BEGAN,
        at=BEGAN + uptime,
        interval=interval,
        stopping=stopping,
        services=tuple(ServiceState(service=service) for service in services),
        system=system or SystemFigures(),
        metrics=metrics,
    )


def report_of(registry: CollectorRegistry, instance: str = "one", number: int = 1) -> ProcessReported:
    """As a process with these metrics sends it, and read as the monitor reads it."""
    made = report(instance, number, metrics=families_of(registry))
    return ProcessReported.model_validate_json(made.model_dump_json())


def counter(name: str, series: Mapping[str, float]) -> MetricFamily:
    """With one label, ``kind``."""
    rows = tuple(((kind,), (float(figure),)) for kind, figure in series.items())
    return MetricFamily(name=name, kind=MetricKind.COUNTER, labels=("kind",), series=rows)


def gauge(name: str, series: Mapping[str, float]) -> MetricFamily:
    return counter(name, series).model_copy(update={"kind": MetricKind.GAUGE})
