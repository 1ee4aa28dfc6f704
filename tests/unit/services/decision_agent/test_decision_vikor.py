"""VIKOR against its authors' example, by hand, and where pymcdm has no answer."""

import math

import numpy as np
import pytest
from pymcdm.methods import VIKOR

# Opricovic & Tzeng (2004), "Compromise solution by MCDM methods": where to climb a mountain. Risk is a cost.
CLIMB = [
    {"name": "A1", "risk": 1, "altitude": 3000},
    {"name": "A2", "risk": 2, "altitude": 3750},
    {"name": "A3", "risk": 5, "altitude": 4500},
]
OFFERS = [{"name": "A", "price": 500, "grade": 80}, {"name": "B", "price": 800, "grade": 95}]
OFFERS += [{"name": "C", "price": 600, "grade": 70}]


def test_the_authors_example(decide):
    answer = decide(data=CLIMB, method="vikor", costs=["risk"])
    # Regrets: risk 0, 1/4, 1; altitude 1, 1/2, 0.
    assert answer["details"]["S"] == pytest.approx({"A1": 0.5, "A2": 0.375, "A3": 0.5})
    assert answer["details"]["R"] == pytest.approx({"A1": 0.5, "A2": 0.25, "A3": 0.5})
    assert answer["scores"] == pytest.approx({"A1": 1.0, "A2": 0.0, "A3": 1.0})
    assert answer["winner"] == "A2"
    assert answer["details"]["compromise"] == ["A2"]
    assert "Both of VIKOR's conditions" in answer["rationale"]


def test_by_hand(decide):
    answer = decide(data=OFFERS, method="vikor", costs=["price"], weights={"price": 0.6, "grade": 0.4})
    # Weighted regrets: A 0, 0.24; B 0.6, 0; C 0.2, 0.4.
    assert answer["contributions"]["C"] == pytest.approx({"price": 0.2, "grade": 0.4})
    assert answer["details"]["S"] == pytest.approx({"A": 0.24, "B": 0.6, "C": 0.6})
    assert answer["details"]["R"] == pytest.approx({"A": 0.24, "B": 0.6, "C": 0.4})
    assert answer["scores"] == pytest.approx({"A": 0.0, "B": 1.0, "C": 0.5 + 0.5 * 0.16 / 0.36})
    assert [p["alternative"] for p in answer["ranking"]] == ["A", "C", "B"]


def test_v_weighs_the_group_against_the_worst_regret(decide):
    asked = {"data": OFFERS, "method": "vikor", "costs": ["price"], "weights": {"price": 0.6, "grade": 0.4}}
    assert decide(**asked, v=1)["scores"]["C"] == pytest.approx(1.0)
    assert decide(**asked, v=0)["scores"]["C"] == pytest.approx(0.16 / 0.36)
    assert decide(**asked, v=0)["conventions"]["v"] == 0.0
    assert decide(**asked)["conventions"]["v"] == 0.5


def test_without_acceptable_advantage_there_is_a_compromise_set(decide, table):
    answer = decide(data=table((10, 0), (9, 1.1), (0, 10), (5, 5.05)), method="vikor")
    assert answer["details"]["acceptable_advantage"] is False
    assert answer["details"]["compromise"][0] == answer["winner"]
    near = [p["alternative"] for p in answer["ranking"] if p["score"] - answer["ranking"][0]["score"] < 1 / 3]
    assert answer["details"]["compromise"] == near
    assert len(near) > 1
    assert "so the compromise set is" in answer["rationale"]


