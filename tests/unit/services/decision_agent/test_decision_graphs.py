"""JDM graphs through zen-engine: results with their nulls, traces, and everything the engine would pass over."""

import copy
from itertools import pairwise

import pytest


def graph(*nodes, edges=None):
    """A chain of nodes from input to output, unless edges are given (source, target, handle)."""
    ids = ["in", *(node["id"] for node in nodes), "out"]
    links = edges or [(a, b, None) for a, b in pairwise(ids)]
    return {
        "nodes": [
            {"id": "in", "type": "inputNode", "name": "Request"},
            *nodes,
            {"id": "out", "type": "outputNode", "name": "Response"},
        ],
        "edges": [
            {"id": f"e{i}", "sourceId": a, "targetId": b, **({"sourceHandle": handle} if handle else {})}
            for i, (a, b, handle) in enumerate(links)
        ],
    }


def table(*rules, hit_policy="first", **content):
    return {
        "id": "t",
        "type": "decisionTableNode",
        "name": "risk table",
        "content": {
            "hitPolicy": hit_policy,
            "inputs": [{"id": "i1", "name": "Score", "field": "score"}, {"id": "i2", "name": "Tier", "field": "tier"}],
            "outputs": [{"id": "o1", "name": "Risk", "field": "risk"}, {"id": "o2", "name": "Fee", "field": "fee"}],
            "rules": [{"_id": f"r{i}", **rule} for i, rule in enumerate(rules, 1)],
            **content,
        },
    }


def expressions(node_id, **values):
    return {
        "id": node_id,
        "type": "expressionNode",
        "name": node_id,
        "content": {"expressions": [{"id": f"x{i}", "key": k, "value": v} for i, (k, v) in enumerate(values.items())]},
    }


LOW = {"i1": "> 700", "i2": "", "o1": "'low'", "o2": "10", "_description": "good score"}
MID = {"i1": "> 500", "i2": "'gold', 'silver'", "o1": "'mid'", "o2": "null"}


def outputs(answer):
    return [item["output"] for item in answer["outputs"]]


def test_the_table_of_a_graph_is_traced(decide):
    answer = decide(facts={"score": 800, "tier": "gold"}, graph=graph(table(LOW, MID)))
    assert answer["method"] == "rules"
    assert outputs(answer) == [{"risk": "low", "fee": 10}]
    assert answer["trace"][0]["fired"] == [
        {
            "rule": "r1", "index": 0, "node": "risk table", "description": "good score", "decided": True,
            "because": [{"input": "Score", "value": 800, "condition": "> 700"}],
            "outputs": {"risk": "low", "fee": 10},
        }
    ]  # fmt: skip
    assert answer["margins_note"] == "inputs are not followed through a graph"


def test_null_outputs_which_the_engine_leaves_out_are_there(decide):
    assert outputs(decide(facts={"score": 600, "tier": "gold"}, graph=graph(table(LOW, MID)))) == [
        {"risk": "mid", "fee": None}
    ]


def test_collect_traces_every_rule(decide):
    answer = decide(facts={"score": 800, "tier": "gold"}, graph=graph(table(LOW, MID, hit_policy="collect")))
    assert outputs(answer) == [[{"risk": "low", "fee": 10}, {"risk": "mid", "fee": None}]]
    assert [(f["rule"], f["outputs"]["risk"]) for f in answer["trace"][0]["fired"]] == [("r1", "low"), ("r2", "mid")]


def test_where_no_rule_holds_the_output_is_null_and_that_is_said(decide):
    answer = decide(facts={"score": 1, "tier": "x"}, graph=graph(table(LOW, MID)))
    assert outputs(answer) == [None]
    assert answer["trace"] == [{"alternative": "facts", "fired": [], "note": "no rule held in 'risk table'"}]


def test_nothing_collected_is_an_empty_list(decide):
    answer = decide(facts={"score": 1, "tier": "x"}, graph=graph(table(LOW, hit_policy="collect")))
    assert outputs(answer) == [[]]
    assert answer["trace"][0]["note"] == "no rule held in 'risk table'"


SWITCH = {
    "id": "s",
    "type": "switchNode",
    "name": "size",
    "content": {
        "hitPolicy": "first",
        "statements": [{"id": "big", "condition": "n > 5"}, {"id": "else", "condition": ""}],
    },
}
BRANCHES = graph(
    SWITCH,
    expressions("a", kind="'big'", twice="n * 2"),
    expressions("b", kind="'small'"),
    edges=[("in", "s", None), ("s", "a", "big"), ("s", "b", "else"), ("a", "out", None), ("b", "out", None)],
)


