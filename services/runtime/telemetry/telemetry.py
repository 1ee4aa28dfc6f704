"""What the parts of one process measure themselves with: passed by hand to whoever measures."""

from typing import TYPE_CHECKING, Any, TypeVar, cast

from prometheus_client import CollectorRegistry, disable_created_metrics

from contracts.envelope import new_id
from services.runtime.settings import Settings
from services.runtime.telemetry.health import Health

if TYPE_CHECKING:
    from services.runtime.telemetry.tracing import Tracing

K = TypeVar("K")


class Telemetry:
    """One for a process.

    Args:
        enabled: whether anything is counted.
        tracing: where spans go; None where nothing is traced.
        instance: names this process among all others, in reports and traces; made up if empty.
    """

    def __init__(self, *, enabled: bool = True, tracing: "Tracing | None" = None, instance: str = "") -> None:
        self.enabled = enabled
        self.registry = CollectorRegistry()
        self.tracing = tracing
        self.health = Health()
        self.instance = instance or new_id()
        self._metrics: dict[type[Any], Any] = {}

    def metrics(self, kind: type[K]) -> K:
        """This process's one ``kind``, a class of metrics that is made of a registry: services that run in one process
        count into the same."""
        if kind not in self._metrics:
            self._metrics[kind] = cast(Any, kind)(self.registry) if self.enabled else _Uncounted()
        return cast(K, self._metrics[kind])

    def tracing_of(self, service: str) -> "Tracing | None":
        """What records the spans of a service of this process; None where nothing is traced."""
        return None if self.tracing is None else self.tracing.of(service)


class _Uncounted:
    """Stands where metrics would: every method does nothing."""

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object, **__: object) -> None:
    pass


def open_telemetry(settings: Settings, name: str) -> Telemetry:
    """What the settings ask for; ``name`` is the process's, in traces."""
    # When each series began, which nobody asks for, is a third of a scrape.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    if not settings.otlp_endpoint:
        return Telemetry(enabled=settings.metrics_enabled)
    # Only where it is used: it brings the libraries of OpenTelemetry with it.
    from services.runtime.telemetry.tracing import open_tracing

    instance = new_id()
    tracing = open_tracing(settings, name, instance)
    return Telemetry(enabled=settings.metrics_enabled, tracing=tracing, instance=instance)
