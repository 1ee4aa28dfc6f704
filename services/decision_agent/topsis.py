"""TOPSIS: closeness to the best and distance from the worst values seen (Hwang & Yoon 1981)."""

from collections.abc import Iterable

import numpy as np
from pydantic import JsonValue
from pymcdm.methods import TOPSIS

from services.decision_agent.normalising import FORMULAS, comparable_scale, normalise, normaliser
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.scoring import Scored, outwards, real_roots

DEFAULT_NORMALISATION = "vector"


class Topsis:
    """Score: the closeness D- / (D+ + D-), 0 to 1; more is better."""

    def __init__(self, problem: Problem, normalisation: str) -> None:
        self._problem = problem
        self._matrix = comparable_scale(problem, normalisation)
        self._method = TOPSIS(normalization_function=normaliser(normalisation, problem))
        self._normalised = normalise(problem, normalisation)
        # Weights scale a column and its ideals alike, so distances by column can be kept unweighted.
        self._to_best = (np.max(self._normalised, axis=0) - self._normalised) ** 2
        self._to_worst = (self._normalised - np.min(self._normalised, axis=0)) ** 2
        self.conventions: dict[str, JsonValue] = {
            "normalisation": FORMULAS[normalisation],
            "distance": "Euclidean, weighted, to the best and the worst value of each criterion among the alternatives",
            "score": "closeness D- / (D+ + D-); 0.5 where every alternative is the same; more is better",
            "contributions": "the closeness shared out by each criterion's part of D- squared: they sum to the score",
        }

    def merit(self, weights: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            closeness = np.asarray(self._method(self._matrix, weights, self._problem.types, validation=False))
        # D+ + D- is 0 only where nothing differs, best and worst being one point.
        return np.where(np.isfinite(closeness), closeness, 0.5)

    def score(self, weights: Floats) -> Scored:
        closeness = self.merit(weights)
        from_worst = self._to_worst * weights**2
        squares = np.sum(from_worst, axis=1)
        shares = np.divide(from_worst, squares[:, None], out=np.zeros_like(from_worst), where=squares[:, None] > 0)
        return Scored(
            merit=closeness,
            scores=closeness,
            contributions=shares * closeness[:, None],
            worth=self._normalised * weights,
            details={
                "weighted_values": self._normalised * weights,
                "distance_to_best": np.sqrt(np.sum(self._to_best * weights**2, axis=1)),
                "distance_to_worst": np.sqrt(squares),
            },
        )

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        """Closeness orders as D-^2 / D+^2 does, and with s = (t / (1 - t))^2 both are lines in s.

        So two alternatives are level at the roots of a quadratic in s, one for each rival.
        """
        a, b = self._to_best[:, criterion], self._to_best @ shares**2
        c, d = self._to_worst[:, criterion], self._to_worst @ shares**2
        two = a[winner] * c - a * c[winner]
        one = a[winner] * d + b[winner] * c - a * d[winner] - b * c[winner]
        none = b[winner] * d - b * d[winner]
        s, _ = real_roots(two, one, none)
        ratio = np.sqrt(s[s > 0])
        return outwards(ratio / (1.0 + ratio), now, upward)
