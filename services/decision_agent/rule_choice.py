"""rules: judge each record, or one set of facts, by a decision table or a JDM graph."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from services.decision_agent import report
from services.decision_agent.answer_models import Decision, FiredRule, RulesOutput, RulesTrace
from services.decision_agent.decision_table import CompiledTable, Verdict
from services.decision_agent.figures import plain, short, tidy
from services.decision_agent.jdm_graph import CompiledGraph
from services.decision_agent.options import Notes
from services.decision_agent.ordering import Order, order_by
from services.decision_agent.problem import LARGEST
from services.decision_agent.rationale import quoted
from services.decision_agent.records import Alternatives, is_number, read_alternatives
from services.decision_agent.refusal import refuse
from services.decision_agent.request_models import MakeDecision
from services.decision_agent.rule_margins import input_ranges
from services.decision_agent.zen_numbers import check_facts

FACTS = "facts"
DEFAULT_RANK_BY = "score"
NO_WEIGHTS = "rules have no weights; see margins for how far inputs can move"


class Judge(Protocol):
    def judge(self, record: Mapping[str, Any], where: str) -> Verdict: ...


def judge(request: MakeDecision, notes: Notes) -> Decision:
    """Apply the rules, and rank the records by a numeric output if there is one to rank by.

    Raises:
        CapabilityError: no rules or no facts, an expression that does not parse or cannot be judged, a hit policy
            that is violated, or a number the engine cannot hold.
    """
    if (request.table is None) == (request.graph is None):
        raise refuse("InvalidInputs", "method rules needs either 'table' (a decision table) or 'graph' (a JDM graph)")
    alternatives = _read(request, notes)
    for label, row in zip(alternatives.labels, alternatives.rows, strict=True):
        check_facts(row, label)
    rules: CompiledTable | CompiledGraph
    if request.table is not None:
        rules = CompiledTable(request.table, frozenset(alternatives.columns), notes)
    else:
        rules = CompiledGraph(request.graph or {}, notes)
    verdicts = [rules.judge(row, label) for label, row in zip(alternatives.labels, alternatives.rows, strict=True)]
    _state_conventions(request, notes)
    decision = _rank(request, alternatives, verdicts, notes)
    _follow_inputs(rules, alternatives, decision)
    return decision


def _read(request: MakeDecision, notes: Notes) -> Alternatives:
    if request.facts is None:
        return read_alternatives(request.data, request.alternatives, notes)
    if request.data is not None:
        raise refuse("InvalidInputs", "give either 'data' (records to judge) or 'facts' (one case), not both")
    return Alternatives(rows=[request.facts], columns=tuple(request.facts), labels=(FACTS,), label_column=None)


def _state_conventions(request: MakeDecision, notes: Notes) -> None:
    table = request.table
    notes.conventions.update(
        {
            "engine": "zen-engine (ZEN expressions; decimals of 28 digits)",
            "hit_policy": table.hit_policy if table is not None else "of each table of the graph",
            "missing": "a comparison with a missing value does not hold",
            "no_rule": "output is null where no rule held and there is no default ([] for collect)",
            "contributions": "by input, how many conditions on it held in the rules that decided",
        }
    )


def _rank(request: MakeDecision, alternatives: Alternatives, verdicts: Sequence[Verdict], notes: Notes) -> Decision:
    labels = alternatives.labels
    figures, rank_by = _figures(request, labels, verdicts)
    rows = [i for i, figure in enumerate(figures) if figure is not None]
    order = Order([], [])
    if rows:
        scores = np.array([0.0 if figure is None else figure for figure in figures])
        scale = float(np.max(np.abs(scores))) or 1.0
        sign = -1.0 if request.rank_order == "lowest" else 1.0
        order = order_by(sign * scores, np.zeros(len(scores)), scale, rows)
        notes.conventions["score"] = f"output {rank_by!r}, the {request.rank_order or 'highest'} is best"
        notes.conventions["ties"] = "equal scores share a rank, in the order of the records"
        if len(rows) < len(labels):
            notes.warn(f"{len(labels) - len(rows)} records have no number in {rank_by!r} and are not ranked")
    shown = report.reported(order, request.top, notes) if rows else []
    tied = [labels[i] for i in order.first] if len(order.first) > 1 else []
    if tied:
        notes.warn(f"{quoted(tied)} are tied for the first place")
    listed_rows = shown if request.top is not None and rows else list(range(len(labels)))
    winner = labels[order.rows[0]] if rows else None
    return Decision(
        method="rules",
        winner=winner,
        reason="" if winner is not None else _no_winner(request, rank_by),
        tied=tied,
        alternatives_count=len(labels),
        ranking=report.ranking(order, shown, scores, labels, scale) if rows else [],
        scores={labels[i]: tidy(scores[i], scale) for i in shown} if rows else {},
        contributions={labels[i]: _counted(verdicts[i]) for i in report.explained(listed_rows, notes)},
        sensitivity_note=NO_WEIGHTS,
        outputs=[RulesOutput(alternative=labels[i], output=verdicts[i].output) for i in listed_rows],
        trace=[_traced(labels[i], verdicts[i]) for i in listed_rows],
        rationale=" ".join(_sentences(labels, verdicts, order, figures, rank_by)),
        conventions=notes.conventions,
        warnings=notes.warnings,
    )


def _figures(
    request: MakeDecision, labels: Sequence[str], verdicts: Sequence[Verdict]
) -> tuple[list[float | None], str | None]:
    """Each record's number to rank by, and the output it comes from."""
    if request.facts is not None and request.rank_by is None:
        return [None] * len(labels), None
    name = request.rank_by or DEFAULT_RANK_BY
    found = [v.output.get(name) if isinstance(v.output, dict) else None for v in verdicts]
    if any(is_number(x) and not abs(x) <= LARGEST for x in found):
        raise refuse("NumberOutOfRange", f"the output {name!r} has a number beyond {LARGEST:g}, the largest to rank by")
    figures = [float(x) if is_number(x) else None for x in found]
    if any(figure is not None for figure in figures):
        return figures, name
    if request.rank_by is not None:
        raise refuse("InvalidInputs", f"'rank_by' names the output {name!r}, in which no record has a number")
    return figures, None


