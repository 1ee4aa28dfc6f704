"""How far each weight can move before another alternative wins.

One weight moves from 0 to 1 and the others share the rest in their present proportions. Each method names the
weights at which a rival can draw level (``Weighable.crossings``); here the stretches between them are tried outwards
from the present weight with the method's own scores, so a bound is always one that the scores confirm.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np

from services.decision_agent.answer_models import WeightRange
from services.decision_agent.figures import TIE, tidy
from services.decision_agent.problem import Floats
from services.decision_agent.scoring import Weighable

CONVENTION = (
    "one weight moves and the others are rescaled in proportion; within the range no alternative scores better than "
    "the winner; from closed formulas, exact but for rounding"
)
_NEAR = 1e-11
# Who wins beyond a bound is asked close to it; the middle of the stretch is asked as well, where a lead that grows
# slowly is out of the reach of rounding.
_JUST_BEYOND = 1e-6


def weight_ranges(
    scorer: Weighable, weights: Floats, winner: int, labels: Sequence[str | None], names: Sequence[str], scale: float
) -> dict[str, WeightRange]:
    """The range of each weight, by criterion."""
    return {name: _range(scorer, weights, j, winner, labels, scale) for j, name in enumerate(names)}


def _range(
    scorer: Weighable, weights: Floats, j: int, winner: int, labels: Sequence[str | None], scale: float
) -> WeightRange:
    now = float(weights[j])
    if len(weights) == 1:
        return WeightRange(weight=1.0, lowest=1.0, highest=1.0, note="the only criterion: its weight is always 1")
    others = weights.copy()
    others[j] = 0.0
    note = ""
    if np.sum(others) > 0:
        shares = others / np.sum(others)
    else:
        shares = np.full(len(weights), 1.0 / (len(weights) - 1))
        shares[j] = 0.0
        note = "no other criterion has any weight, so what this one gives up is shared out evenly"

    def merit(at: float) -> Floats:
        moved = shares * (1.0 - at)
        moved[j] = at
        return scorer.merit(moved)

    highest, above = _last_won(merit, now, scorer.crossings(j, shares, winner, now, True), 1.0, winner, scale)
    lowest, below = _last_won(merit, now, scorer.crossings(j, shares, winner, now, False), 0.0, winner, scale)
    return WeightRange(
        weight=tidy(now),
        lowest=tidy(lowest),
        highest=tidy(highest),
        below=None if below is None else labels[below],
        above=None if above is None else labels[above],
        note=note,
    )


def _last_won(
    merit: Callable[[float], Floats], now: float, crossings: Iterable[float], end: float, winner: int, scale: float
) -> tuple[float, int | None]:
    """The last weight from ``now`` towards ``end`` up to which the winner stays best, and who is better beyond."""
    start = now
    for stop in chain(crossings, [end]):
        if abs(stop - start) <= _NEAR:
            continue
        for part in (_JUST_BEYOND, 0.5):
            merits = merit(start + part * (stop - start))
            best = int(np.argmax(merits))
            if merits[best] - merits[winner] > TIE * scale:
                return start, best
        start = stop
    return end, None
