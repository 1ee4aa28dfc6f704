"""Weighted sum: the score is the sum of weight times normalised value (Fishburn 1967; Hwang & Yoon 1981)."""

from collections.abc import Iterable

import numpy as np
from pydantic import JsonValue
from pymcdm.methods import WSM

from services.decision_agent.normalising import FORMULAS, comparable_scale, normalise, normaliser
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.scoring import Scored, Sums

DEFAULT_NORMALISATION = "minmax"


class WeightedSum:
    """Score 0 to 1 under every normalisation but 'none'; more is better."""

    def __init__(self, problem: Problem, normalisation: str) -> None:
        self._problem = problem
        self._matrix = comparable_scale(problem, normalisation)
        self._method = WSM(normalization_function=normaliser(normalisation, problem))
        self._sums = Sums(normalise(problem, normalisation))
        self._bounded = normalisation != "none"
        self.normalised = self._sums.parts
        self.conventions: dict[str, JsonValue] = {
            "normalisation": FORMULAS[normalisation],
            "score": "sum of weight times normalised value; more is better",
            "contributions": "weight times normalised value: they sum to the score",
        }

    def merit(self, weights: Floats) -> Floats:
        return np.asarray(self._method(self._matrix, weights, self._problem.types, validation=False))

    def score(self, weights: Floats) -> Scored:
        merit = self.merit(weights)
        parts = self.normalised * weights
        scale = 1.0 if self._bounded else float(np.max(np.abs(parts)))
        return Scored(merit=merit, scores=merit, contributions=parts, worth=parts, scale=scale)

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        return self._sums.crossings(criterion, shares, winner, now, upward)
