"""A decision table: its cells are ZEN conditions, its hit policy and outcomes are applied here.

zen-engine's own table node knows the hit policies first and collect only, leaves out null outputs, rounds numbers
and passes over cells that fail. So it evaluates the conditions and expressions, cell by cell, and what a rule
gives is taken from the request as it stands.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import zen

from services.decision_agent.answer_models import Because, FiredRule
from services.decision_agent.options import Notes
from services.decision_agent.records import is_missing
from services.decision_agent.refusal import listed, refuse
from services.decision_agent.table_models import Cell, DecisionTable, Equals, Rule, TableInput, TableOutput
from services.decision_agent.zen_expressions import (
    ZenFailure,
    compile_condition,
    compile_value,
    context_of,
    evaluate,
    goes_over_lists_within_lists,
    guarded,
    names_in,
)
from services.decision_agent.zen_numbers import read_result
from services.decision_agent.zen_work import check_lists, texts_of

_BARE_WORDS = re.compile(r"[A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*$")
_WORDS = frozenset({"true", "false", "null"})
_ANYTHING = ("", "-")
NO_RULE = "no rule held"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the table says of one record: the outcome (None where no rule held), and the rules that held."""

    output: Any
    fired: list[FiredRule]
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Condition:
    input: str
    shown: Any
    holds: Callable[[Any, str], bool]


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    index: int
    name: str
    rule: Rule
    conditions: list[_Condition]
    computed: dict[str, zen.ZenDecision] = field(default_factory=dict)


