"""Decision tables: cells, hit policies, outcomes, traces, margins, and what is refused."""

import pytest

LOANS = [
    {"name": "Ann", "score": 720, "income": 50_000, "tier": "gold"},
    {"name": "Bob", "score": 650, "income": 30_000, "tier": "silver"},
    {"name": "Cy", "score": 400, "income": None, "tier": "gold"},
]
RISK = [
    {"id": "good", "description": "a good score", "when": {"score": "> 700"}, "then": {"risk": "low", "score": 1}},
    {"id": "fair", "when": {"score": "[600..700]", "tier": "'silver', 'gold'"}, "then": {"risk": "mid", "score": 2}},
    {"id": "rest", "then": {"risk": "high", "score": 3}},
]


def outputs(answer):
    return {item["alternative"]: item["output"] for item in answer["outputs"]}


def fired(answer, which=0):
    return [(rule["rule"], rule["decided"]) for rule in answer["trace"][which]["fired"]]


def judge(decide, facts, rules, **table):
    return decide(facts=facts, table={"rules": rules, **table})


# ---- hit policies


def test_first_takes_the_first_rule_that_holds_and_says_why(decide):
    answer = decide(data=LOANS, table={"rules": RISK}, rank_order="lowest")
    assert {name: out["risk"] for name, out in outputs(answer).items()} == {"Ann": "low", "Bob": "mid", "Cy": "high"}
    assert answer["trace"][0]["fired"] == [
        {
            "rule": "good", "index": 0, "node": None, "description": "a good score", "decided": True,
            "because": [{"input": "score", "value": 720, "condition": "> 700"}],
            "outputs": {"risk": "low", "score": 1},
        }
    ]  # fmt: skip
    assert [len(t["fired"]) for t in answer["trace"]] == [1, 1, 1]
    assert answer["conventions"]["hit_policy"] == "first"
    assert "'good' held, because score 720 meets > 700 (a good score)" in answer["rationale"]


def test_collect_lists_every_rule_that_holds(decide):
    answer = decide(data=LOANS, table={"rules": RISK, "hit_policy": "collect"})
    assert [out["risk"] for out in outputs(answer)["Ann"]] == ["low", "high"]
    assert fired(answer) == [("good", True), ("rest", True)]


def test_unique_allows_one_rule_only(decide, refusal):
    assert outputs(judge(decide, {"x": 1}, [{"when": {"x": 1}, "then": {"y": 1}}], hit_policy="unique"))
    error = refusal(data=LOANS, table={"rules": RISK, "hit_policy": "unique"})
    assert error.code == "HitPolicyViolated"
    assert "Ann: hit policy 'unique', but 'good', 'rest' hold together" in str(error)


def test_any_allows_several_rules_that_say_the_same(decide, refusal):
    same = [{"when": {"x": "> 1"}, "then": {"y": 1}}, {"when": {"x": "> 2"}, "then": {"y": 1.0}}]
    answer = judge(decide, {"x": 3}, same, hit_policy="any")
    assert outputs(answer) == {"facts": {"y": 1}}
    assert fired(answer) == [("rule 1", True), ("rule 2", True)]
    differ = [same[0], {"when": {"x": "> 2"}, "then": {"y": True}}]
    error = refusal(facts={"x": 3}, table={"rules": differ, "hit_policy": "any"})
    assert error.code == "HitPolicyViolated"
    assert "say different things" in str(error)


def test_priority_by_number(decide):
    rules = [
        {"id": "a", "priority": 1, "then": {"y": "a"}},
        {"id": "b", "priority": 5, "then": {"y": "b"}},
        {"id": "c", "priority": 5, "then": {"y": "c"}},
    ]
    answer = judge(decide, {"x": 3}, rules, hit_policy="priority")
    assert outputs(answer) == {"facts": {"y": "b"}}
    assert fired(answer) == [("a", False), ("b", True), ("c", False)]


def test_priority_by_the_order_of_an_outputs_values(decide):
    rules = [{"then": {"risk": "low"}}, {"then": {"risk": "high"}}, {"then": {"risk": "odd"}}]
    table = {"hit_policy": "priority", "outputs": [{"name": "risk", "values": ["high", "mid", "low"]}]}
    assert outputs(judge(decide, {"x": 3}, rules, **table)) == {"facts": {"risk": "high"}}


def test_priority_without_any_order_is_refused(refusal):
    error = refusal(facts={}, table={"hit_policy": "priority", "rules": [{"id": "a", "then": {}}]})
    assert error.code == "InvalidInputs"
    assert "'a'" in str(error)


# ---- no rule, nulls, defaults


