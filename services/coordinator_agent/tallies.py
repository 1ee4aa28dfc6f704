"""Counting: first choices, Borda points, the pairwise matrix, Copeland scores and Schulze's order. Exact and pure.

Weights are fractions, so equal counts compare equal whatever the order in which ballots are added. The long loops run
over whole multiples of one common unit, because Python adds those twenty times faster.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import lcm

from services.coordinator_agent.ballots import Vote

Scores = dict[str, Fraction]
Matrix = dict[str, dict[str, Fraction]]

HALF = Fraction(1, 2)


def first_choices(alternatives: Sequence[str], votes: Sequence[Vote]) -> Scores:
    """Each vote's weight goes to its first choice, in equal parts if several are level. The sum is the total weight."""
    scores = dict.fromkeys(alternatives, Fraction(0))
    for vote in votes:
        for name in vote.first:
            scores[name] += vote.weight / len(vote.first)
    return scores


def borda(alternatives: Sequence[str], votes: Sequence[Vote]) -> Scores:
    """Of m alternatives, the first gets m-1 points, the next m-2, the last 0; level ones share the points of their
    places equally, and those left out are level below all named. So each vote gives weight * m(m-1)/2 points.

    Source: J.-C. de Borda, "Mémoire sur les élections au scrutin" (1781); equal shares for ties after D. Black,
    "Partial justification of the Borda count", Public Choice 28 (1976).
    """
    half_points = dict.fromkeys(alternatives, 0)
    unit = _unit(vote.weight for vote in votes)
    for groups, weight in _merged(alternatives, votes, unit).items():
        below = len(alternatives)
        for group in groups:
            below -= len(group)
            each = weight * (2 * below + len(group) - 1)
            for name in group:
                half_points[name] += each
    return {name: Fraction(count, 2 * unit) for name, count in half_points.items()}


def pairwise(alternatives: Sequence[str], votes: Sequence[Vote]) -> Matrix:
    """``matrix[a][b]``: the weight of the votes that put a above b; a vote that has them level counts for neither."""
    counts = {a: dict.fromkeys((b for b in alternatives if b != a), 0) for a in alternatives}
    unit = _unit(vote.weight for vote in votes)
    for groups, weight in _merged(alternatives, votes, unit).items():
        for i, group in enumerate(groups):
            below = [name for lower in groups[i + 1 :] for name in lower]
            for better in group:
                row = counts[better]
                for worse in below:
                    row[worse] += weight
    return {a: {b: Fraction(count, unit) for b, count in row.items()} for a, row in counts.items()}


def condorcet_winner(matrix: Matrix) -> str | None:
    """The alternative that more weight prefers to each other one than the reverse, if there is one.

    Source: M. de Condorcet, "Essai sur l'application de l'analyse à la probabilité des décisions" (1785).
    """
    return next((a for a, row in matrix.items() if all(row[b] > matrix[b][a] for b in row)), None)


def copeland(matrix: Matrix) -> Scores:
    """Alternatives beaten plus half of those drawn with.

    Source: A. H. Copeland, "A reasonable social welfare function" (1951).
    """
    return {
        a: sum((Fraction(row[b] > matrix[b][a]) + HALF * (row[b] == matrix[b][a]) for b in row), Fraction(0))
        for a, row in matrix.items()
    }


def schulze(matrix: Matrix) -> Scores:
    """How many alternatives come later in Schulze's order: his potential winners share the highest score, those who
    would be potential winners without them the next, and so on.

    A link is as strong as the weight in favour (winning votes), where more prefer it than the reverse; a path is as
    strong as its weakest link; a precedes b where the strongest path from a to b is stronger than the one back.
    Source: M. Schulze, "A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent
    single-winner election method", Social Choice and Welfare 36 (2011), section 2.
    """
    paths = strongest_paths(matrix)
    scores: Scores = {}
    remaining = list(paths)
    while remaining:
        leading = [a for a in remaining if not any(paths[b][a] > paths[a][b] for b in remaining if b != a)]
        remaining = [a for a in remaining if a not in leading]
        scores |= dict.fromkeys(leading, Fraction(len(remaining)))
    return scores


def strongest_paths(matrix: Matrix) -> Matrix:
    """Strength of the strongest path between every two alternatives, 0 where there is none (Floyd-Warshall)."""
    unit = _unit(weight for row in matrix.values() for weight in row.values())
    paths = {
        a: {b: (int(weight * unit) if weight > matrix[b][a] else 0) for b, weight in row.items()}
        for a, row in matrix.items()
    }
    for via, onward in paths.items():
        for a, row in paths.items():
            for b in row:
                if a != via and b != via:
                    row[b] = max(row[b], min(row[via], onward[b]))
    return {a: {b: Fraction(strength, unit) for b, strength in row.items()} for a, row in paths.items()}


def _complete(alternatives: Sequence[str], vote: Vote) -> tuple[tuple[str, ...], ...]:
    named = {name for group in vote.groups for name in group}
    left_out = tuple(name for name in alternatives if name not in named)
    return (*vote.groups, left_out) if left_out else vote.groups


def _merged(alternatives: Sequence[str], votes: Sequence[Vote], unit: int) -> dict[tuple[tuple[str, ...], ...], int]:
    """Votes with the same preferences as one: ten thousand ballots are seldom ten thousand opinions."""
    merged: dict[tuple[tuple[str, ...], ...], int] = {}
    for vote in votes:
        groups = tuple(tuple(sorted(group)) for group in _complete(alternatives, vote))
        merged[groups] = merged.get(groups, 0) + int(vote.weight * unit)
    return merged


def _unit(weights: Iterable[Fraction]) -> int:
    """Into how many parts one must be cut for every weight to be a whole number of them."""
    return lcm(*{weight.denominator for weight in weights})
