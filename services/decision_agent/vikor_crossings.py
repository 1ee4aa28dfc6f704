"""Where VIKOR's winner can change as one weight moves, from closed formulas.

Let the criterion have the weight t and s = t / (1 - t). Divided by 1 - t, which Q does not notice, every
alternative has S = own s + rest, a line, and R = max(own s, worst), a line with one kink. Between the kinks of the
extremes of S and R, Q_w - Q_i times the two spans is therefore a quadratic in s for each rival i.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from services.decision_agent.figures import TIE
from services.decision_agent.problem import Floats
from services.decision_agent.scoring import real_roots

_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Regrets:
    """Per alternative: the regret of the moving criterion, and the sum and the largest of the others' weighted
    regrets, the others' weights summing to 1."""

    own: Floats
    rest: Floats
    worst: Floats

    def s(self, at: float) -> Floats:
        return self.own * at + self.rest

    def r(self, at: float) -> Floats:
        return np.maximum(self.own * at, self.worst)


@dataclass(frozen=True, slots=True)
class _Line:
    slope: float
    level: float

    def __sub__(self, other: "_Line") -> "_Line":
        return _Line(self.slope - other.slope, self.level - other.level)

    def vanishes_at(self, at: float) -> bool:
        return abs(self.slope * at + self.level) <= TIE * (1.0 + at)


def crossings(regrets: Regrets, winner: int, v: float, now: float, upward: bool) -> Iterator[float]:
    """Weights in (0, 1), outwards from ``now``, at which a rival may draw level with the winner."""
    here = np.inf if now >= 1.0 else now / (1.0 - now)
    kinks = _kinks(regrets, winner)
    ahead = [*kinks[kinks > here].tolist(), np.inf] if upward else [*kinks[kinks < here][::-1].tolist(), 0.0]
    for start, end in pairwise([here, *ahead]):
        if start == end:
            continue
        low, high = min(start, end), max(start, end)
        middle = (low + high) / 2.0 if np.isfinite(high) else 2.0 * low + 1.0
        spans = _spans(regrets, middle)
        levels = _levels(regrets, winner, v, middle, spans)
        inside = levels[(levels >= low * (1.0 - _EDGE)) & (levels <= high * (1.0 + _EDGE))]
        yield from (float(at / (1.0 + at)) for at in np.unique(inside)[:: 1 if upward else -1])
        # Where all S or all R meet, their part of Q jumps. A quadratic may have a double root there, which comes out
        # with half the digits only, so the kink itself is named as well.
        if 0.0 < end < np.inf and any(span.vanishes_at(end) for span in spans):
            yield end / (1.0 + end)


def _levels(regrets: Regrets, winner: int, v: float, middle: float, spans: tuple[_Line, _Line]) -> Floats:
    """s at which Q_w = Q_i for some i, as if the extremes were everywhere what they are at ``middle``."""
    span_s, span_r = spans
    own, rest, worst = regrets.own, regrets.rest, regrets.worst
    ahead_slope, ahead_level = own[winner] - own, rest[winner] - rest
    mine = _piece(own[winner], worst[winner], middle)
    found = []
    for rising in (True, False):
        slope = mine.slope - own if rising else np.full_like(own, mine.slope)
        level = np.full_like(worst, mine.level) if rising else mine.level - worst
        two, one, none = _difference(v, ahead_slope, ahead_level, slope, level, span_s, span_r)
        roots, rival = real_roots(two, one, none)
        rises = own[rival] * roots >= worst[rival] * (1.0 - _EDGE)
        flat = own[rival] * roots <= worst[rival] * (1.0 + _EDGE)
        found.append(roots[(roots > 0) & (rises if rising else flat)])
    return np.concatenate(found)


def _difference(
    v: float, s_slope: Floats, s_level: Floats, r_slope: Floats, r_level: Floats, span_s: _Line, span_r: _Line
) -> tuple[Floats, Floats, Floats]:
    """Coefficients of v (S_w - S_i) (R- - R*) + (1 - v) (R_w - R_i) (S- - S*), leaving out a part without span."""
    zero = np.zeros_like(s_slope)
    if _is_nothing(span_s):
        return zero, r_slope, r_level
    if _is_nothing(span_r):
        return zero, s_slope, s_level
    u = 1.0 - v
    return (
        v * s_slope * span_r.slope + u * r_slope * span_s.slope,
        v * (s_slope * span_r.level + s_level * span_r.slope) + u * (r_slope * span_s.level + r_level * span_s.slope),
        v * s_level * span_r.level + u * r_level * span_s.level,
    )


def _is_nothing(line: _Line) -> bool:
    return abs(line.slope) <= TIE and abs(line.level) <= TIE


def _spans(regrets: Regrets, at: float) -> tuple[_Line, _Line]:
    """S- - S* and R- - R* as lines around s = ``at``."""
    own, rest, worst = regrets.own, regrets.rest, regrets.worst
    s, r = regrets.s(at), regrets.r(at)
    top, bottom, most, least = int(np.argmax(s)), int(np.argmin(s)), int(np.argmax(r)), int(np.argmin(r))
    return (
        _Line(own[top], rest[top]) - _Line(own[bottom], rest[bottom]),
        _piece(own[most], worst[most], at) - _piece(own[least], worst[least], at),
    )


def _piece(own: float, worst: float, at: float) -> _Line:
    return _Line(own, 0.0) if own * at > worst else _Line(0.0, worst)


def _kinks(regrets: Regrets, winner: int) -> Floats:
    """s > 0 at which an extreme of S or R, or the winner's R, changes its line."""
    own, worst = regrets.own, regrets.worst
    lowest = _front(own, worst)
    tops, flats = own[lowest], worst[lowest]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.concatenate(
            [
                _envelope_kinks(own, regrets.rest),
                _envelope_kinks(-own, -regrets.rest),
                [np.max(worst) / np.max(own), worst[winner] / own[winner]],
                flats / tops,
                flats[1:] / tops[:-1],
            ]
        )
    return np.unique(found[np.isfinite(found) & (found > 0)])


def _envelope_kinks(slope: Floats, level: Floats) -> list[float]:
    """s > 0 at which the greatest of the lines slope s + level changes, walking up from s = 0."""
    kinks: list[float] = []
    current = int(np.lexsort((slope, level))[-1])
    while True:
        steeper = np.flatnonzero(slope > slope[current])
        if steeper.size == 0:
            return kinks
        meets = (level[current] - level[steeper]) / (slope[steeper] - slope[current])
        first = np.min(meets)
        together = steeper[meets <= first]
        current = int(together[np.argmax(slope[together])])
        kinks.append(float(first))


def _front(own: Floats, worst: Floats) -> list[int]:
    """The alternatives that can have the least R: by growing ``worst``, those with an ``own`` below all before."""
    order = np.lexsort((own, worst))
    least = np.minimum.accumulate(own[order])
    first = np.concatenate([[True], own[order][1:] < least[:-1]])
    return [int(i) for i in order[first]]
