"""A JDM graph (GoRules' format) through zen-engine: checked first, then evaluated with its trace.

The engine passes over table cells and switch conditions that do not parse, so every expression is compiled before.
It leaves nulls out of a result but keeps them in the trace, so the result is read from there. Function nodes run
JavaScript with network access, and sub-decisions and custom nodes need code of the host, so these are refused.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import zen

from services.decision_agent.answer_models import Because, FiredRule
from services.decision_agent.decision_table import NO_RULE, Verdict
from services.decision_agent.options import Notes
from services.decision_agent.refusal import listed, refuse
from services.decision_agent.zen_expressions import (
    ZenFailure,
    check_shape,
    compile_condition,
    compile_value,
    context_of,
    goes_over_lists_within_lists,
    guarded,
)
from services.decision_agent.zen_numbers import read_result
from services.decision_agent.zen_work import check_lists, texts_of

MAX_NODES = 500
MAX_CELLS = 100_000
NODE_TYPES = ("inputNode", "outputNode", "decisionTableNode", "expressionNode", "switchNode")
_HIT_POLICIES = ("first", "collect")


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    name: str
    type: str
    content: Mapping[str, Any]


class CompiledGraph:
    """A graph ready to judge records.

    Raises:
        CapabilityError: ``UnsupportedGraph`` or ``BadExpression``, naming the node.
    """

    def __init__(self, graph: Mapping[str, Any], notes: Notes) -> None:
        self._notes = notes
        self._walks_within_walks = any(map(goes_over_lists_within_lists, texts_of(graph)))
        self._nodes = {node.id: node for node in _nodes(graph)}
        for node in self._nodes.values():
            _check_node(node)
        try:
            self._decision = guarded(zen.ZenEngine().create_decision, json.dumps(graph, allow_nan=False))
            guarded(self._decision.validate)
        except ZenFailure as failure:
            raise refuse("UnsupportedGraph", f"the rules engine does not take the graph: {failure}") from failure

    def judge(self, record: Mapping[str, Any], where: str) -> Verdict:
        """Evaluate the graph on one record.

        Raises:
            CapabilityError: ``RuleExpressionFailed``, with the node and the engine's reason.
        """
        if self._walks_within_walks:
            check_lists(record, where)
        try:
            response = guarded(self._decision.evaluate, context_of(dict(record)), {"trace": True})
        except ZenFailure as failure:
            raise refuse("RuleExpressionFailed", f"{where}: {failure}") from failure
        visited = sorted(response["trace"].values(), key=lambda step: step["order"])
        fired = [rule for step in visited for rule in self._fired(step, where)]
        output = read_result(self._output(response["result"], visited), where, self._notes)
        # Where no rule holds, the engine answers {}, which looks like an answer.
        return Verdict(None if output == {} else output, fired, self._silent_tables(visited))

    def _silent_tables(self, visited: list[Mapping[str, Any]]) -> str:
        nodes = [(self._nodes[step["id"]], step["traceData"]) for step in visited]
        silent = [node.name for node, data in nodes if node.type == "decisionTableNode" and not data]
        return f"{NO_RULE} in {listed(silent)}" if silent else ""

    def _output(self, result: Any, visited: list[Mapping[str, Any]]) -> Any:
        reached = [s["input"] for s in visited if self._nodes[s["id"]].type == "outputNode"]
        return reached[0] if len(reached) == 1 and isinstance(result, dict) else result

    def _fired(self, step: Mapping[str, Any], where: str) -> Iterator[FiredRule]:
        node, data = self._nodes[step["id"]], step["traceData"]
        if node.type == "switchNode":
            taken = [s["id"] for s in (data or {}).get("statements", [])]
            for index, statement in enumerate(node.content.get("statements", [])):
                if statement.get("id") in taken:
                    condition = statement.get("condition") or "(otherwise)"
                    yield FiredRule(
                        rule=str(statement["id"]),
                        index=index,
                        node=node.name,
                        because=[Because(input=node.name, value=None, condition=condition)],
                    )
        elif node.type == "decisionTableNode" and data:
            hits = data if isinstance(data, list) else [data]
            results = step["output"] if isinstance(step["output"], list) else [step["output"]]
            for number, hit in enumerate(hits):
                output = results[number] if len(results) == len(hits) else None
                yield self._row(node, hit, read_result(output, where, self._notes))

    def _row(self, node: _Node, hit: Mapping[str, Any], output: Any) -> FiredRule:
        row = node.content["rules"][hit["index"]]
        return FiredRule(
            rule=str(row.get("_id") or f"rule {hit['index'] + 1}"),
            index=hit["index"],
            node=node.name,
            description=str(row.get("_description") or ""),
            because=[
                Because(
                    input=str(column.get("name") or column.get("field") or column["id"]),
                    value=hit.get("reference_map", {}).get(column.get("field")),
                    condition=row[column["id"]],
                )
                for column in node.content.get("inputs", [])
                if row.get(column["id"])
            ],
            outputs=output,
        )


def _nodes(graph: Mapping[str, Any]) -> list[_Node]:
    nodes, edges = graph.get("nodes"), graph.get("edges")
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise refuse("UnsupportedGraph", "'graph' needs 'nodes' and 'edges', two lists, as the JDM editor writes them")
    if len(nodes) > MAX_NODES:
        raise refuse("UnsupportedGraph", f"'graph' has {len(nodes)} nodes; at most {MAX_NODES} are taken")
    found = []
    for number, node in enumerate(nodes):
        if not isinstance(node, dict) or not isinstance(node.get("id"), str):
            raise refuse("UnsupportedGraph", f"graph.nodes[{number}] needs an 'id'")
        name, kind, content = str(node.get("name") or node["id"]), node.get("type"), node.get("content") or {}
        if kind not in NODE_TYPES:
            raise refuse(
                "UnsupportedGraph",
                f"node {name!r} is a {kind!r}; rules are data here, so only {', '.join(NODE_TYPES)} are taken",
            )
        if not isinstance(content, dict):
            raise refuse("UnsupportedGraph", f"node {name!r}: 'content' must be an object")
        found.append(_Node(node["id"], name, str(kind), content))
    if len({node.id for node in found}) < len(found):
        raise refuse("UnsupportedGraph", "two nodes of the graph have the same id")
    return found


def _check_node(node: _Node) -> None:
    if node.type == "decisionTableNode":
        _check_table(node)
    elif node.type == "expressionNode":
        for expression in _parts(node, "expressions"):
            _check_value(expression.get("value"), f"node {node.name!r}, {expression.get('key')!r}")
    elif node.type == "switchNode":
        for statement in _parts(node, "statements"):
            if statement.get("condition"):
                _check_value(statement["condition"], f"node {node.name!r}, statement {statement.get('id')!r}")
    if node.content.get("inputField"):
        _check_value(node.content["inputField"], f"node {node.name!r}, inputField")


def _check_table(node: _Node) -> None:
    policy = node.content.get("hitPolicy", "first")
    if policy not in _HIT_POLICIES:
        raise refuse(
            "UnsupportedGraph",
            f"node {node.name!r} has the hit policy {policy!r}; in a graph it is one of {', '.join(_HIT_POLICIES)}, "
            "and 'table' takes unique, any and priority, too",
        )
    inputs, outputs, rules = _parts(node, "inputs"), _parts(node, "outputs"), _parts(node, "rules")
    if len(rules) * (len(inputs) + len(outputs)) > MAX_CELLS:
        raise refuse("UnsupportedGraph", f"node {node.name!r} has more than {MAX_CELLS} cells")
    for column in [*inputs, *outputs]:
        if not isinstance(column.get("id"), str):
            raise refuse("UnsupportedGraph", f"node {node.name!r}: every column needs an 'id'")
    for column in inputs:
        if column.get("field"):
            _check_value(column["field"], f"node {node.name!r}, input {column.get('name')!r}")
    for number, row in enumerate(rules, 1):
        where = f"node {node.name!r}, {row.get('_id') or f'rule {number}'}"
        strays = [
            key
            for key, cell in row.items()
            if not key.startswith("_") and cell and key not in {column["id"] for column in [*inputs, *outputs]}
        ]
        if strays:
            raise refuse("UnsupportedGraph", f"{where} has cells in {listed(strays)}, which are no columns")
        for column in inputs:
            _check_cell(row, column, where, condition=bool(column.get("field")))
        for column in outputs:
            _check_cell(row, column, where, condition=False)


def _check_cell(row: Mapping[str, Any], column: Mapping[str, Any], where: str, *, condition: bool) -> None:
    cell = row.get(column["id"], "")
    if cell == "":
        return
    place = f"{where}, {column.get('name') or column['id']!r}"
    if not isinstance(cell, str):
        raise refuse("UnsupportedGraph", f"{place}: a cell is text in ZEN, not {cell!r}")
    if condition:
        compile_condition(cell, place)
    else:
        compile_value(cell, place)


def _check_value(expression: Any, where: str) -> None:
    if not isinstance(expression, str):
        raise refuse("UnsupportedGraph", f"{where}: an expression is text in ZEN, not {expression!r}")
    check_shape(expression, where)
    compile_value(expression, where)


def _parts(node: _Node, name: str) -> list[Mapping[str, Any]]:
    parts = node.content.get(name, [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise refuse("UnsupportedGraph", f"node {node.name!r}: {name!r} must be a list of objects")
    return parts
