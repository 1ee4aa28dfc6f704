"""Bounds on columns: who keeps within them, by what margin, and how far a value can move."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.decision_agent.answer_models import InputRange
from services.decision_agent.figures import short, tidy
from services.decision_agent.problem import LARGEST, Floats, Problem
from services.decision_agent.refusal import refuse
from services.decision_agent.request_models import Bounds


class Screen:
    """Alternatives judged by bounds, of which ``require`` says whether all or any must hold.

    ``problem`` has one column for each bound, in order; it may have none, and then every alternative passes.

    Raises:
        CapabilityError: ``InvalidInputs``, for a bound without ends or with its ends the wrong way round.
    """

    def __init__(self, problem: Problem, bounds: Mapping[str, Bounds], require: str) -> None:
        for column, bound in bounds.items():
            _check(column, bound)
        self.problem = problem
        self.require = require
        self._bounds = list(bounds.values())
        low = np.array([-np.inf if b.min is None else b.min for b in self._bounds])
        high = np.array([np.inf if b.max is None else b.max for b in self._bounds])
        values = problem.matrix
        self.holds: NDArray[np.bool_] = (values >= low) & (values <= high)
        self.passes: NDArray[np.bool_] = self._judge(self.holds)
        # The nearer end's distance, negative outside, in spans of the column and its bounds: from -1 to 1.
        distance = np.minimum(values - low, high - values)
        self.margins: Floats = np.asarray(distance / self._spans(values, low, high))

    def asked(self) -> str:
        """The bounds in words."""
        word = ", " if self.require == "all" else " or "
        return word.join(f"{name} {_in_words(b)}" for name, b in zip(self.problem.names, self._bounds, strict=True))

    def standing(self, row: int) -> str:
        """An alternative's values against the bounds, in words."""
        return self._compare(row, list(range(len(self._bounds))))

    def missed(self, row: int) -> str:
        """The bounds that an alternative misses, in words; empty where it misses none."""
        return self._compare(row, [j for j in range(len(self._bounds)) if not self.holds[row, j]])

    def ranges(self, row: int) -> dict[str, InputRange]:
        """How far each bounded value of one alternative can move before it is judged otherwise."""
        return {name: self._range(row, j) for j, name in enumerate(self.problem.names)}

    def _judge(self, holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not self._bounds:
            return np.ones(len(holds), dtype=np.bool_)
        return np.asarray(holds.all(axis=1) if self.require == "all" else holds.any(axis=1))

    @staticmethod
    def _spans(values: Floats, low: Floats, high: Floats) -> Floats:
        ends = np.vstack(
            [values, np.where(np.isfinite(low), low, values[0]), np.where(np.isfinite(high), high, values[0])]
        )
        spans = np.ptp(ends, axis=0)
        return np.asarray(np.where(spans > 0, spans, 1.0))

    def _range(self, row: int, j: int) -> InputRange:
        value = tidy(self.problem.matrix[row, j])
        others = np.delete(self.holds[row], j)
        decisive = bool(others.all()) if self.require == "all" else not others.any()
        if not decisive:
            return InputRange(value=value)
        bound = self._bounds[j]
        if self.holds[row, j]:
            return InputRange(
                value=value,
                lowest=bound.min,
                below=None if bound.min is None else "reject",
                highest=bound.max,
                above=None if bound.max is None else "reject",
            )
        if bound.min is not None and value < bound.min:
            return InputRange(value=value, highest=bound.min, highest_included=False, above="accept")
        return InputRange(value=value, lowest=bound.max, lowest_included=False, below="accept")

    def _compare(self, row: int, which: list[int]) -> str:
        return ", ".join(
            f"{self.problem.names[j]} {short(self.problem.matrix[row, j])} against {_in_words(self._bounds[j])}"
            for j in which
        )


def _check(column: str, bound: Bounds) -> None:
    if bound.min is None and bound.max is None:
        raise refuse("InvalidInputs", f"thresholds.{column} needs a 'min', a 'max' or both")
    if any(end is not None and abs(end) > LARGEST for end in (bound.min, bound.max)):
        raise refuse("NumberOutOfRange", f"thresholds.{column}: the largest bound that can be compared is {LARGEST:g}")
    if bound.min is not None and bound.max is not None and bound.min > bound.max:
        raise refuse(
            "InvalidInputs", f"thresholds.{column}: no value is at least {bound.min:g} and at most {bound.max:g}"
        )


def _in_words(bound: Bounds) -> str:
    if bound.min is None:
        return f"at most {short(bound.max or 0.0)}"
    if bound.max is None:
        return f"at least {short(bound.min)}"
    return f"from {short(bound.min)} to {short(bound.max)}"
