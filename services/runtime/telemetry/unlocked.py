"""Metrics without locks: the values of a series that one thread alone counts, and that any thread may read.

A lock and the checks around it are most of what prometheus_client takes to count, and whatever a service counts for
each of its messages is counted by its event loop. So what is counted often is counted here: the series is the
registry's as ever, with other values in it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, cast

from prometheus_client import Counter, Gauge, Histogram


class Amount:
    """A value: add to ``value``."""

    __slots__ = ("value",)

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    # What prometheus_client asks of a value.

    def inc(self, amount: float) -> None:
        self.value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        self.value = value

    def get(self) -> float:
        return self.value

    def get_exemplar(self) -> None:
        return None


class Distribution:
    """The values of a histogram."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float], counts: Sequence[Amount], total: Amount) -> None:
        self._bounds = bounds
        self._counts = counts
        self._sum = total

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)].value += 1
        self._sum.value += value


def unlocked(series: Counter | Gauge) -> Amount:
    """What the series counts with from now on, by whomever. Of a series with labels: one with values for them."""
    inner = cast(Any, series)
    inner._value = _amount(inner._value)
    return cast(Amount, inner._value)


def unlocked_histogram(series: Histogram) -> Distribution:
    """The same for a histogram."""
    inner = cast(Any, series)
    inner._buckets = [_amount(bucket) for bucket in inner._buckets]
    inner._sum = _amount(inner._sum)
    return Distribution(inner._upper_bounds, inner._buckets, inner._sum)


def _amount(value: Any) -> Amount:
    return value if isinstance(value, Amount) else Amount(value.get())
