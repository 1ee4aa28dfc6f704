"""VIKOR: a compromise between the sum of regrets and the worst single regret (Opricovic & Tzeng 2004)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import JsonValue
from pymcdm.methods import VIKOR

from services.decision_agent.figures import TIE, tidy
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.scoring import Scored
from services.decision_agent.vikor_crossings import Regrets, crossings

DEFAULT_V = 0.5


class Vikor:
    """Score: Q, 0 to 1; less is better.

    pymcdm computes Q wherever it can. It refuses constant criteria and divides by zero where all S or all R are
    equal, so those are dealt with here: a constant criterion causes no regret, and an equal S or R puts nothing
    into Q.
    """

    def __init__(self, problem: Problem, v: float) -> None:
        self._v = v
        self._varying = np.flatnonzero(~problem.constant)
        self._types = problem.types[self._varying]
        directed = problem.directed
        best, worst = np.max(directed, axis=0), np.min(directed, axis=0)
        span = np.where(best > worst, best - worst, 1.0)
        self._regret = (best - directed) / span
        self._matrix = problem.matrix[:, self._varying]
        self._method = VIKOR(v=v)
        self.conventions: dict[str, JsonValue] = {
            "normalisation": "regret (best - x) / (best - worst) by criterion; a constant criterion causes none",
            "v": v,
            "score": "Q = v (S - S*) / (S- - S*) + (1 - v) (R - R*) / (R- - R*), where S is the sum and R the largest "
            "of the weighted regrets; a part whose S or R are all equal is 0; less is better",
            "contributions": "weighted regret w_j d_ij: they sum to S, and the largest is R; less is better",
        }

    def merit(self, weights: Floats) -> Floats:
        return -self._q(weights)

    def score(self, weights: Floats) -> Scored:
        parts = self._regret * weights
        q = self._q(weights)
        return Scored(
            merit=-q,
            scores=q,
            contributions=parts,
            worth=-parts,
            details={"S": np.sum(parts, axis=1), "R": np.max(parts, axis=1)},
        )

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        others = self._regret * shares
        regrets = Regrets(self._regret[:, criterion], np.sum(others, axis=1), np.max(others, axis=1))
        return crossings(regrets, winner, self._v, now, upward)

    def compromise(self, scored: Scored, order: list[int], labels: tuple[str, ...]) -> dict[str, Any]:
        """Opricovic's two conditions, and the compromise set that follows where one does not hold."""
        if len(order) == 1:
            return {"compromise": [labels[order[0]]]}
        q, s, r = scored.scores, scored.details["S"], scored.details["R"]
        first, second = order[0], order[1]
        needed = 1.0 / (len(order) - 1)
        advantage = bool(q[second] - q[first] >= needed - TIE)
        stable = bool(s[first] <= np.min(s) + TIE or r[first] <= np.min(r) + TIE)
        if not advantage:
            chosen = [i for i in order if q[i] - q[first] < needed - TIE]
        else:
            chosen = [first] if stable else [first, second]
        return {
            "acceptable_advantage": advantage,
            "advantage": tidy(q[second] - q[first]),
            "advantage_needed": tidy(needed),
            "acceptable_stability": stable,
            "compromise": [labels[i] for i in chosen],
        }

    def _q(self, weights: Floats) -> Floats:
        parts = self._regret * weights
        s, r = np.sum(parts, axis=1), np.max(parts, axis=1)
        if self._varying.size and np.ptp(s) > TIE and np.ptp(r) > TIE:
            # Leaving out the constant criteria scales all S and R alike, which Q does not notice.
            return np.asarray(self._method(self._matrix, weights[self._varying], self._types, validation=False))
        return np.asarray(self._v * _spread(s[None, :])[0] + (1.0 - self._v) * _spread(r[None, :])[0])


def _spread(figures: Floats) -> Floats:
    """Each row from 0 (its least) to 1 (its greatest); all 0 where a row's figures are equal but for rounding."""
    least = np.min(figures, axis=1, keepdims=True)
    span = np.max(figures, axis=1, keepdims=True) - least
    return np.asarray(np.divide(figures - least, span, out=np.zeros_like(figures), where=span > TIE))
