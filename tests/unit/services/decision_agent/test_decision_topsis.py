"""TOPSIS against its textbook, and by hand."""

import math

import pytest

# Hwang & Yoon (1981), Multiple Attribute Decision Making: choosing a fighter aircraft. Maximum speed, ferry range,
# payload, price (a cost), reliability, manoeuvrability.
AIRCRAFT = [
    {"name": "A1", "speed": 2.0, "range": 1500, "payload": 20000, "price": 5.5, "reliable": 5, "nimble": 9},
    {"name": "A2", "speed": 2.5, "range": 2700, "payload": 18000, "price": 6.5, "reliable": 3, "nimble": 5},
    {"name": "A3", "speed": 1.8, "range": 2000, "payload": 21000, "price": 4.5, "reliable": 7, "nimble": 7},
    {"name": "A4", "speed": 2.2, "range": 1800, "payload": 20000, "price": 5.0, "reliable": 5, "nimble": 5},
]
WEIGHTS = {"speed": 0.2, "range": 0.1, "payload": 0.1, "price": 0.1, "reliable": 0.2, "nimble": 0.3}


def test_the_textbook_example(decide):
    answer = decide(data=AIRCRAFT, method="topsis", weights=WEIGHTS, costs=["price"])
    assert answer["scores"] == pytest.approx({"A1": 0.643, "A2": 0.268, "A3": 0.613, "A4": 0.312}, abs=1e-3)
    assert [p["alternative"] for p in answer["ranking"]] == ["A1", "A3", "A4", "A2"]
    best, worst = answer["details"]["distance_to_best"], answer["details"]["distance_to_worst"]
    assert best == pytest.approx({"A1": 0.0546, "A2": 0.1197, "A3": 0.0580, "A4": 0.1009}, abs=1e-4)
    assert worst == pytest.approx({"A1": 0.0983, "A2": 0.0439, "A3": 0.0920, "A4": 0.0458}, abs=1e-3)
    assert answer["conventions"]["normalisation"].startswith("vector:")


def test_by_hand(decide, table):
    # c0 = 3, 4 over length 5; c1 (cost) = 6, 8 over length 10; weights a half.
    # A: D+ = 0.1 (c0), D- = 0.1 (c1). The same for B: both 0.5.
    answer = decide(data=table((3, 6), (4, 8)), method="topsis", costs=["c1"])
    assert answer["scores"] == {"A": 0.5, "B": 0.5}
    # With weights 0.75, 0.25: A has D+ 0.15, D- 0.05, so 0.25; B the other way round.
    answer = decide(data=table((3, 6), (4, 8)), method="topsis", costs=["c1"], weights={"c0": 0.75, "c1": 0.25})
    assert answer["scores"] == pytest.approx({"A": 0.25, "B": 0.75})
    assert answer["contributions"]["B"] == pytest.approx({"c0": 0.75, "c1": 0.0})


def test_the_normalisation_can_change_the_winner(decide, table):
    # Why the textbook's vector normalisation is the default although pymcdm's is min-max.
    # c1 hardly varies, which vector normalisation keeps and min-max does not.
    rows = table((100, 40), (90, 42), (60, 41))
    winners = {n: decide(data=rows, method="topsis", normalisation=n)["winner"] for n in ("vector", "minmax")}
    assert winners == {"vector": "A", "minmax": "B"}


def test_contributions_sum_to_the_closeness(decide):
    answer = decide(data=AIRCRAFT, method="topsis", weights=WEIGHTS, costs=["price"])
    for name, parts in answer["contributions"].items():
        assert sum(parts.values()) == pytest.approx(answer["scores"][name])
        assert min(parts.values()) >= 0


def test_the_rationale_compares_weighted_values(decide):
    answer = decide(data=AIRCRAFT, method="topsis", weights=WEIGHTS, costs=["price"])
    values = answer["details"]["weighted_values"]
    gain = values["A1"]["nimble"] - values["A3"]["nimble"]
    assert f"gains on nimble (9 against 7: {gain:.4g})" in answer["rationale"]
    same = decide(data=[{"n": "p", "a": 1, "b": 2}, {"n": "q", "a": 1, "b": 3}], method="topsis")
    assert "a (" not in same["rationale"].split("Against")[1]


def test_there_is_no_topsis_without_normalisation(refusal):
    assert refusal(data=AIRCRAFT, method="topsis", normalisation="none").code == "InvalidInputs"


def test_a_column_of_zeros_is_no_division_by_zero(decide, table):
    answer = decide(data=table((0, 3), (0, 4)), method="topsis")
    assert answer["scores"] == {"A": 0.0, "B": 1.0}


def test_the_weight_at_which_two_alternatives_change_places_by_hand(decide, table):
    # A is better by 1/5 in c0 and worse by 1/5 in c1 (after normalising), so they are level at equal weights.
    answer = decide(data=table((4, 3), (3, 4)), method="topsis", weights={"c0": 0.8, "c1": 0.2})
    assert answer["sensitivity"]["c0"] == {
        "weight": 0.8, "lowest": pytest.approx(0.5, abs=1e-12), "highest": 1.0, "below": "B", "above": None, "note": ""
    }  # fmt: skip
    # Three equal criteria, A better by 1 in the first only: level where t = (1 - t) / sqrt(2).
    answer = decide(data=table((1, 0, 0), (0, 1, 1)), method="topsis", weights={"c0": 0.8, "c1": 0.1, "c2": 0.1})
    assert answer["sensitivity"]["c0"]["lowest"] == pytest.approx(1 / (1 + math.sqrt(2)), abs=1e-12)
