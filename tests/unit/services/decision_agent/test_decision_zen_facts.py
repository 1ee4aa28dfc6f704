"""What zen-engine does by itself: the reasons for the guards. A failure here says that a guard may be lifted."""

import json

import pytest
import zen

INPUT, OUTPUT = {"id": "in", "type": "inputNode", "name": "in"}, {"id": "out", "type": "outputNode", "name": "out"}
EDGES = [{"id": "1", "sourceId": "in", "targetId": "n"}, {"id": "2", "sourceId": "n", "targetId": "out"}]


def run(kind, content, context):
    node = {"id": "n", "type": kind, "name": "n", "content": content}
    decision = zen.ZenEngine().create_decision(json.dumps({"nodes": [INPUT, node, OUTPUT], "edges": EDGES}))
    return decision.evaluate(context, {"trace": True})


def table(cell, output, context, hit_policy="first"):
    content = {
        "hitPolicy": hit_policy,
        "inputs": [{"id": "i", "name": "x", "field": "x"}],
        "outputs": [{"id": "o", "name": "y", "field": "y"}],
        "rules": [{"_id": "r", "i": cell, "o": output}],
    }
    return run("decisionTableNode", content, context)


def test_there_is_no_escape_inside_strings_and_a_cell_with_a_quote_yields_nothing():
    assert table('"a\\"b"', "1", {"x": 'a"b'})["result"] == {}
    assert table("", '"a\\"b"', {"x": 1}, "collect")["result"] == []
    assert table("'a\"b'", "1", {"x": 'a"b'})["result"] == {"y": 1}


def test_null_outputs_are_left_out_of_the_result_but_not_of_the_trace():
    answer = table("", "null", {"x": 1})
    assert answer["result"] == {}
    assert answer["trace"]["out"]["input"] == {"y": None}


def test_where_no_rule_holds_the_result_is_an_empty_object():
    answer = table("> 5", "1", {"x": 1})
    assert answer["result"] == {}
    assert answer["trace"]["n"]["traceData"] is None


def test_numbers_of_a_python_context_are_rounded_and_those_of_json_text_are_not():
    number = 0.1 + 0.2
    assert table("0.30000000000000004", "1", {"x": number})["result"] == {}
    assert table("0.30000000000000004", "1", json.dumps({"x": number}))["result"] == {"y": 1}


def test_an_expression_evaluated_alone_rounds_integers_above_2_to_the_53():
    assert zen.evaluate_expression("x", {"x": 2**53 + 1}) == 2**53
    content = {"expressions": [{"id": "e", "key": "y", "value": "x"}]}
    assert run("expressionNode", content, {"x": 2**53 + 1})["result"] == {"y": 2**53 + 1}


def test_long_decimals_are_not_even_parsed():
    assert table("", "0.12345678901234567890123456789", {"x": 1})["result"] == {}
    assert table("", "0.1234567890123456789", {"x": 1})["result"] == {"y": 0.12345678901234568}


def test_a_comparison_of_different_kinds_is_silently_no():
    assert table("> 5", "1", {"x": "7"})["result"] == {}
    with pytest.raises(RuntimeError, match="Unsupported type"):
        zen.evaluate_unary_expression("> 5", {"$": "7"})


def test_only_two_hit_policies_are_known():
    for policy in ("unique", "any", "priority"):
        with pytest.raises(RuntimeError, match="expected `first` or `collect`"):
            table("", "1", {}, policy)
