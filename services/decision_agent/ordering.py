"""From merits to places: ties are ties, and their order is fixed and stated."""

from dataclasses import dataclass

import numpy as np

from services.decision_agent.figures import TIE
from services.decision_agent.problem import Floats, Problem

TIE_RULE = (
    "scores within 1e-12 of the scale are equal and share a rank; within a tie, the larger plain sum of min-max values "
    "comes first, then the earlier record"
)


@dataclass(frozen=True, slots=True)
class Order:
    """``rows`` from best to worst, and the rank of each of them (1, 1, 3)."""

    rows: list[int]
    ranks: list[int]

    @property
    def first(self) -> list[int]:
        """All who share the first rank."""
        return [row for row, rank in zip(self.rows, self.ranks, strict=True) if rank == 1]


def tie_breaker(problem: Problem) -> Floats:
    """The plain sum of min-max values: an alternative as good everywhere and better somewhere has a larger one, so
    among equals a dominated alternative never comes first."""
    directed = problem.directed
    least = np.min(directed, axis=0)
    span = np.max(directed, axis=0) - least
    return np.asarray(np.sum(np.divide(directed - least, span, out=np.zeros_like(directed), where=span > 0), axis=1))


def order_by(merit: Floats, breaker: Floats, scale: float = 1.0, rows: list[int] | None = None) -> Order:
    """Order ``rows`` (all unless given) by merit, best first."""
    chosen = list(range(len(merit))) if rows is None else rows
    ordered = sorted(chosen, key=lambda row: -merit[row])
    placed: list[int] = []
    ranks: list[int] = []
    start = 0
    while start < len(ordered):
        best = merit[ordered[start]]
        end = start + 1
        while end < len(ordered) and best - merit[ordered[end]] <= TIE * scale:
            end += 1
        placed.extend(sorted(ordered[start:end], key=lambda row: (-round(float(breaker[row]), 12), row)))
        ranks.extend([start + 1] * (end - start))
        start = end
    return Order(placed, ranks)