def _no_winner(request: MakeDecision, rank_by: str | None) -> str:
    if request.facts is not None and rank_by is None:
        return "one case was judged; what was decided is in 'outputs'"
    return (
        "the rules give no number to rank by ('rank_by', or an output called 'score'); what was decided is in 'outputs'"
    )


def _counted(verdict: Verdict) -> dict[str, float]:
    counts: dict[str, float] = {}
    for rule in verdict.fired:
        for condition in rule.because if rule.decided else []:
            counts[condition.input] = counts.get(condition.input, 0.0) + 1.0
    return counts


def _traced(label: str, verdict: Verdict) -> RulesTrace:
    return RulesTrace(alternative=label, fired=verdict.fired, note=verdict.note)


def _sentences(
    labels: Sequence[str],
    verdicts: Sequence[Verdict],
    order: Order,
    figures: Sequence[float | None],
    rank_by: str | None,
) -> list[str]:
    held = sum(1 for verdict in verdicts if verdict.fired)
    if len(labels) == 1:
        return [_case(labels[0], verdicts[0])]
    sentences = [
        f"Judged {len(labels)} records by rules: at least one rule held for {held}, none for {len(labels) - held}."
    ]
    if order.rows:
        best = order.rows[0]
        figure = figures[best]
        if len(order.first) > 1:
            names = quoted([labels[i] for i in order.first])
            sentences.append(
                f"{names} share the best {rank_by} of {short(figure or 0.0)}; '{labels[best]}' is named first."
            )
        else:
            sentences.append(f"'{labels[best]}' has the best {rank_by}, {short(figure or 0.0)}.")
        sentences.append(_case(labels[best], verdicts[best]))
    return sentences


def _case(label: str, verdict: Verdict) -> str:
    decided = [rule for rule in verdict.fired if rule.decided]
    why = "; ".join(_rule(rule) for rule in decided[:5]) or verdict.note or "the expressions were computed"
    outcome = "there is no output" if verdict.output in (None, []) else f"the output is {plain(verdict.output)}"
    return f"For '{label}' {why}: {outcome}."


def _rule(rule: FiredRule) -> str:
    met = [f"{b.input} {plain(b.value)} meets {_condition(b.condition)}" for b in rule.because]
    why = ", ".join(met) or "it has no condition"
    where = f" of {rule.node}" if rule.node else ""
    return f"{rule.rule!r}{where} held, because {why}" + (f" ({rule.description})" if rule.description else "")


def _condition(condition: Any) -> str:
    return condition if isinstance(condition, str) else plain(condition)


def _follow_inputs(rules: CompiledTable | CompiledGraph, alternatives: Alternatives, decision: Decision) -> None:
    """Margins of the winner, or of the only record."""
    label = decision.winner or (alternatives.labels[0] if len(alternatives.labels) == 1 else None)
    if label is None:
        decision.margins_note = "inputs are followed for the winner or for a single case; here there is neither"
    elif isinstance(rules, CompiledGraph):
        decision.margins_note = "inputs are not followed through a graph"
    else:
        row = alternatives.rows[alternatives.labels.index(label)]
        decision.margins, decision.margins_note = input_ranges(rules, row, label)
        decision.margins_of = label