def test_switches_and_expressions(decide):
    answer = decide(data=[{"name": "x", "n": 7}, {"name": "y", "n": 1}], graph=BRANCHES)
    assert outputs(answer) == [{"kind": "big", "twice": 14}, {"kind": "small"}]
    taken = [trace["fired"][0] for trace in answer["trace"]]
    assert [(f["rule"], f["node"], f["because"][0]["condition"]) for f in taken] == [
        ("big", "size", "n > 5"),
        ("else", "size", "(otherwise)"),
    ]


def test_records_are_ranked_by_an_output_of_the_graph(decide):
    chain = graph(expressions("a", score="power / price"))
    answer = decide(data=[{"name": "x", "power": 1, "price": 2}, {"name": "y", "power": 3, "price": 2}], graph=chain)
    assert answer["winner"] == "y"
    assert answer["scores"] == {"y": 1.5, "x": 0.5}
    assert "the expressions were computed" in answer["rationale"]


def test_large_integers_and_seventeen_digits_pass_unharmed(decide):
    answer = decide(facts={"n": 2**60, "x": 0.1 + 0.2}, graph=graph(expressions("a", n="n + 1", x="x")))
    assert outputs(answer) == [{"n": 2**60 + 1, "x": 0.1 + 0.2}]
    assert answer["warnings"] == []


def test_what_comes_back_rounded_is_owned_up_to(decide):
    answer = decide(facts={"n": 2**60}, graph=graph(expressions("a", n="n + 0.5")))
    assert answer["warnings"] == [
        "facts.n: 1.152921504606847e+18 is beyond 2^53, where the rules engine hands back rounded numbers"
    ]


def changed(node, **content):
    node = copy.deepcopy(node)
    node["content"].update(content)
    return node


@pytest.mark.parametrize(
    ("broken", "code", "named"),
    [
        (graph(table({**LOW, "i2": '"say \\"hi\\""'})), "BadExpression", "node 'risk table', r1, 'Tier'"),
        (graph(table({**LOW, "o1": "'it's'"})), "BadExpression", "'Risk'"),
        (graph(table({**LOW, "o2": "nofunction(1)"})), "BadExpression", "'Fee'"),
        (graph(table({**LOW, "o2": "0.12345678901234567890123456789"})), "BadExpression", "'Fee'"),
        (graph(table({**LOW, "i1": 700})), "UnsupportedGraph", "a cell is text in ZEN, not 700"),
        (graph(table({**LOW, "i9": "1"})), "UnsupportedGraph", "'i9'"),
        (graph(table(LOW, hit_policy="unique")), "UnsupportedGraph", "'unique'"),
        (graph(expressions("a", x="1 +")), "BadExpression", "node 'a', 'x'"),
        (graph(expressions("a", x="map([1..99999999], #)")), "BadExpression", "walks over the range"),
        (graph(changed(SWITCH, statements=[{"id": "q", "condition": 'n > "a\\"b'}])), "BadExpression", "'size'"),
        (graph({"id": "f", "type": "functionNode", "name": "js"}), "UnsupportedGraph", "'functionNode'"),
        (graph({"id": "f", "type": "customNode", "name": "own"}), "UnsupportedGraph", "'customNode'"),
        (graph({"id": "f", "type": "decisionNode", "name": "sub"}), "UnsupportedGraph", "'decisionNode'"),
        (graph(expressions("a", x="1"), edges=[("in", "a", None), ("a", "a", None)]), "UnsupportedGraph", "cyclic"),
        (graph(expressions("a", x="1"), expressions("a", x="2")), "UnsupportedGraph", "the same id"),
        ({"nodes": [], "edges": []}, "UnsupportedGraph", "invalidInputCount"),
        ({"nodes": {}}, "UnsupportedGraph", "two lists"),
        ({"nodes": [{"type": "inputNode"}], "edges": []}, "UnsupportedGraph", "nodes[0]"),
        (graph(*(expressions(f"a{i}", x="1") for i in range(500))), "UnsupportedGraph", "502 nodes"),
    ],
)
def test_what_the_engine_would_pass_over_or_should_not_run_is_refused(refusal, broken, code, named):
    error = refusal(facts={"score": 1, "n": 1}, graph=broken)
    assert (error.code, named in str(error)) == (code, True), str(error)


def test_an_expression_that_fails_names_its_node_without_a_stack(refusal):
    error = refusal(facts={"n": "a"}, graph=graph(expressions("a", x="n * 2")))
    assert error.code == "RuleExpressionFailed"
    assert "n * 2" in str(error)
    assert "Stack" not in str(error)


def test_many_records(decide):
    answer = decide(data=[{"score": i, "tier": "gold"} for i in range(300)], graph=graph(table({**LOW, "i1": "> 99"})))
    assert sum(1 for out in outputs(answer) if out) == 200
    assert sum(len(trace["fired"]) for trace in answer["trace"]) == 200
