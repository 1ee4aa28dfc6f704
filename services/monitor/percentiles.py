"""Percentiles from the buckets of a histogram, as Prometheus estimates them.

https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile (``BucketQuantile`` in
promql/quantile.go): within the bucket that holds the observation, observations are taken to be spread evenly; the
lowest bucket begins at 0 unless its bound is not above that; what lies above the highest bound is taken to lie on it.
So an estimate is off by less than its bucket is wide, and one above the highest bound says "at least".
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Distribution:
    """Observations. ``counts`` has, for each of ``bounds``, how many lie in its bucket alone, and last those above the
    highest; ``sum`` is of all."""

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = (0.0,)
    sum: float = 0.0

    @property
    def count(self) -> float:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        count = self.count
        return self.sum / count if count else None

    def quantile(self, q: float) -> float | None:
        """The value that a share of ``q`` (above 0, up to 1) does not exceed; None without observations, or where no
        bucket but the last tells them apart."""
        reached = list(accumulate(self.counts))
        if not self.bounds or reached[-1] <= 0:
            return None
        rank = q * reached[-1]
        # Rounding may put the rank a little above all that there is.
        bucket = min(bisect_left(reached, rank), len(self.bounds))
        if bucket == len(self.bounds):
            return self.bounds[-1]
        upper = self.bounds[bucket]
        if bucket == 0 and upper <= 0:
            return upper
        lower, below = (self.bounds[bucket - 1], reached[bucket - 1]) if bucket else (0.0, 0.0)
        return lower + (upper - lower) * (rank - below) / self.counts[bucket]


def merged(distributions: Iterable[Distribution]) -> Distribution:
    """All of them as one. Where bounds differ, as between versions of a service, each bucket's observations go to that
    bucket of all bounds together which ends where it does: they were not above that."""
    found = list(distributions)
    if len(found) == 1:
        return found[0]
    every = {one.bounds for one in found}
    if len(every) == 1:
        counts = tuple(map(sum, zip(*(one.counts for one in found), strict=True)))
        return Distribution(found[0].bounds, counts, sum(one.sum for one in found))
    bounds = tuple(sorted({bound for one in found for bound in one.bounds}))
    counted = [0.0] * (len(bounds) + 1)
    for one in found:
        for bound, count in zip(one.bounds, one.counts, strict=False):
            counted[bisect_left(bounds, bound)] += count
        counted[-1] += one.counts[-1]
    return Distribution(bounds, tuple(counted), sum(one.sum for one in found))
