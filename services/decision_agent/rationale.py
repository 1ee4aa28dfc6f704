"""The rationale: what was decided and why, in sentences whose every figure is in the answer."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.decision_agent.answer_models import WeightRange
from services.decision_agent.figures import TIE, short
from services.decision_agent.ordering import Order
from services.decision_agent.problem import Floats, Problem
from services.decision_agent.scoring import Scored

METHOD_NAMES = {
    "weighted_sum": "a weighted sum",
    "topsis": "TOPSIS (closeness to the best values)",
    "vikor": "VIKOR (least regret, Q)",
    "promethee_ii": "PROMETHEE II (net flow)",
    "threshold": "thresholds",
}
SCORE_NAMES = {"weighted_sum": "score", "topsis": "closeness", "vikor": "Q", "promethee_ii": "net flow"}


def explain(method: str, problem: Problem, weights: Floats, scored: Scored, order: Order) -> list[str]:
    """Who won, by how much, and which criteria made the difference."""
    labels, score = problem.labels, SCORE_NAMES.get(method, "score")
    count = len(labels)
    sentences = [
        f"Compared {count} alternative{'s' if count > 1 else ''} by {METHOD_NAMES[method]} "
        f"on {criteria(problem, weights)}."
    ]
    winner = order.rows[0]
    if count == 1:
        return [*sentences, f"'{labels[winner]}' is the only alternative, so it wins unopposed."]
    if len(order.first) > 1:
        sentences.append(
            f"{quoted([labels[i] for i in order.first])} share the best {score} of {short(scored.scores[winner])}: "
            f"the scores do not choose between them, and '{labels[winner]}' is named first only by the tie rule."
        )
        return sentences
    second = order.rows[1]
    better = "lower" if method == "vikor" else "higher"
    gap = abs(scored.scores[winner] - scored.scores[second])
    sentences.append(
        f"'{labels[winner]}' wins with a {score} of {short(scored.scores[winner])}, {short(gap)} {better} than "
        f"'{labels[second]}' ({short(scored.scores[second])})."
    )
    return [*sentences, *versus(problem, scored, winner, second)]


def criteria(problem: Problem, weights: Floats) -> str:
    order = np.argsort(-weights, kind="stable")
    shown = [
        f"{problem.names[j]} ({'less' if problem.types[j] < 0 else 'more'} is better, weight {short(weights[j])})"
        for j in order[:8]
    ]
    more = f" and {len(order) - 8} more" if len(order) > 8 else ""
    return f"{', '.join(shown)}{more}"


def versus(problem: Problem, scored: Scored, winner: int, second: int) -> list[str]:
    """What the winner gains on the second, and what it gives away, criterion by criterion."""
    lead = scored.worth[winner] - scored.worth[second]
    near = TIE * scored.scale
    gains = [j for j in np.argsort(-lead, kind="stable") if lead[j] > near][:3]
    losses = [j for j in np.argsort(lead, kind="stable") if lead[j] < -near][:3]
    sentences = []
    rival = problem.labels[second]
    if gains:
        sentences.append(f"Against '{rival}' it gains on {_parts(problem, lead, gains, winner, second)}.")
    if losses:
        sentences.append(f"It gives away {_parts(problem, lead, losses, winner, second)}.")
    return sentences


def firmness(ranges: Mapping[str, WeightRange], labels: Sequence[str]) -> list[str]:
    """Which weights could turn the decision, the touchiest first."""
    turning = [
        (abs(bound - r.weight), name, r.weight, bound, rival, word)
        for name, r in ranges.items()
        for bound, rival, word in ((r.lowest, r.below, "below"), (r.highest, r.above, "above"))
        if rival is not None
    ]
    if len(labels) == 1:
        return []
    if not turning:
        return ["No weight, moved by itself, changes the winner."]
    turning.sort()
    distance, name, weight, bound, rival, word = turning[0]
    sentences = [
        f"The choice is most sensitive to the weight of {name}: {word} {short(bound)} (now {short(weight)}, "
        f"{'the slightest move' if distance < TIE else f'a move of {short(distance)}'}) '{rival}' wins."
    ]
    firm = [name for name, r in ranges.items() if r.below is None and r.above is None]
    if firm:
        sentences.append(f"The weight of {', '.join(firm[:8])} alone cannot change the winner.")
    return sentences


def quoted(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _parts(problem: Problem, lead: Floats, which: Sequence[int], winner: int, second: int) -> str:
    return ", ".join(
        f"{problem.names[j]} ({short(problem.matrix[winner, j])} against {short(problem.matrix[second, j])}: "
        f"{short(abs(lead[j]))})"
        for j in which
    )