class CompiledTable:
    """A table ready to judge records.

    Parameters:
        known: names of the fields that records have, to tell a field from a forgotten pair of quotes.

    Raises:
        CapabilityError: ``BadExpression`` or ``InvalidInputs``, naming rule and column.
    """

    def __init__(self, table: DecisionTable, known: frozenset[str], notes: Notes) -> None:
        self.table = table
        self._notes = notes
        self._known = known
        self._walks_within_walks = any(map(goes_over_lists_within_lists, texts_of(table.model_dump())))
        self.inputs = _inputs(table)
        self._outputs = {o if isinstance(o, str) else o.name: o for o in table.outputs}
        self._expressions = {
            i.name: self._computed(i.expression, f"input {i.name!r}") for i in self.inputs.values() if i.expression
        }
        self._rules = [self._compile(index, rule) for index, rule in enumerate(table.rules)]
        names = [rule.name for rule in self._rules]
        if len(set(names)) < len(names):
            raise refuse(
                "InvalidInputs", f"rules {listed(sorted({n for n in names if names.count(n) > 1}))} share an id"
            )
        if table.hit_policy == "priority":
            self._check_priorities()

    def judge(self, record: Mapping[str, Any], where: str, changed: Mapping[str, Any] | None = None) -> Verdict:
        """Judge one record; ``changed`` replaces the values of some inputs.

        Raises:
            CapabilityError: ``RuleTypeMismatch``, ``RuleExpressionFailed`` or ``HitPolicyViolated``.
        """
        fields = {**record, **(changed or {})}
        if self._walks_within_walks:
            check_lists(fields, where)
        values = {name: self._value(name, fields, where) for name in self.inputs}
        contexts = {name: context_of({**fields, "$": value}) for name, value in values.items()}
        held: list[_CompiledRule] = []
        for rule in self._rules:
            if self._holds(rule, values, contexts, where):
                held.append(rule)
                if self.table.hit_policy == "first":
                    break
        fired = [self._fire(rule, values, fields, where) for rule in held]
        return self._decide(held, fired, where)

    # ---- compiling

    def _compile(self, index: int, rule: Rule) -> _CompiledRule:
        name = rule.id or f"rule {index + 1}"
        stray = [column for column in rule.when if self.table.inputs and column not in self.inputs]
        if stray:
            raise refuse("InvalidInputs", f"{name}: 'when' names {listed(stray)}; the inputs are {listed(self.inputs)}")
        stray = [column for column in rule.then if self._outputs and column not in self._outputs]
        if stray:
            raise refuse(
                "InvalidInputs", f"{name}: 'then' names {listed(stray)}; the outputs are {listed(self._outputs)}"
            )
        conditions = [
            _Condition(column, _shown(cell), self._condition(cell, f"{name}, {column!r}"))
            for column, cell in rule.when.items()
            if not _is_anything(cell)
        ]
        computed = {
            column: self._output(value["expression"], f"{name}, {column!r}")
            for column, value in rule.then.items()
            if isinstance(value, dict) and set(value) == {"expression"}
        }
        return _CompiledRule(index, name, rule, conditions, computed)

    def _condition(self, cell: Cell, where: str) -> Callable[[Any, str], bool]:
        if isinstance(cell, Equals):
            return lambda value, _: _same(value, cell.equals)
        if isinstance(cell, list):
            return lambda value, _: any(_same(value, item) for item in cell)
        if not isinstance(cell, str):
            return lambda value, _: _same(value, cell)
        bare = [word.strip() for word in cell.split(",")] if _BARE_WORDS.match(cell.strip()) else []
        unknown = [word for word in bare if word not in _WORDS | self._known]
        if unknown:
            raise refuse(
                "BadExpression",
                f"{where}: {cell!r} names {listed(unknown)}, which is no field of the data; text is written in quotes, "
                f"as in \"'{unknown[0]}'\"",
            )
        compiled = compile_condition(cell, where)
        self._warn_of_strangers(cell, where)
        return lambda value, context: _holds(compiled, value, context, cell, where)

    def _computed(self, expression: str, where: str) -> "zen.Expression":
        compiled = compile_value(expression, where)
        self._warn_of_strangers(expression, where)
        return compiled

    def _output(self, expression: Any, where: str) -> zen.ZenDecision:
        if not isinstance(expression, str):
            raise refuse("BadExpression", f"{where}: 'expression' holds {type(expression).__name__}, not text")
        self._computed(expression, where)
        return _as_decision(expression)

    def _warn_of_strangers(self, expression: str, where: str) -> None:
        strangers = sorted(names_in(expression) - self._known)
        if strangers:
            self._notes.warn(
                f"{where}: {expression!r} reads {listed(strangers)}, which no record has: it counts as null"
            )

    def _check_priorities(self) -> None:
        ordered = any(isinstance(o, TableOutput) and o.values for o in self._outputs.values())
        without = [rule.name for rule in self._rules if rule.rule.priority is None]
        if without and not ordered:
            raise refuse(
                "InvalidInputs",
                f"hit policy 'priority' needs a 'priority' in every rule ({listed(without)} lack it), or an output "
                "with 'values' from the highest priority down",
            )

    # ---- judging

    def _value(self, name: str, record: Mapping[str, Any], where: str) -> Any:
        expression = self._expressions.get(name)
        if expression is None:
            value = _look_up(record, name)
            return None if is_missing(value) else value
        try:
            return evaluate(expression, context_of(dict(record)))
        except ZenFailure as failure:
            text = self.inputs[name].expression
            raise refuse("RuleExpressionFailed", f"{where}: input {name!r}, {text!r}: {failure}") from failure

    def _holds(self, rule: _CompiledRule, values: Mapping[str, Any], contexts: Mapping[str, str], where: str) -> bool:
        try:
            return all(c.holds(values[c.input], contexts[c.input]) for c in rule.conditions)
        except ZenFailure as failure:
            raise refuse("RuleTypeMismatch", f"{where}: {failure}") from failure

    def _fire(self, rule: _CompiledRule, values: Mapping[str, Any], record: Mapping[str, Any], where: str) -> FiredRule:
        outputs = dict(rule.rule.then)
        for column, decision in rule.computed.items():
            place = f"{where}, {rule.name}, {column!r}"
            try:
                result = guarded(decision.evaluate, context_of(dict(record)))["result"]
            except ZenFailure as failure:
                raise refuse("RuleExpressionFailed", f"{place}: {failure}") from failure
            outputs[column] = read_result(result.get("value"), place, self._notes)
        return FiredRule(
            rule=rule.name,
            index=rule.index,
            description=rule.rule.description,
            because=[Because(input=c.input, value=values[c.input], condition=c.shown) for c in rule.conditions],
            outputs=outputs,
        )

    def _decide(self, held: list[_CompiledRule], fired: list[FiredRule], where: str) -> Verdict:
        policy = self.table.hit_policy
        if policy == "collect":
            outputs = [rule.outputs for rule in fired] or _default(self.table.default)
            return Verdict(outputs, fired, "" if fired else NO_RULE)
        if not fired:
            return Verdict(self.table.default, fired, NO_RULE)
        names = listed(rule.rule for rule in fired)
        if policy == "unique" and len(fired) > 1:
            raise refuse("HitPolicyViolated", f"{where}: hit policy 'unique', but {names} hold together", rules=names)
        if policy == "any" and any(not _same(rule.outputs, fired[0].outputs) for rule in fired):
            raise refuse(
                "HitPolicyViolated", f"{where}: hit policy 'any', but {names} say different things", rules=names
            )
        best = 0
        if policy == "priority":
            best = min(range(len(held)), key=lambda i: (self._urgency(held[i], fired[i]), i))
        deciding = range(len(fired)) if policy == "any" else (best,)
        for i, rule in enumerate(fired):
            rule.decided = i in deciding
        return Verdict(fired[best].outputs, fired)

    def _urgency(self, held: _CompiledRule, fired: FiredRule) -> tuple[float, ...]:
        """Least is most urgent: the rule's priority, else the places of its outputs in their columns' ``values``."""
        if held.rule.priority is not None:
            return (-held.rule.priority,)
        outputs = fired.outputs if isinstance(fired.outputs, dict) else {}
        places = []
        for name, column in self._outputs.items():
            if isinstance(column, TableOutput) and column.values:
                found = [i for i, value in enumerate(column.values) if _same(outputs.get(name), value)]
                places.append(float(found[0]) if found else float(len(column.values)))
        return tuple(places)


