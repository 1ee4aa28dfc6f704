"""Weights: as given, equal, or found from the data by entropy or CRITIC. They always sum to 1."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pymcdm.weights import critic_weights, entropy_weights

from services.decision_agent.figures import TIE
from services.decision_agent.options import Notes
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.refusal import listed, refuse
from services.decision_agent.request_models import MakeDecision

Indices = NDArray[np.intp]
_SUM_TOLERANCE = 1e-9


def find_weights(request: MakeDecision, problem: Problem, notes: Notes) -> Floats:
    """One weight a criterion, summing to 1.

    Raises:
        CapabilityError: ``InvalidWeights`` or ``WeightingUndefined``.
    """
    own = {c.name: c.weight for c in problem.criteria if c.weight is not None}
    if own:
        if request.weights is not None:
            raise refuse("InvalidWeights", f"weights are given twice: in 'weights' and for criteria {listed(own)}")
        return _given(own, problem, notes)
    if isinstance(request.weights, dict):
        return _given(request.weights, problem, notes)
    if request.weights == "entropy":
        notes.conventions["weights"] = "entropy (Shannon): (1 - E_j) / sum(1 - E), with 0 ln 0 = 0"
        return _entropy(problem, notes)
    if request.weights == "critic":
        notes.conventions["weights"] = (
            "CRITIC (Diakoulaki 1995): standard deviation times sum(1 - r_jk), on min-max values, costs turned round"
        )
        return _critic(problem, notes)
    notes.conventions["weights"] = "equal" if request.weights == "equal" else "equal: none were given"
    return np.full(len(problem.criteria), 1.0 / len(problem.criteria))


def _given(weights: dict[str, float], problem: Problem, notes: Notes) -> Floats:
    absent = [name for name in problem.names if name not in weights]
    if absent:
        raise refuse("InvalidWeights", f"criteria {listed(absent)} have no weight; a weight of 0 leaves one out")
    stray = [name for name in weights if name not in problem.names]
    if stray:
        raise refuse("InvalidWeights", f"weights name {listed(stray)}; the criteria are {listed(problem.names)}")
    values = np.array([float(weights[name]) for name in problem.names])
    if not np.all(np.isfinite(values)) or np.any(values < 0):
        raise refuse("InvalidWeights", f"weights must be numbers of at least 0, not {dict(weights)}")
    largest = float(np.max(values))
    if largest == 0:
        raise refuse("InvalidWeights", "all weights are 0, so nothing would decide")
    # Dividing by the largest first keeps the sum finite.
    shares = values / largest
    total = float(np.sum(shares)) * largest
    notes.conventions["weights"] = "given"
    if abs(total - 1.0) > _SUM_TOLERANCE:
        notes.conventions["weights"] = "given, divided by their sum"
        notes.warn(f"the weights summed to {total:.6g}, not 1: each was divided by the sum")
    return np.asarray(shares / np.sum(shares))


def _entropy(problem: Problem, notes: Notes) -> Floats:
    for name, column in zip(problem.names, problem.matrix.T, strict=True):
        if np.min(column) < 0:
            raise refuse(
                "WeightingUndefined",
                f"entropy weights need values of at least 0; criterion {name!r} goes down to {np.min(column):g}",
            )
    return _of_varying(problem, notes, "entropy", _entropy_of)


def _entropy_of(problem: Problem, varying: Indices) -> Floats:
    matrix = problem.matrix[:, varying]
    if np.all(matrix > 0):
        return np.asarray(entropy_weights(matrix))
    # pymcdm refuses zeros, although the textbook has 0 ln 0 = 0.
    shares = matrix / np.sum(matrix, axis=0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    information = 1.0 + np.sum(shares * logs, axis=0) / np.log(len(matrix))
    return np.asarray(information / np.sum(information))


def _critic(problem: Problem, notes: Notes) -> Floats:
    return _of_varying(problem, notes, "CRITIC", _critic_of)


def _critic_of(problem: Problem, varying: Indices) -> Floats:
    # pymcdm takes every column for a benefit; with costs turned round first, conflicts get their true sign.
    directed = problem.directed[:, varying]
    scaled = directed / np.max(np.abs(directed), axis=0)
    if np.max(1.0 - np.corrcoef(scaled, rowvar=False)) < TIE:
        return np.full(varying.size, np.nan)
    return np.asarray(critic_weights(scaled))


def _of_varying(problem: Problem, notes: Notes, name: str, method: Callable[[Problem, Indices], Floats]) -> Floats:
    """Weights of the criteria that vary; a constant one says nothing and gets 0."""
    varying = np.flatnonzero(~problem.constant)
    weights = np.zeros(len(problem.criteria))
    if varying.size == 0:
        notes.warn(f"{name} weights are undefined where no criterion varies: equal weights were used")
        return np.full(len(weights), 1.0 / len(weights))
    if varying.size == 1:
        weights[varying] = 1.0
        return weights
    found = method(problem, varying)
    found = np.clip(found, 0.0, None)
    if not np.all(np.isfinite(found)) or np.sum(found) == 0:
        notes.warn(f"{name} weights are undefined where all criteria agree: equal weights were used")
        found = np.full(varying.size, 1.0 / varying.size)
    weights[varying] = found / np.sum(found)
    return weights
