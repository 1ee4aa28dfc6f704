"""The weighted sum, worked out by hand under each normalisation."""

import pytest

ROWS = [
    {"name": "A", "pay": 30, "way": 20},
    {"name": "B", "pay": 40, "way": 50},
    {"name": "C", "pay": 50, "way": 40},
]
WAY_IS_A_COST = {"costs": ["way"], "weights": {"pay": 0.6, "way": 0.4}}


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        # pay 0, 0.5, 1; way turned round 1, 0, 1/3
        ("minmax", {"A": 0.4, "B": 0.3, "C": 0.6 + 0.4 / 3}),
        # pay x/50; way 1 - x/50
        ("max", {"A": 0.36 + 0.24, "B": 0.48, "C": 0.6 + 0.08}),
        # pay x/50; way 20/x
        ("linear", {"A": 0.36 + 0.4, "B": 0.48 + 0.16, "C": 0.6 + 0.2}),
        # pay x/120; way 1/x over their sum 0.095
        ("sum", {"A": 0.15 + 0.02 / 0.095, "B": 0.2 + 0.008 / 0.095, "C": 0.25 + 0.01 / 0.095}),
        # lengths: pay 70.7106781, way 67.0820393
        ("vector", {"A": 18 / 70.7106781 + 0.4 - 8 / 67.0820393, "B": 24 / 70.7106781 + 0.4 - 20 / 67.0820393}),
        ("none", {"A": 18 - 8.0, "B": 24 - 20.0, "C": 30 - 16.0}),
    ],
)
def test_scores_by_hand(decide, normalisation, expected):
    answer = decide(data=ROWS, method="weighted_sum", normalisation=normalisation, **WAY_IS_A_COST)
    assert {name: answer["scores"][name] for name in expected} == pytest.approx(expected, abs=1e-8)
    assert answer["conventions"]["normalisation"].startswith(f"{normalisation}:")


def test_contributions_sum_to_the_score(decide):
    answer = decide(data=ROWS, **WAY_IS_A_COST)
    assert answer["contributions"]["C"] == pytest.approx({"pay": 0.6, "way": 0.4 / 3})
    for name, parts in answer["contributions"].items():
        assert sum(parts.values()) == pytest.approx(answer["scores"][name])


def test_the_rationale_tells_the_figures_of_the_answer(decide):
    text = decide(data=ROWS, **WAY_IS_A_COST)["rationale"]
    assert "'C' wins with a score of 0.7333, 0.3333 higher than 'A' (0.4)." in text
    assert "Against 'A' it gains on pay (50 against 30: 0.6)." in text
    assert "It gives away way (40 against 20: 0.2667)." in text
    assert "most sensitive to the weight of pay: below 0.4 (now 0.6, a move of 0.2) 'A' wins" in text


@pytest.mark.parametrize("normalisation", ["sum", "linear"])
def test_a_normalisation_that_is_not_defined_is_refused(refusal, normalisation):
    rows = [{"name": "A", "x": 0, "y": 1}, {"name": "B", "x": 2, "y": 2}]
    error = refusal(data=rows, method="weighted_sum", normalisation=normalisation)
    assert error.code == "NormalisationUndefined"
    assert "'x'" in str(error)
    assert "0 to 2" in str(error)


def test_max_needs_no_negative_values(refusal, decide):
    assert refusal(data=[{"x": -1}, {"x": 2}], normalisation="max").code == "NormalisationUndefined"
    assert decide(data=[{"x": 0}, {"x": 2}], normalisation="max")["scores"] == {"row 2": 1.0, "row 1": 0.0}


def test_a_score_without_bounds_is_compared_on_its_own_scale(decide):
    rows = [{"name": "A", "x": 3e-14}, {"name": "B", "x": 1e-14}, {"name": "C", "x": 3e-14}]
    answer = decide(data=rows, normalisation="none")
    assert [(p["alternative"], p["rank"]) for p in answer["ranking"]] == [("A", 1), ("C", 1), ("B", 3)]
    assert answer["scores"]["B"] == 1e-14


@pytest.mark.parametrize("size", [1e-300, 1e150])
def test_very_small_and_very_large_values_keep_their_order(decide, size):
    rows = [{"name": "A", "x": size, "y": 1}, {"name": "B", "x": size / 2, "y": 1}]
    for method in ("weighted_sum", "topsis", "vikor", "promethee_ii"):
        assert decide(data=rows, method=method)["winner"] == "A"
