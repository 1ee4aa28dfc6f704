"""The decision matrix: which columns are the criteria, and their numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.decision_agent.options import Notes
from services.decision_agent.records import Alternatives, is_identifier, is_number
from services.decision_agent.refusal import listed, refuse
from services.decision_agent.request_models import CriterionSpec, MakeDecision

Floats = NDArray[np.float64]
MAX_CELLS = 2_000_000
_EXACT_INTEGER = 2**53
# Squares of larger numbers leave the range of 64-bit floats.
LARGEST = 1e150


@dataclass(frozen=True, slots=True)
class Problem:
    """n alternatives by m criteria. ``matrix`` holds the numbers as given; ``types`` +1 for benefit, -1 for cost."""

    labels: tuple[str, ...]
    criteria: tuple[CriterionSpec, ...]
    matrix: Floats

    def only(self, criteria: Sequence[int]) -> "Problem":
        """The same alternatives by some of the criteria."""
        return Problem(self.labels, tuple(self.criteria[j] for j in criteria), self.matrix[:, list(criteria)])

    @property
    def names(self) -> list[str]:
        return [criterion.name for criterion in self.criteria]

    @property
    def types(self) -> NDArray[np.int64]:
        return np.array([1 if criterion.direction == "benefit" else -1 for criterion in self.criteria], dtype=np.int64)

    @property
    def directed(self) -> Floats:
        """The matrix with costs negated, so that more is better everywhere."""
        return self.matrix * self.types

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which criteria have the same value for every alternative."""
        return np.asarray(np.max(self.matrix, axis=0) == np.min(self.matrix, axis=0))


def build_problem(request: MakeDecision, alternatives: Alternatives, notes: Notes) -> Problem:
    """Choose the criteria, read their columns, and deal with missing values as ``request.missing`` says.

    Raises:
        CapabilityError: ``NoCriteria``, ``UnknownColumn``, ``InvalidInputs``, ``NotNumeric``, ``MissingValues``,
            ``NumberOutOfRange``, ``NoAlternatives`` or ``TooManyAlternatives``.
    """
    problem = read_matrix(choose_criteria(request, alternatives, notes), alternatives, request.missing, notes)
    warn_of_sameness(problem, notes)
    return problem


def read_matrix(
    criteria: Sequence[CriterionSpec], alternatives: Alternatives, missing: str | None, notes: Notes
) -> Problem:
    """The numbers of these criteria. Raises as ``build_problem`` does."""
    if len(criteria) * len(alternatives.rows) > MAX_CELLS:
        raise refuse(
            "TooManyAlternatives",
            f"{len(alternatives.rows)} alternatives by {len(criteria)} criteria are more than {MAX_CELLS} figures",
        )
    matrix = np.column_stack([_numbers(alternatives, criterion, notes) for criterion in criteria])
    kept, matrix = _without_gaps(matrix, criteria, alternatives, missing or "refuse", notes)
    return Problem(tuple(alternatives.labels[i] for i in kept), tuple(criteria), matrix)


def warn_of_sameness(problem: Problem, notes: Notes) -> None:
    if len(problem.labels) == 1:
        notes.warn("there is only one alternative: it wins unopposed")
        return
    constant = [name for name, same in zip(problem.names, problem.constant, strict=True) if same]
    if constant:
        notes.warn(f"{listed(constant)}: the same value for every alternative, so it does not help to choose")


def choose_criteria(request: MakeDecision, alternatives: Alternatives, notes: Notes) -> tuple[CriterionSpec, ...]:
    """The criteria named, else those that have weights, else every numeric column. Raises as ``build_problem`` does."""
    if request.criteria is not None:
        specs = [CriterionSpec(name=c) if isinstance(c, str) else c for c in request.criteria]
    elif isinstance(request.weights, dict):
        specs = [CriterionSpec(name=name) for name in request.weights]
    else:
        specs = _every_numeric_column(alternatives, notes)
    if not specs:
        raise refuse("NoCriteria", "'weights' is empty, so there is no criterion to decide by")
    names = [spec.name for spec in specs]
    if len(set(names)) < len(names):
        raise refuse(
            "InvalidInputs", f"'criteria' names {listed(sorted({n for n in names if names.count(n) > 1}))} twice"
        )
    specs = [spec if spec.column else spec.model_copy(update={"column": spec.name}) for spec in specs]
    unknown = [spec.column for spec in specs if spec.column not in alternatives.columns]
    if unknown:
        raise refuse(
            "UnknownColumn", f"criteria read the columns {listed(unknown)}; the data has {listed(alternatives.columns)}"
        )
    return tuple(_apply_costs(specs, request.costs or [], notes))


