"""weighted_sum, topsis, vikor and promethee_ii: rank alternatives by criteria and weights."""

from typing import Any

from services.decision_agent import promethee, report, topsis, vikor, weighted_sum
from services.decision_agent.answer_models import Decision
from services.decision_agent.figures import short, tidy
from services.decision_agent.options import Notes
from services.decision_agent.ordering import TIE_RULE, Order, order_by, tie_breaker
from services.decision_agent.problem import Problem, build_problem
from services.decision_agent.rationale import explain, firmness, quoted
from services.decision_agent.records import read_alternatives
from services.decision_agent.refusal import refuse
from services.decision_agent.request_models import MakeDecision
from services.decision_agent.scoring import Scorer
from services.decision_agent.sensitivity import CONVENTION, weight_ranges
from services.decision_agent.weighting import find_weights


def choose(method: str, request: MakeDecision, notes: Notes) -> Decision:
    """Rank the alternatives of a request by one of the four scoring methods.

    Raises:
        CapabilityError: the input is degenerate in a way that has no defined answer; the code says which.
    """
    alternatives = read_alternatives(request.data, request.alternatives, notes)
    problem = build_problem(request, alternatives, notes)
    weights = find_weights(request, problem, notes)
    scorer = _scorer(method, request, problem)
    scored = scorer.score(weights)
    order = order_by(scored.merit, tie_breaker(problem), scored.scale)
    winner = order.rows[0]
    ranges = weight_ranges(scorer, weights, winner, problem.labels, problem.names, scored.scale)
    notes.conventions.update(scorer.conventions)
    notes.conventions.update({"ties": TIE_RULE, "sensitivity": CONVENTION})
    tied = order.first if len(order.first) > 1 else []
    if tied:
        notes.warn(f"{quoted([problem.labels[i] for i in tied])} are tied for the first place")
    shown = report.reported(order, request.top, notes)
    told = report.explained(shown, notes)
    own_details: dict[str, Any] = dict(report.details(problem, scored.details, told))
    sentences = explain(method, problem, weights, scored, order)
    if isinstance(scorer, vikor.Vikor):
        compromise = scorer.compromise(scored, order.rows, problem.labels)
        own_details.update(compromise)
        sentences += _compromise_sentence(compromise, order)
    sentences += firmness(ranges, problem.labels)
    if "criteria_from" in notes.conventions:
        sentences.append("This rests on an assumption: no criteria were given, so every numeric column counts.")
    return Decision(
        method=method,
        winner=problem.labels[winner],
        tied=[problem.labels[i] for i in tied],
        alternatives_count=len(problem.labels),
        criteria=report.criteria_used(problem, weights),
        weights={name: tidy(w) for name, w in zip(problem.names, weights, strict=True)},
        ranking=report.ranking(order, shown, scored.scores, problem.labels, scored.scale),
        scores={problem.labels[row]: tidy(scored.scores[row], scored.scale) for row in shown},
        contributions=report.contributions(problem, scored, told),
        sensitivity=ranges,
        details=own_details,
        rationale=" ".join(sentences),
        conventions=notes.conventions,
        warnings=notes.warnings,
    )


def _scorer(method: str, request: MakeDecision, problem: Problem) -> Scorer:
    if method == "weighted_sum":
        return weighted_sum.WeightedSum(problem, request.normalisation or weighted_sum.DEFAULT_NORMALISATION)
    if method == "topsis":
        if request.normalisation == "none":
            raise refuse("InvalidInputs", "topsis needs a normalisation: vector, minmax, max, sum or linear")
        return topsis.Topsis(problem, request.normalisation or topsis.DEFAULT_NORMALISATION)
    if method == "vikor":
        return vikor.Vikor(problem, vikor.DEFAULT_V if request.v is None else request.v)
    return promethee.PrometheeII(problem, request.preference)


def _compromise_sentence(compromise: dict[str, Any], order: Order) -> list[str]:
    if len(order.rows) == 1 or len(order.first) > 1:
        return []
    chosen = compromise["compromise"]
    if len(chosen) == 1:
        return ["Both of VIKOR's conditions, acceptable advantage and acceptable stability, hold."]
    if not compromise["acceptable_advantage"]:
        why = (
            f"its advantage of {short(compromise['advantage'])} is below the {short(compromise['advantage_needed'])} "
            "that VIKOR asks for"
        )
    else:
        why = "it is best neither by S nor by R"
    return [f"It is not ahead beyond doubt: {why}, so the compromise set is {quoted(chosen)}."]