def test_without_acceptable_stability_the_second_joins_the_compromise_set(decide, table):
    # Regrets (weight 1/4 each): A 0.82, 0.4, 0.4, 0.4; B 1, 0, 0, 0 has the least S; C all 0.8 has the least R.
    a, b, c, e = (0.18, 0.6, 0.6, 0.6), (0, 1, 1, 1), (0.2, 0.2, 0.2, 0.2), (1, 0, 0, 0)
    answer = decide(data=table(a, b, c, e, *[(0, 0, 0, 0)] * 7), method="vikor")
    s, r = answer["details"]["S"], answer["details"]["R"]
    assert (min(s, key=s.get), min(r, key=r.get)) == ("B", "C")
    # Q: A 0.5 * 0.255 / 0.75 + 0.5 * 0.005 / 0.05; C 0.5 * 0.55 / 0.75.
    assert answer["scores"]["A"] == pytest.approx(0.22)
    assert answer["scores"]["C"] == pytest.approx(0.55 / 1.5)
    assert answer["details"]["acceptable_advantage"] is True
    assert answer["details"]["acceptable_stability"] is False
    assert answer["details"]["compromise"] == ["A", "C"]
    assert "it is best neither by S nor by R, so the compromise set is 'A', 'C'" in answer["rationale"]


def test_where_all_r_are_equal_pymcdm_has_no_answer_and_the_agent_has(decide):
    rows = [{"name": "A", "a": 1, "b": 0, "c": 0.0}, {"name": "B", "a": 0, "b": 1, "c": 0.5}]
    rows += [{"name": "D", "a": 0, "b": 0, "c": 0}]
    matrix = np.array([[row["a"], row["b"], row["c"]] for row in rows], dtype=float)
    with np.errstate(all="ignore"):
        theirs = VIKOR()(matrix, np.full(3, 1 / 3), np.ones(3), validation=False)
    assert any(math.isnan(q) for q in theirs)
    answer = decide(data=rows, method="vikor")
    # Regrets 0, 1, 1 and 1, 0, 0 and 1, 1, 1: every R is 1/3, so only S counts (2/3, 1/3, 1), by half.
    assert answer["details"]["R"] == pytest.approx({"A": 1 / 3, "B": 1 / 3, "D": 1 / 3})
    assert answer["scores"] == pytest.approx({"A": 0.25, "B": 0.0, "D": 0.5})


def test_r_equal_but_for_rounding_counts_as_equal(decide, table):
    # 0.1 * 3 and 0.3 differ in the last bit; pymcdm would stretch that difference to the whole of 0 to 1.
    rows = table((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0))
    weights = {"c0": 0.1 + 0.2, "c1": 0.3, "c2": 0.3}
    assert weights["c0"] != weights["c1"]
    answer = decide(data=rows, method="vikor", weights=weights)
    assert answer["scores"] == {"A": 0.0, "B": 0.0, "C": 0.0}
    assert answer["tied"] == ["A", "B", "C"]


def test_a_constant_criterion_which_pymcdm_refuses_changes_nothing(decide, table):
    with pytest.raises(ValueError, match="equal values"):
        VIKOR()(np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([0.5, 0.5]), np.ones(2), validation=False)
    plain = decide(data=table((10, 1), (8, 3), (2, 4)), method="vikor")
    constant = decide(data=table((10, 1, 5), (8, 3, 5), (2, 4, 5)), method="vikor")
    assert constant["scores"] == pytest.approx(plain["scores"])
    assert constant["contributions"]["A"]["c2"] == 0.0
    # The constant criterion holds a third of the weight, so the regrets are two thirds of what they were.
    assert constant["details"]["S"]["A"] == pytest.approx(plain["details"]["S"]["A"] * 2 / 3)


def test_the_figures_are_pymcdms_where_it_has_some(decide):
    matrix = [[78, 56, 34, 6], [4, 45, 3, 97], [18, 2, 50, 63], [9, 14, 11, 92], [85, 9, 100, 29]]
    rows = [{"name": f"n{i}", **{f"c{j}": x for j, x in enumerate(row)}} for i, row in enumerate(matrix)]
    scores = decide(data=rows, method="vikor")["scores"]
    # From the documentation of pymcdm's VIKOR.
    assert [round(scores[f"n{i}"], 4) for i in range(5)] == [0.5679, 0.7667, 1, 0.7493, 0]
