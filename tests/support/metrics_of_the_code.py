"""Every metric that a process of ours may show, as the code makes them."""

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from services.edge.http_metrics import HttpMetrics
from services.runtime.bus.faststream_metrics import queue_metrics

TELEMETRY = Path(__file__).resolve().parents[2] / "services" / "runtime" / "telemetry"


@dataclass(frozen=True)
class MetricOfCode:
    """``name`` is what the samples are called, without a histogram's suffixes; ``holder`` the class that makes it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str
    holder: str


def metrics_of_the_code() -> dict[str, MetricOfCode]:
    """Those of each class ``...Metrics`` of a module ``..._metrics`` that is made of a registry and nothing else."""
    found: dict[str, MetricOfCode] = {}
    for path in sorted(TELEMETRY.glob("*_metrics.py")):
        module = importlib.import_module(f"services.runtime.telemetry.{path.stem}")
        for holder in _classes(module):
            registry = CollectorRegistry()
            holder(registry)
            for metric in metrics_in_registry(registry, holder.__name__):
                assert found.setdefault(metric.name, metric) is metric, f"{metric.name} is made twice"
    return found


def all_metrics() -> dict[str, MetricOfCode]:
    """Those, and what the libraries make that count requests and messages, as our code uses them."""
    of_http, of_faststream = CollectorRegistry(), CollectorRegistry()
    HttpMetrics(of_http)
    queue_metrics(of_faststream, "a service", "rabbitmq")
    theirs = [*metrics_in_registry(of_http, "edge"), *metrics_in_registry(of_faststream, "faststream")]
    return metrics_of_the_code() | {metric.name: metric for metric in theirs}


def metrics_in_registry(registry: CollectorRegistry, holder: str) -> list[MetricOfCode]:
    """What a registry's collectors give."""
    labels = {
        collector._name: collector._labelnames  # it says so nowhere else before a first sample
        for collector in registry._collector_to_names
        if isinstance(collector, MetricWrapperBase)
    }
    found = []
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        sampled = tuple(sorted({label for sample in metric.samples for label in sample.labels} - {"le"}))
        found.append(MetricOfCode(name, metric.type, labels.get(metric.name, sampled), metric.documentation, holder))
    return found


def _classes(module: ModuleType) -> list[type]:
    return [
        each
        for name, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__ and name.endswith("Metrics") and not name.startswith("_")
        if list(inspect.signature(each).parameters) == ["registry"]
    ]
