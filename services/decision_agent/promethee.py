"""PROMETHEE II: net flows of pairwise preference (Brans & Vincke 1985)."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import JsonValue
from pymcdm.methods.partial import PROMETHEE_I

from services.decision_agent.problem import Floats, Problem
from services.decision_agent.refusal import refuse
from services.decision_agent.request_models import Preference
from services.decision_agent.scoring import Scored, Sums

MAX_ALTERNATIVES = 2000

_PYMCDM = {"usual": "usual", "u_shape": "ushape", "v_shape": "vshape", "level": "level", "linear": "vshape_2"}
_PARAMETERS = {
    "usual": "",
    "u_shape": "q",
    "v_shape": "p",
    "level": "qp",
    "linear": "qp",
    "gaussian": "s",
}
FORMULAS = {
    "usual": "usual: 1 for d > 0",
    "u_shape": "u_shape: 1 for d > q",
    "v_shape": "v_shape: d / p up to p, then 1",
    "level": "level: 0.5 for q < d <= p, then 1",
    "linear": "linear: (d - q) / (p - q) for q < d <= p, then 1",
    "gaussian": "gaussian: 1 - exp(-d^2 / (2 s^2)) for d > 0",
}


class PrometheeII:
    """Score: the net flow phi = phi+ - phi-, from -1 to 1; more is better.

    The flow is a weighted sum of flows by criterion, so each criterion is scored by itself, once; that also lets
    each have a preference function of its own, which pymcdm's object does not.

    Raises:
        CapabilityError: ``TooManyAlternatives`` or ``InvalidInputs`` (a preference's parameters).
    """

    def __init__(self, problem: Problem, default: Preference | None) -> None:
        count = len(problem.labels)
        if count > MAX_ALTERNATIVES:
            raise refuse(
                "TooManyAlternatives",
                f"promethee_ii compares every pair: {count} alternatives are more than the {MAX_ALTERNATIVES} it "
                "takes; filter them first, or use weighted_sum or topsis",
            )
        preferences = [criterion.preference or default or Preference() for criterion in problem.criteria]
        for name, preference in zip(problem.names, preferences, strict=True):
            _check(name, preference)
        flows = [_flows(column, preference) for column, preference in zip(problem.directed.T, preferences, strict=True)]
        self._leaving = np.column_stack([leaving for leaving, _ in flows])
        self._entering = np.column_stack([entering for _, entering in flows])
        self._sums = Sums(self._leaving - self._entering)
        self.conventions: dict[str, JsonValue] = {
            "preference": {
                name: {"function": FORMULAS[p.function], **p.model_dump(include={"q", "p", "s"}, exclude_none=True)}
                for name, p in zip(problem.names, preferences, strict=True)
            },
            "score": "net flow phi = phi+ - phi-, each the mean over the other alternatives; more is better",
            "contributions": "weight times the criterion's own net flow: they sum to the score",
        }

    def merit(self, weights: Floats) -> Floats:
        return self._sums.merit(weights)

    def score(self, weights: Floats) -> Scored:
        net = self.merit(weights)
        parts = self._sums.parts * weights
        return Scored(
            merit=net,
            scores=net,
            contributions=parts,
            worth=parts,
            details={"positive_flow": self._leaving @ weights, "negative_flow": self._entering @ weights},
        )

    def crossings(self, criterion: int, shares: Floats, winner: int, now: float, upward: bool) -> Iterable[float]:
        return self._sums.crossings(criterion, shares, winner, now, upward)


class _Gaussian(PROMETHEE_I):  # type: ignore[misc]
    """The sixth preference function, which pymcdm 1.4 lacks."""

    def __init__(self, s: float) -> None:
        super().__init__("usual")
        self.pfs = [lambda d: np.where(d > 0, -np.expm1(-0.5 * (d / s) ** 2), 0.0)]


def _flows(column: Floats, preference: Preference) -> tuple[Floats, Floats]:
    """phi+ and phi- of one criterion, of which more is better."""
    if len(column) == 1:
        return np.zeros(1), np.zeros(1)
    # A pymcdm object with p or q is spent after one call, and its level and linear shapes divide by p and p - q
    # where those do not apply.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        leaving, entering = _method(preference)(column[:, None], np.ones(1), np.ones(1), validation=False)
    return np.asarray(leaving), np.asarray(entering)


def _method(preference: Preference) -> Any:
    if preference.s is not None:
        return _Gaussian(preference.s)
    p = None if preference.p is None else [preference.p]
    q = None if preference.q is None else [preference.q]
    return PROMETHEE_I(_PYMCDM[preference.function], p=p, q=q)


def _check(name: str, preference: Preference) -> None:
    needs = _PARAMETERS[preference.function]
    given = "".join(key for key in "qps" if getattr(preference, key) is not None)
    if set(given) != set(needs):
        wanted = " and ".join(needs) or "no parameter"
        raise refuse(
            "InvalidInputs",
            f"criterion {name!r}: the preference function {preference.function!r} takes {wanted}, "
            f"and was given {' and '.join(given) or 'none'}",
        )
    if preference.q is not None and preference.p is not None and preference.q >= preference.p:
        raise refuse(
            "InvalidInputs",
            f"criterion {name!r}: q ({preference.q:g}) must be below p ({preference.p:g}): up to q a difference "
            "counts for nothing, from p it counts in full",
        )
