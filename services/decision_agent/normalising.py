"""Normalisations: from the numbers as given to comparable ones, of which more is better.

The formulas are pymcdm's (``pymcdm.normalizations``); here is when each is defined, and what is done where it
is not.
"""

from collections.abc import Callable

import numpy as np
from pymcdm import helpers, normalizations

from services.decision_agent.problem import Floats, Problem
from services.decision_agent.refusal import refuse

NormaliseColumn = Callable[..., Floats]

FORMULAS = {
    "minmax": "minmax: (x - min) / (max - min), for a cost (max - x) / (max - min); a constant column is 1",
    "max": "max: x / max, for a cost 1 - x / max",
    "sum": "sum: x / sum(x), for a cost (1/x) / sum(1/x)",
    "vector": "vector: x / sqrt(sum(x^2)), for a cost 1 - x / sqrt(sum(x^2))",
    "linear": "linear: x / max, for a cost min / x",
    "none": "none: the values as given, costs negated",
}

_NEEDS: dict[str, tuple[Callable[[Floats], bool], str]] = {
    "max": (lambda x: bool(np.min(x) >= 0 and np.max(x) > 0), "no value below 0, and one above"),
    "sum": (lambda x: bool(np.min(x) > 0), "values above 0 only"),
    "linear": (lambda x: bool(np.min(x) > 0), "values above 0 only"),
}


def normaliser(kind: str, problem: Problem) -> NormaliseColumn:
    """pymcdm's function for a normalisation, after checking that it is defined for every column.

    Raises:
        CapabilityError: ``NormalisationUndefined``, naming the criterion and what the normalisation needs.
    """
    if kind in _NEEDS:
        holds, need = _NEEDS[kind]
        for name, column in zip(problem.names, problem.matrix.T, strict=True):
            if not holds(column):
                raise refuse(
                    "NormalisationUndefined",
                    f"normalisation {kind!r} needs {need}, which criterion {name!r} does not have "
                    f"(it spans {np.min(column):g} to {np.max(column):g}); 'minmax' takes any numbers",
                )
    if kind == "none":
        return _as_given
    if kind == "vector":
        return _vector
    function: NormaliseColumn = getattr(normalizations, f"{kind}_normalization")
    return function


def comparable_scale(problem: Problem, kind: str) -> Floats:
    """The matrix with each column divided by a power of two near its largest value.

    Every normalisation but 'none' gives the same to the last bit, and squares neither overflow nor vanish.
    """
    if kind == "none":
        return problem.matrix
    _, exponents = np.frexp(np.max(np.abs(problem.matrix), axis=0))
    return np.asarray(np.ldexp(problem.matrix, -exponents))


def normalise(problem: Problem, kind: str) -> Floats:
    """The normalised matrix."""
    matrix = comparable_scale(problem, kind)
    return np.asarray(helpers.normalize_matrix(matrix, normaliser(kind, problem), problem.types))


def _as_given(x: Floats, cost: bool = False) -> Floats:
    return -x if cost else x


def _vector(x: Floats, cost: bool = False) -> Floats:
    # A column of zeros has no length to divide by; it tells the alternatives apart no more than any constant.
    if not np.any(x):
        return np.zeros_like(x)
    return np.asarray(normalizations.vector_normalization(x, cost))