def test_no_rule_is_null_with_a_note_and_not_an_empty_object(decide):
    rules = [{"when": {"x": "> 5"}, "then": {"y": 1}}]
    answer = judge(decide, {"x": 1}, rules)
    assert outputs(answer) == {"facts": None}
    assert answer["trace"] == [{"alternative": "facts", "fired": [], "note": "no rule held"}]
    assert "no rule held: there is no output" in answer["rationale"]
    assert outputs(judge(decide, {"x": 1}, rules, hit_policy="collect")) == {"facts": []}
    assert outputs(judge(decide, {"x": 1}, rules, default={"y": 0})) == {"facts": {"y": 0}}
    assert outputs(judge(decide, {"x": 1}, rules, hit_policy="collect", default={"y": 0})) == {"facts": [{"y": 0}]}


def test_outcomes_are_given_as_they_stand(decide):
    then = {"none": None, "big": 2**53 + 1, "long": 0.1234567890123456, "quote": 'it\'s "so"\\n', "deep": {"a": [None]}}
    assert outputs(judge(decide, {}, [{"then": then}])) == {"facts": then}


def test_nothing_compares_with_a_missing_value(decide):
    rules = [
        {"id": "more", "when": {"income": "> 0"}, "then": {"y": 1}},
        {"id": "less", "when": {"income": "<= 0"}, "then": {"y": 2}},
        {"id": "none", "when": {"income": "null"}, "then": {"y": 3}},
    ]
    answer = decide(data=LOANS, table={"rules": rules})
    assert {name: out["y"] for name, out in outputs(answer).items()} == {"Ann": 1, "Bob": 1, "Cy": 3}


# ---- cells


@pytest.mark.parametrize(
    ("cell", "value", "holds"),
    [
        ("> 5", 6, True),
        ("[1..5]", 5, True),
        ("(1..5)", 5, False),
        ("'a', 'b'", "b", True),
        ("!= 'a'", "b", True),
        ("in ['a', 'b']", "c", False),
        ("$ % 2 == 0", 4, True),
        ("startsWith($, 'ab')", "abc", True),
        ("> other", 4, True),
        ("true", True, True),
        (True, 1, False),
        (1, True, False),
        (1, 1.0, True),
        (7, 8, False),
        (["a", None], None, True),
        (["a", 2], 2, True),
        ({"equals": 'say "it\'s"'}, 'say "it\'s"', True),
        ({"equals": "5"}, 5, False),
        (None, "anything", True),
        ("", 3, True),
        ("-", 3, True),
        ("> 9007199254740992", 2**53 + 1, True),
        ("9007199254740993", 2**53 + 1, True),
        ("0.3", 0.1 + 0.2, False),
    ],
)
def test_cells(decide, cell, value, holds):
    answer = judge(decide, {"x": value, "other": 3}, [{"when": {"x": cell}, "then": {"y": 1}}])
    assert outputs(answer) == {"facts": {"y": 1} if holds else None}


def test_inputs_reach_inside_and_can_be_computed(decide):
    table = {
        "inputs": [{"name": "ratio", "expression": "debt / income"}, "home.rooms"],
        "rules": [{"when": {"ratio": "> 0.5", "home.rooms": ">= 2"}, "then": {"y": 1}}],
    }
    answer = decide(facts={"debt": 3, "income": 4, "home": {"rooms": 2}}, table=table)
    assert outputs(answer) == {"facts": {"y": 1}}
    assert [b["value"] for b in answer["trace"][0]["fired"][0]["because"]] == [0.75, 2]


def test_outputs_can_be_computed(decide):
    rules = [{"then": {"fee": {"expression": "amount * 0.1"}, "note": {"expression": "'for ' + who"}}}]
    assert outputs(judge(decide, {"amount": 0.3, "who": "Ann"}, rules)) == {"facts": {"fee": 0.03, "note": "for Ann"}}


def test_computed_integers_above_2_to_the_53_are_exact(decide):
    answer = judge(decide, {"x": 2**53}, [{"then": {"y": {"expression": "x + 1"}, "z": {"expression": "x * 4 / 4"}}}])
    assert outputs(answer) == {"facts": {"y": 2**53 + 1, "z": 2**53}}
    assert answer["warnings"] == []


def test_a_computed_number_that_was_rounded_is_owned_up_to(decide):
    answer = judge(decide, {"x": 2**60}, [{"id": "r", "then": {"y": {"expression": "x + 0.1"}}}])
    assert answer["warnings"] == [
        "facts, r, 'y': 1.152921504606847e+18 is beyond 2^53, where the rules engine hands back rounded numbers"
    ]
    answer = judge(decide, {"x": 2**63 - 1}, [{"id": "r", "then": {"y": {"expression": "x + 1"}}}])
    assert outputs(answer) == {"facts": {"y": str(2**63)}}
    assert "given as text" in answer["warnings"][0]