def _inputs(table: DecisionTable) -> dict[str, TableInput]:
    declared = [TableInput(name=i) if isinstance(i, str) else i for i in table.inputs]
    named = [TableInput(name=name) for name in dict.fromkeys(n for rule in table.rules for n in rule.when)]
    return {i.name: i for i in declared or named}


def _default(default: dict[str, Any] | None) -> list[Any]:
    return [] if default is None else [default]


def _as_decision(expression: str) -> zen.ZenDecision:
    """An output expression as a graph of one node: evaluated alone, zen-engine rounds integers above 2^53."""
    graph = {
        "nodes": [
            {"id": "in", "type": "inputNode", "name": "in"},
            {
                "id": "value",
                "type": "expressionNode",
                "name": "value",
                "content": {"expressions": [{"id": "value", "key": "value", "value": expression}]},
            },
            {"id": "out", "type": "outputNode", "name": "out"},
        ],
        "edges": [
            {"id": "1", "sourceId": "in", "targetId": "value"},
            {"id": "2", "sourceId": "value", "targetId": "out"},
        ],
    }
    return zen.ZenEngine().create_decision(json.dumps(graph))


def _holds(compiled: "zen.Expression", value: Any, context: str, cell: str, where: str) -> bool:
    try:
        return bool(evaluate(compiled, context))
    except ZenFailure as failure:
        # Nothing can be said of a value that is not there, so no comparison with it holds.
        if value is None:
            return False
        raise ZenFailure(
            f"{where}: {cell!r} cannot be judged on {value!r} ({type(value).__name__}): {failure}"
        ) from failure


def _is_anything(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, str) and cell.strip() in _ANYTHING)


def _shown(cell: Cell) -> Any:
    return cell.model_dump() if isinstance(cell, Equals) else cell


def _look_up(record: Mapping[str, Any], name: str) -> Any:
    if name in record:
        return record[name]
    found: Any = record
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _same(value: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, but true is not 1."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_same(value[name], other[name]) for name in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_same, value, other))
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)
