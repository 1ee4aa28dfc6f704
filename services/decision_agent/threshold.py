"""threshold: accept or reject each alternative by bounds (conjunctive or disjunctive screening, Hwang & Yoon 1981).

With criteria, weights or a score threshold, the accepted are ranked by a weighted sum. Without, they are ranked by
how safely they pass: the margin to the bounds.
"""

import numpy as np
from numpy.typing import NDArray

from services.decision_agent import report, weighted_sum
from services.decision_agent.answer_models import Decision, Outcome, WeightRange
from services.decision_agent.bounds import Screen
from services.decision_agent.figures import TIE, short, tidy
from services.decision_agent.options import Notes
from services.decision_agent.ordering import TIE_RULE, Order, order_by, tie_breaker
from services.decision_agent.problem import Floats, Problem, choose_criteria, read_matrix, warn_of_sameness
from services.decision_agent.rationale import criteria, firmness, quoted
from services.decision_agent.records import read_alternatives
from services.decision_agent.refusal import refuse
from services.decision_agent.request_models import CriterionSpec, MakeDecision
from services.decision_agent.scoring import Scored, Sums
from services.decision_agent.sensitivity import CONVENTION, weight_ranges
from services.decision_agent.weighting import find_weights

NOBODY = "(none is accepted)"


def screen(request: MakeDecision, notes: Notes) -> Decision:
    """Accept or reject every alternative, and rank them: the accepted first.

    Raises:
        CapabilityError: no bounds, bounds that cannot hold, or data that cannot be read (``problem.build_problem``).
    """
    if not request.thresholds and request.score_threshold is None:
        raise refuse("InvalidInputs", "method threshold needs 'thresholds' (min or max by column) or 'score_threshold'")
    alternatives = read_alternatives(request.data, request.alternatives, notes)
    scored_by = _wants_score(request)
    specs = list(choose_criteria(request, alternatives, notes)) if scored_by else []
    bounds = request.thresholds or {}
    absent = [column for column in bounds if column not in alternatives.columns]
    if absent:
        raise refuse(
            "UnknownColumn", f"'thresholds' names {quoted(absent)}; the data has {quoted(alternatives.columns)}"
        )
    # One matrix for both, so that an alternative dropped for a gap is dropped from both.
    bounded = [
        CriterionSpec(name=column, column=column, direction="cost" if bound.min is None else "benefit")
        for column, bound in bounds.items()
    ]
    everything = read_matrix([*specs, *bounded], alternatives, request.missing, notes)
    judged = Screen(
        everything.only(range(len(specs), len(specs) + len(bounded))), dict(bounds), request.require or "all"
    )
    notes.conventions.update(
        {"require": judged.require, "bounds": "both ends of a bound are accepted", "ties": TIE_RULE}
    )
    if scored_by:
        return _by_score(request, everything.only(range(len(specs))), judged, notes)
    return _by_margin(request, judged, notes)


def _wants_score(request: MakeDecision) -> bool:
    return any(
        value is not None for value in (request.criteria, request.weights, request.costs, request.score_threshold)
    )


def _by_margin(request: MakeDecision, judged: Screen, notes: Notes) -> Decision:
    margins = judged.margins
    score = np.min(margins, axis=1) if judged.require == "all" else np.max(margins, axis=1)
    order = _accepted_first(judged.passes, score, np.sum(margins, axis=1), 1.0)
    which = "smallest" if judged.require == "all" else "largest"
    notes.conventions.update(
        {
            "score": f"the {which} margin to a bound, as a share of the span of the column and its bounds; negative "
            "outside; more is better",
            "contributions": "margin to the bound by column",
            "ties": "equal scores share a rank; within a tie, the larger sum of margins comes first, then the earlier "
            "record",
        }
    )
    scored = Scored(merit=score, scores=score, contributions=margins, worth=margins)
    return _answer(request, judged.problem, None, judged, judged.passes, scored, order, notes)


def _by_score(request: MakeDecision, problem: Problem, judged: Screen, notes: Notes) -> Decision:
    warn_of_sameness(problem, notes)
    weights = find_weights(request, problem, notes)
    scorer = weighted_sum.WeightedSum(problem, request.normalisation or weighted_sum.DEFAULT_NORMALISATION)
    scored = scorer.score(weights)
    accepted = judged.passes.copy()
    if request.score_threshold is not None:
        accepted &= scored.merit >= request.score_threshold - TIE * scored.scale
        notes.conventions["score_threshold"] = request.score_threshold
    notes.conventions.update(scorer.conventions)
    notes.conventions["normalised_over"] = "all alternatives, the rejected among them"
    order = _accepted_first(accepted, scored.merit, tie_breaker(problem), scored.scale)
    decision = _answer(request, problem, weights, judged, accepted, scored, order, notes)
    if decision.winner is None:
        decision.sensitivity_note = "no alternative was accepted, so there is no winner to hold on to"
        return decision
    notes.conventions["sensitivity"] = CONVENTION
    decision.sensitivity = _ranges(request, problem, weights, judged, scorer.normalised, order.rows[0], scored.scale)
    decision.rationale = " ".join([decision.rationale, *firmness(decision.sensitivity, problem.labels)])
    return decision