# ---- refusals


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ('"say \\"hi\\""', '{"equals": "..."}'),
        ("'it's'", "no ZEN expression"),
        ("> 5 +", "no ZEN expression"),
        ("nofunction($)", "no ZEN expression"),
        ("gold", "text is written in quotes, as in \"'gold'\""),
        ("gold, silver", "'gold', 'silver'"),
        ("0.12345678901234567890123456789", "no ZEN expression"),
        ("(" * 200 + "1" + ")" * 200, "nested 200 deep"),
        ("1" * 5000, "5000 characters"),
        ("len(map([1..1000000000], #)) > 1", "walks over the range"),
        ("some([1..other], # > 2)", "walks over the range"),
    ],
)
def test_cells_that_zen_would_pass_over_in_silence_are_refused(refusal, cell, named):
    error = refusal(
        facts={"x": "y", "other": 3}, table={"rules": [{"id": "r1", "when": {"x": cell}, "then": {"y": 1}}]}
    )
    assert error.code == "BadExpression"
    assert named in str(error)
    assert "r1, 'x'" in str(error)


def test_a_comparison_of_different_kinds_is_refused_not_taken_for_no(refusal):
    error = refusal(facts={"income": "50000"}, table={"rules": [{"when": {"income": "> 1000"}, "then": {"ok": True}}]})
    assert error.code == "RuleTypeMismatch"
    assert "'> 1000' cannot be judged on '50000' (str)" in str(error)


def test_cells_to_the_right_of_one_that_fails_are_not_judged(decide):
    rules = [{"when": {"kind": "'n'", "value": "> 5"}, "then": {"y": 1}}]
    rows = [{"name": "a", "kind": "n", "value": 6}, {"name": "b", "kind": "s", "value": "text"}]
    assert outputs(decide(data=rows, table={"rules": rules})) == {"a": {"y": 1}, "b": None}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"inputs": ["x"], "rules": [{"when": {"xx": 1}, "then": {"y": 1}}]}, "'xx'"),
        ({"outputs": ["y"], "rules": [{"then": {"yy": 1}}]}, "'yy'"),
        ({"rules": [{"id": "a", "then": {}}, {"id": "a", "then": {}}]}, "'a'"),
    ],
)
def test_misspelt_columns_and_shared_ids_are_refused(refusal, table, named):
    error = refusal(facts={"x": 1}, table=table)
    assert (error.code, named in str(error)) == ("InvalidInputs", True)


def test_a_field_no_record_has_is_warned_of(decide):
    answer = judge(decide, {"x": 1}, [{"id": "r", "when": {"x": "$ == 1 or promo == null"}, "then": {"y": 1}}])
    assert answer["warnings"] == [
        "r, 'x': '$ == 1 or promo == null' reads 'promo', which no record has: it counts as null"
    ]


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 1e29, 1e-30, [1, {"deep": 10**40}]])
def test_facts_that_the_engine_would_round_or_choke_on_are_refused(refusal, value):
    error = refusal(facts={"x": value}, table={"rules": [{"then": {"y": 1}}]})
    assert error.code == "UnrepresentableNumber"
    assert "facts.x" in str(error)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.1 + 0.2, "0.30000000000000004"),
        (1 / 3, "0.3333333333333333"),
        (123456789.12345679, "123456789.12345679"),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63), "-9223372036854775808"),
        (1e28, "> 9999999999999999999999999999"),
        (1e-28, "> 0"),
        (0.0, "0"),
    ],
)
def test_facts_within_its_reach_are_held_exactly(decide, value, cell):
    rules = [{"when": {"x": cell}, "then": {"y": 1}}]
    assert outputs(judge(decide, {"x": value}, rules)) == {"facts": {"y": 1}}


def test_rules_need_a_table_or_a_graph_and_facts_or_data(refusal):
    assert refusal(method="rules", facts={}).code == "InvalidInputs"
    rules = {"rules": [{"then": {}}]}
    assert refusal(method="rules", table=rules, graph={}, facts={}).code == "InvalidInputs"
    assert refusal(method="rules", table=rules, facts={}, data=LOANS).code == "InvalidInputs"
    assert refusal(method="rules", table=rules).code == "InvalidInputs"


def test_a_failing_expression_is_named(refusal):
    error = refusal(facts={"x": "a"}, table={"rules": [{"id": "r", "then": {"y": {"expression": "x * 2"}}}]})
    assert error.code == "RuleExpressionFailed"
    assert "facts, r, 'y'" in str(error)
    assert "Stack" not in str(error)


# ---- ranking and margins


