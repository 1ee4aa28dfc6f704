"""What every scoring method offers: its scores, how they come about, and where the winner can change."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from services.decision_agent.problem import Floats


@dataclass(frozen=True, slots=True)
class Scored:
    """What a method says of n alternatives under one set of m weights.

    ``merit`` orders them (more is better) and ``scores`` is what is reported; they differ in sign for VIKOR, whose
    best is the lowest. ``scale`` is the size of a large score: what "the same score" is measured against.
    ``contributions`` (n by m) is each criterion's share of the score, in the method's own sense. ``worth`` (n by m)
    compares two alternatives criterion by criterion: more is better, and equal values are worth the same. ``details``
    maps a name to n figures, or n by m.
    """

    merit: Floats
    scores: Floats
    contributions: Floats
    worth: Floats
    scale: float = 1.0
    details: dict[str, Floats] = field(default_factory=dict)


class Weighable(Protocol):
    """A method applied to one decision matrix, ready for any weights that sum to 1."""

    def merit(self, weights: Floats) -> Floats:
        """What orders the alternatives: more is better."""
        ...

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        """Weights in (0, 1) of one criterion at which another alternative may draw level with the winner.

        The other criteria share the rest of the weight in the proportions ``shares`` (0 for the criterion itself,
        sum 1). They come outwards from ``now``, its present weight, to 1 or to 0; there may be too many, never too
        few.
        """
        ...


class Scorer(Weighable, Protocol):
    """One of the scoring methods, with the conventions it follows."""

    @property
    def conventions(self) -> dict[str, JsonValue]: ...

    def score(self, weights: Floats) -> Scored: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Merit as a weighted sum of the columns of ``parts`` (n by m): weighted sum, and PROMETHEE's net flows."""

    parts: Floats

    def merit(self, weights: Floats) -> Floats:
        return np.asarray(self.parts @ weights)

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        """merit_i(t) = t part_ij + (1 - t) rest_i is a line, so it meets the winner's once at most."""
        own = self.parts[:, criterion]
        rest = self.parts @ shares
        lead_own, lead_rest = own[winner] - own, rest[winner] - rest
        with np.errstate(divide="ignore", invalid="ignore"):
            at = lead_rest / (lead_rest - lead_own)
        return outwards(at, now, upward)


def outwards(weights: Floats, now: float, upward: bool) -> list[float]:
    """The weights between ``now`` and 1, or 0, nearest first and each once."""
    found = np.unique(weights[np.isfinite(weights) & (weights > 0.0) & (weights < 1.0)])
    return [float(at) for at in (found[found > now] if upward else found[found < now][::-1])]


def real_roots(two: Floats, one: Floats, none: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Finite real roots of two x^2 + one x + none, element by element, and the index each belongs to."""
    with np.errstate(divide="ignore", invalid="ignore"):
        # The textbook formula loses digits where one^2 is much larger than 4 two none.
        half = -0.5 * (one + np.copysign(np.sqrt(one**2 - 4.0 * two * none), one))
        roots = np.concatenate([half / two, none / half])
    finite = np.isfinite(roots)
    return roots[finite], np.tile(np.arange(len(two)), 2)[finite]
