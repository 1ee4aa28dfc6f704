"""A registry's metrics as a report has them: small, since every process sends them every few seconds."""

import math
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from contracts.monitoring import MetricFamily, MetricKind, Series

_NAMES_LENGTH = 200
_LARGEST = 1e18
_Values = tuple[str, ...]


def families_of(registry: CollectorRegistry) -> tuple[MetricFamily, ...]:
    """Counters, gauges, histograms and summaries (as histograms without bounds) with every series that is not zero
    throughout. Figures that a report cannot hold, such as NaN, are left out."""
    found = (_family(metric) for metric in registry.collect())
    return tuple(family for family in found if family is not None and family.series)


def _family(metric: Metric) -> MetricFamily | None:
    match metric.type:
        case "counter":
            samples = [sample for sample in metric.samples if sample.name.endswith("_total")]
            return _plain(f"{metric.name}_total", MetricKind.COUNTER, samples)
        case "gauge" | "unknown":
            return _plain(metric.name, MetricKind.GAUGE, metric.samples)
        case "histogram" | "summary":
            return _histogram(metric)
        case _:
            return None


def _plain(name: str, kind: MetricKind, samples: Iterable[Sample]) -> MetricFamily | None:
    wanted = [sample for sample in samples if sample.value and _reportable(sample.value)]
    if not wanted:
        return None
    labels = tuple(wanted[0].labels)
    series = tuple((tuple(sample.labels[label] for label in labels), (float(sample.value),)) for sample in wanted)
    return MetricFamily.model_construct(name=name, kind=kind, labels=labels, bounds=(), series=series)


def _histogram(metric: Metric) -> MetricFamily | None:
    found: dict[_Values, _Observed] = {}
    labels: _Values = ()
    for sample in metric.samples:
        if sample.name.endswith("_created"):
            continue
        values = tuple(value for label, value in sample.labels.items() if label not in ("le", "quantile"))
        if not found:
            labels = tuple(label for label in sample.labels if label not in ("le", "quantile"))
        if values not in found:
            found[values] = _Observed()
        found[values].take(sample)
    series = tuple(_series(found))
    if not series:
        return None
    bounds = next(iter(found.values())).bounds
    return MetricFamily.model_construct(
        name=metric.name, kind=MetricKind.HISTOGRAM, labels=labels, bounds=tuple(bounds), series=series
    )


class _Observed:
    """One series of a histogram, from its samples; those of buckets come lowest first, and each has the lower ones'
    observations in it."""

    __slots__ = ("_below", "bounds", "count", "counts", "sum")

    def __init__(self) -> None:
        self.bounds: list[float] = []
        self.counts: list[float] = []
        self._below = 0.0
        self.count = 0.0
        self.sum = 0.0

    def take(self, sample: Sample) -> None:
        if sample.name.endswith("_sum"):
            self.sum = float(sample.value)
        elif sample.name.endswith("_count"):
            self.count = float(sample.value)
        elif (bound := float(sample.labels.get("le", "inf"))) != math.inf:
            self.bounds.append(bound)
            self.counts.append(sample.value - self._below)
            self._below = sample.value

    @property
    def figures(self) -> tuple[float, ...]:
        return (*self.counts, self.count - self._below, self.sum)


def _series(found: dict[_Values, _Observed]) -> Iterator[Series]:
    for values, observed in found.items():
        if observed.count and _reportable(observed.sum):
            yield values, observed.figures


def _reportable(value: float) -> bool:
    return -_LARGEST <= value <= _LARGEST