def test_records_are_ranked_by_a_numeric_output(decide):
    answer = decide(data=LOANS, table={"rules": RISK})
    assert [(p["alternative"], p["rank"], p["score"]) for p in answer["ranking"]] == [
        ("Cy", 1, 3.0),
        ("Bob", 2, 2.0),
        ("Ann", 3, 1.0),
    ]
    assert answer["conventions"]["score"] == "output 'score', the highest is best"
    assert decide(data=LOANS, table={"rules": RISK}, rank_by="score", rank_order="lowest")["winner"] == "Ann"


def test_without_a_number_there_is_no_winner_and_a_reason(decide):
    rules = [{"when": {"tier": "'gold'"}, "then": {"ok": True}}]
    answer = decide(data=LOANS, table={"rules": rules})
    assert (answer["winner"], answer["ranking"], answer["scores"]) == (None, [], {})
    assert answer["reason"].startswith("the rules give no number to rank by")
    assert outputs(answer) == {"Ann": {"ok": True}, "Bob": None, "Cy": {"ok": True}}
    assert answer["contributions"] == {"Ann": {"tier": 1.0}, "Bob": {}, "Cy": {"tier": 1.0}}


def test_ranking_by_an_output_without_numbers_is_refused(refusal):
    assert refusal(data=LOANS, table={"rules": RISK}, rank_by="risk").code == "InvalidInputs"


def test_records_without_a_number_are_left_out_of_the_ranking(decide):
    rules = [{"when": {"score": "> 600"}, "then": {"score": 5}}]
    answer = decide(data=LOANS, table={"rules": rules})
    assert [p["alternative"] for p in answer["ranking"]] == ["Ann", "Bob"]
    assert answer["tied"] == ["Ann", "Bob"]
    assert "1 records have no number in 'score' and are not ranked" in answer["warnings"]


def test_how_far_an_input_can_move_before_the_outcome_changes(decide):
    rules = [
        {"when": {"score": "> 700"}, "then": {"risk": "low"}},
        {"when": {"score": "[600..700]"}, "then": {"risk": "mid"}},
        {"then": {"risk": "high"}},
    ]
    found = judge(decide, {"score": 650, "tier": "gold"}, rules)["margins"]["score"]
    assert found == {
        "value": 650.0,
        "lowest": 600.0, "lowest_included": True, "below": {"risk": "high"},
        "highest": 700.0, "highest_included": True, "above": {"risk": "low"},
    }  # fmt: skip
    found = judge(decide, {"score": 701}, rules)["margins"]["score"]
    assert (found["lowest"], found["lowest_included"], found["below"]) == (700.0, False, {"risk": "mid"})
    assert (found["highest"], found["above"]) == (None, None)


def test_a_move_that_would_break_the_hit_policy_is_another_outcome(decide):
    rules = [{"when": {"x": "< 5"}, "then": {"y": 1}}, {"when": {"x": ">= 3"}, "then": {"y": 2}}]
    found = judge(decide, {"x": 1}, rules, hit_policy="unique")["margins"]["x"]
    assert (found["highest"], found["highest_included"]) == (3.0, False)
    assert found["above"].startswith("refused: facts: hit policy 'unique'")


def test_inputs_that_cannot_be_followed_are_named(decide):
    rules = [
        {"when": {"x": "$ * 2 > 4", "y": "> x", "z": "> 1"}, "then": {"out": {"expression": "w + 1"}}},
        {"when": {"w": "> 1", "t": "'a'"}, "then": {"out": 0}},
    ]
    answer = judge(decide, {"x": 3, "y": 4, "z": 2, "w": 5, "t": "a"}, rules)
    assert list(answer["margins"]) == ["z"]
    assert "not followed: x, y, w, t" in answer["margins_note"]
    assert (answer["margins"]["z"]["lowest"], answer["margins"]["z"]["below"]) == (1.0, {"out": 0})


def test_an_input_that_another_condition_reads_is_not_followed(decide):
    rules = [{"when": {"x": "> 1", "y": "> x"}, "then": {"out": 1}}]
    answer = judge(decide, {"x": 3, "y": 4}, rules)
    assert answer["margins"] == {}
    assert "not followed: x, y" in answer["margins_note"]


def test_margins_speak_of_the_winner(decide):
    answer = decide(data=LOANS, table={"rules": RISK[:2]}, rank_order="lowest")
    assert answer["margins_of"] == answer["winner"] == "Ann"
    assert answer["margins"]["score"]["lowest"] == 700.0
    many = decide(data=LOANS, table={"rules": [{"then": {"y": "a"}}]})
    assert (many["margins"], many["margins_of"]) == ({}, None)
    assert "here there is neither" in many["margins_note"]
