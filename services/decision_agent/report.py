"""The parts of an answer that every method fills in the same way, cut to what was asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.decision_agent.answer_models import CriterionUsed, RankedAlternative
from services.decision_agent.figures import tidy
from services.decision_agent.options import Notes
from services.decision_agent.ordering import Order
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.scoring import Scored

# Figures by alternative and criterion for tens of thousands of alternatives would be megabytes nobody reads.
EXPLAINED = 1000


def reported(order: Order, top: int | None, notes: Notes) -> list[int]:
    """The rows that the ranking shows."""
    if top is None or top >= len(order.rows):
        return order.rows
    notes.warn(f"only the best {top} of {len(order.rows)} alternatives are listed, as 'top' asks")
    return order.rows[:top]


def explained(rows: list[int], notes: Notes) -> list[int]:
    """The rows whose contributions and details are shown."""
    if len(rows) <= EXPLAINED:
        return rows
    notes.warn(f"contributions and details are given for the best {EXPLAINED} alternatives only")
    return rows[:EXPLAINED]


def ranking(
    order: Order, rows: list[int], scores: Floats, labels: Sequence[str], scale: float
) -> list[RankedAlternative]:
    ranks = dict(zip(order.rows, order.ranks, strict=True))
    return [RankedAlternative(alternative=labels[row], rank=ranks[row], score=tidy(scores[row], scale)) for row in rows]


def contributions(problem: Problem, scored: Scored, rows: list[int]) -> dict[str, dict[str, float]]:
    return {
        problem.labels[row]: {
            name: tidy(figure, scored.scale)
            for name, figure in zip(problem.names, scored.contributions[row], strict=True)
        }
        for row in rows
    }


def details(problem: Problem, figures: Mapping[str, Floats], rows: list[int]) -> dict[str, Any]:
    """Name, alternative, figure; or name, alternative, criterion, figure."""

    def of(values: Floats, row: int) -> Any:
        if values.ndim == 1:
            return tidy(values[row])
        return {name: tidy(figure) for name, figure in zip(problem.names, values[row], strict=True)}

    return {name: {problem.labels[row]: of(values, row) for row in rows} for name, values in figures.items()}


def criteria_used(problem: Problem, weights: Floats) -> list[CriterionUsed]:
    return [
        CriterionUsed(name=c.name, column=c.column or c.name, direction=c.direction, weight=tidy(weight))
        for c, weight in zip(problem.criteria, weights, strict=True)
    ]