def _apply_costs(specs: list[CriterionSpec], costs: Sequence[str], notes: Notes) -> list[CriterionSpec]:
    stray = [name for name in costs if name not in [spec.name for spec in specs]]
    if stray:
        raise refuse(
            "InvalidInputs",
            f"'costs' names {listed(stray)}, which are no criteria; these are {listed(s.name for s in specs)}",
        )
    turned = [spec.model_copy(update={"direction": "cost"}) if spec.name in costs else spec for spec in specs]
    if "criteria_from" in notes.conventions and all(spec.direction == "benefit" for spec in turned):
        notes.warn("no directions were given, so more is taken as better in every criterion")
    return turned


def _every_numeric_column(alternatives: Alternatives, notes: Notes) -> list[CriterionSpec]:
    """The default criteria: columns of numbers that are neither names nor identifiers.

    A column with gaps is left out, and that is said, as long as a whole one remains: nobody asked for it.
    """
    whole: list[str] = []
    gapped: list[str] = []
    for column in alternatives.columns:
        if column == alternatives.label_column or is_identifier(column):
            continue
        values = alternatives.values(column)
        present = [value for value in values if value is not None]
        if present and all(is_number(value) for value in present):
            (whole if len(present) == len(values) else gapped).append(column)
    chosen = whole or gapped
    if not chosen:
        raise refuse(
            "NoCriteria",
            f"there is nothing numeric to decide by: the data has the columns {listed(alternatives.columns)}; "
            "name 'criteria' that hold numbers, or use method 'rules'",
        )
    notes.conventions["criteria_from"] = "assumed: every numeric column, as no criteria were given"
    if whole and gapped:
        notes.warn(f"{listed(gapped)} left out: values are missing there, and no criteria were named")
    return [CriterionSpec(name=column) for column in chosen]


def _numbers(alternatives: Alternatives, criterion: CriterionSpec, notes: Notes) -> Floats:
    """One column as floats, NaN for a gap."""
    column = criterion.column or criterion.name
    values = alternatives.values(column)
    for label, value in zip(alternatives.labels, values, strict=True):
        if value is not None and not isinstance(value, int | float):
            raise refuse(
                "NotNumeric",
                f"criterion {criterion.name!r}: {label} has {_shown(value)} where a number is needed; "
                "convert the column first, or leave it out of the criteria",
            )
        if value is not None and not abs(value) <= LARGEST:
            raise refuse(
                "NumberOutOfRange",
                f"criterion {criterion.name!r}: {label} has {_shown(value)}; the largest that can be compared is "
                f"{LARGEST:g}",
            )
    if any(isinstance(value, int) and abs(value) > _EXACT_INTEGER and int(float(value)) != value for value in values):
        notes.warn(f"{criterion.name}: integers above 2^53 are compared as floats, to about 16 digits")
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def _without_gaps(
    matrix: Floats, criteria: Sequence[CriterionSpec], alternatives: Alternatives, policy: str, notes: Notes
) -> tuple[tuple[int, ...], Floats]:
    gaps = np.isnan(matrix)
    everyone = tuple(range(len(matrix)))
    if not gaps.any():
        return everyone, matrix
    incomplete = np.flatnonzero(gaps.any(axis=1))
    which = ", ".join(
        f"{alternatives.labels[i]} ({', '.join(c.name for c, gap in zip(criteria, gaps[i], strict=True) if gap)})"
        for i in incomplete[:5]
    ) + (f" and {len(incomplete) - 5} more" if len(incomplete) > 5 else "")
    if policy == "refuse":
        raise refuse(
            "MissingValues",
            f"values are missing for {which}; 'missing' may be 'drop' (leave the alternative out), 'worst' or 'mean' "
            "(fill in from the column)",
        )
    notes.conventions["missing"] = policy
    if policy == "drop":
        kept = tuple(i for i in everyone if i not in set(incomplete.tolist()))
        if not kept:
            raise refuse("NoAlternatives", "every alternative misses a value, and 'missing' is 'drop'")
        notes.warn(f"left out for missing values: {which}")
        return kept, matrix[list(kept)]
    notes.warn(f"missing values filled in with the column's {policy}: {which}")
    return everyone, _filled(matrix, gaps, criteria, policy)


def _filled(matrix: Floats, gaps: Any, criteria: Sequence[CriterionSpec], policy: str) -> Floats:
    filled = matrix.copy()
    for j, criterion in enumerate(criteria):
        present = matrix[~gaps[:, j], j]
        if present.size == 0:
            raise refuse("MissingValues", f"criterion {criterion.name!r} has no value at all, so none can be filled in")
        worst = np.min(present) if criterion.direction == "benefit" else np.max(present)
        filled[gaps[:, j], j] = np.mean(present) if policy == "mean" else worst
    return filled


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