def _ranges(
    request: MakeDecision,
    problem: Problem,
    weights: Floats,
    judged: Screen,
    normalised: Floats,
    winner: int,
    scale: float,
) -> dict[str, WeightRange]:
    """Weights move the scores, not the bounds: the rivals are those within bounds, and the score threshold itself,
    which is an alternative that scores it under any weights."""
    pool = [int(i) for i in np.flatnonzero(judged.passes)]
    parts = normalised[pool]
    labels: list[str | None] = [problem.labels[i] for i in pool]
    if request.score_threshold is not None:
        parts = np.vstack([parts, np.full(parts.shape[1], request.score_threshold)])
        labels.append(NOBODY)
    return weight_ranges(Sums(parts), weights, pool.index(winner), labels, problem.names, scale)


def _accepted_first(accepted: NDArray[np.bool_], merit: Floats, breaker: Floats, scale: float) -> Order:
    inside = order_by(merit, breaker, scale, [int(i) for i in np.flatnonzero(accepted)])
    outside = order_by(merit, breaker, scale, [int(i) for i in np.flatnonzero(~accepted)])
    return Order(inside.rows + outside.rows, inside.ranks + [rank + len(inside.rows) for rank in outside.ranks])


def _answer(
    request: MakeDecision,
    problem: Problem,
    weights: Floats | None,
    judged: Screen,
    accepted: NDArray[np.bool_],
    scored: Scored,
    order: Order,
    notes: Notes,
) -> Decision:
    labels = problem.labels
    best = order.rows[0]
    won = bool(accepted[best])
    tied = [labels[i] for i in order.first] if won and len(order.first) > 1 else []
    if tied:
        notes.warn(f"{quoted(tied)} are tied for the first place")
    if len(labels) == 1:
        notes.warn("there is only one alternative")
    shown = report.reported(order, request.top, notes)
    told = report.explained(shown, notes)
    outcomes: dict[str, Outcome] = {labels[i]: "accept" if accepted[i] else "reject" for i in shown}
    ranked = report.ranking(order, shown, scored.scores, labels, scored.scale)
    for place in ranked:
        place.outcome = outcomes[place.alternative]
    reason = "" if won else _why_nobody(judged.asked(), request.score_threshold)
    return Decision(
        method="threshold",
        winner=labels[best] if won else None,
        reason=reason,
        tied=tied,
        alternatives_count=len(labels),
        criteria=report.criteria_used(problem, weights) if weights is not None else [],
        weights={} if weights is None else {n: tidy(w) for n, w in zip(problem.names, weights, strict=True)},
        ranking=ranked,
        scores={labels[row]: tidy(scored.scores[row], scored.scale) for row in shown},
        contributions=report.contributions(problem, scored, told),
        sensitivity_note="" if weights is not None else "bounds alone use no weights; see margins",
        margins=judged.ranges(best),
        margins_of=labels[best],
        margins_note="how far each bounded value of this alternative can move before the bounds judge it otherwise",
        outcomes=outcomes,
        rationale=" ".join(_sentences(request, problem, weights, judged, accepted, scored, order)),
        conventions=notes.conventions,
        warnings=notes.warnings,
    )


def _why_nobody(asked: str, least: float | None) -> str:
    if least is None:
        return f"no alternative has {asked}"
    return f"no alternative {f'with {asked} ' if asked else ''}scores at least {short(least)}"


def _sentences(
    request: MakeDecision,
    problem: Problem,
    weights: Floats | None,
    judged: Screen,
    accepted: NDArray[np.bool_],
    scored: Scored,
    order: Order,
) -> list[str]:
    labels, best = problem.labels, order.rows[0]
    asked = judged.asked() or "no bounds"
    if request.score_threshold is not None:
        asked += f", and a score of at least {short(request.score_threshold)}"
    count = int(np.sum(accepted))
    sentences = [f"Screened {len(labels)} alternatives by {asked}: {count} accepted, {len(labels) - count} rejected."]
    if weights is not None:
        sentences.append(f"The score is a weighted sum of {criteria(problem, weights)}.")
    score = short(scored.scores[best])
    if not count:
        sentences.append(f"No alternative is accepted; '{labels[best]}' comes nearest, with a score of {score}.")
    elif len(order.first) > 1:
        names = quoted([labels[i] for i in order.first])
        sentences.append(f"{names} share the best score of {score}; '{labels[best]}' is named first by the tie rule.")
    else:
        kind = "score" if weights is not None else "margin"
        sentences.append(f"'{labels[best]}' is chosen with the best {kind} among the accepted, {score}.")
        if weights is None:
            sentences.append(f"It has {judged.standing(best)}.")
    rejected = [row for row in order.rows if not accepted[row]][:3]
    for row in rejected:
        missed = judged.missed(row)
        why = f"it has {missed}" if missed else f"its score is {short(scored.scores[row])}"
        sentences.append(f"'{labels[row]}' is rejected: {why}.")
    return sentences
