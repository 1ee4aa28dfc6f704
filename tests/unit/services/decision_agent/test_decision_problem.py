"""Criteria, their numbers, and what is done about gaps and degenerate columns."""

import pytest

ROWS = [
    {"name": "A", "id": 3, "part_id": 5, "price": 10, "power": 4.5, "colour": "red"},
    {"name": "B", "id": 1, "part_id": 6, "price": 20, "power": None, "colour": "blue"},
    {"name": "C", "id": 2, "part_id": 7, "price": 30, "power": 1.5, "colour": "red"},
]


def test_unasked_columns_with_gaps_are_left_out_and_identifiers_never_count(decide):
    answer = decide(data=ROWS)
    assert answer["weights"] == {"price": 1.0}
    assert "'power' left out: values are missing there, and no criteria were named" in answer["warnings"]


def test_when_every_numeric_column_has_gaps_they_are_refused(refusal):
    error = refusal(data=[{"name": "A", "x": 1}, {"name": "B", "x": None}])
    assert error.code == "MissingValues"
    assert "B (x)" in str(error)


def test_missing_values_are_refused_by_name(refusal):
    error = refusal(data=ROWS, criteria=["price", "power"])
    assert error.code == "MissingValues"
    assert "B (power)" in str(error)
    assert "'drop'" in str(error)


def test_missing_values_can_be_dropped_or_filled(decide):
    asked = {"data": ROWS, "criteria": ["power", {"name": "price", "direction": "cost"}], "normalisation": "none"}
    dropped = decide(**asked, missing="drop")
    assert [p["alternative"] for p in dropped["ranking"]] == ["A", "C"]
    assert dropped["alternatives_count"] == 2
    assert "left out for missing values: B (power)" in dropped["warnings"]
    # price counts negatively and half: B has (fill - 20) / 2.
    assert decide(**asked, missing="worst")["scores"]["B"] == pytest.approx((1.5 - 20) / 2)
    assert decide(**asked, missing="mean")["scores"]["B"] == pytest.approx((3.0 - 20) / 2)


def test_the_worst_of_a_cost_is_its_largest(decide):
    answer = decide(
        data=[{"name": "A", "x": 1}, {"name": "B", "x": 5}, {"name": "C"}],
        criteria=[{"name": "x", "direction": "cost"}],
        missing="worst",
    )
    assert answer["scores"] == {"A": 1.0, "B": 0.0, "C": 0.0}


def test_nothing_left_and_nothing_to_fill_from_are_refused(refusal):
    rows = [{"name": "A", "x": None, "y": 1}, {"name": "B", "x": None, "y": 2}]
    assert refusal(data=rows, criteria=["x", "y"], missing="drop").code == "NoAlternatives"
    assert refusal(data=rows, criteria=["x", "y"], missing="mean").code == "MissingValues"


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"criteria": ["prize"]}, "UnknownColumn", "'prize'"),
        ({"criteria": ["colour"]}, "NotNumeric", "A has 'red'"),
        ({"criteria": ["price", "price"]}, "InvalidInputs", "'price'"),
        ({"criteria": ["price"], "costs": ["power"]}, "InvalidInputs", "'power'"),
        ({"weights": {}}, "NoCriteria", "'weights'"),
        ({"weights": {"prize": 1}}, "UnknownColumn", "'prize'"),
    ],
)
def test_bad_criteria_are_refused_by_name(refusal, options, code, named):
    error = refusal(data=ROWS, **options)
    assert (error.code, named in str(error)) == (code, True)


def test_a_criterion_may_have_a_name_of_its_own(decide):
    answer = decide(data=ROWS, criteria=[{"name": "value", "column": "price"}])
    assert answer["criteria"] == [{"name": "value", "column": "price", "direction": "benefit", "weight": 1.0}]
    assert answer["winner"] == "C"


def test_booleans_count_as_one_and_zero_when_asked_for(decide):
    rows = [{"name": "A", "ok": False}, {"name": "B", "ok": True}]
    assert decide(data=rows, criteria=["ok"])["winner"] == "B"


def test_numbers_out_of_range_are_refused(refusal, decide):
    assert refusal(data=[{"name": "A", "x": 10**400}, {"name": "B", "x": 1}]).code == "NumberOutOfRange"
    assert refusal(data=[{"name": "A", "x": float("inf")}, {"name": "B", "x": 1}]).code == "NumberOutOfRange"
    answer = decide(data=[{"name": "A", "x": 2**53 + 1}, {"name": "B", "x": 1}])
    assert "x: integers above 2^53 are compared as floats, to about 16 digits" in answer["warnings"]


@pytest.mark.parametrize("method", ["weighted_sum", "topsis", "vikor", "promethee_ii"])
def test_one_alternative_wins_unopposed(decide, method):
    answer = decide(data=[{"name": "only", "x": 3, "y": 0}], method=method)
    assert answer["winner"] == "only"
    assert answer["ranking"][0]["rank"] == 1
    assert "there is only one alternative: it wins unopposed" in answer["warnings"]
    assert all((r["lowest"], r["highest"]) == (0.0, 1.0) for r in answer["sensitivity"].values())


@pytest.mark.parametrize("method", ["weighted_sum", "topsis", "vikor", "promethee_ii"])
def test_a_constant_column_does_not_help_to_choose(decide, method, table):
    answer = decide(data=table((5, 1), (5, 3), (5, 2)), method=method)
    assert [p["alternative"] for p in answer["ranking"]] == ["B", "C", "A"]
    assert "'c0': the same value for every alternative, so it does not help to choose" in answer["warnings"]


@pytest.mark.parametrize("method", ["weighted_sum", "topsis", "vikor", "promethee_ii"])
@pytest.mark.parametrize("value", [0, 7])
def test_all_alternatives_alike_are_tied(decide, method, value, table):
    answer = decide(data=table((value, value), (value, value), (value, value)), method=method)
    assert answer["tied"] == ["A", "B", "C"]
    assert [(p["alternative"], p["rank"]) for p in answer["ranking"]] == [("A", 1), ("B", 1), ("C", 1)]
    assert answer["winner"] == "A"
    assert "'A', 'B', 'C' are tied for the first place" in answer["warnings"]
    assert "the scores do not choose between them" in answer["rationale"]


def test_a_tie_shares_a_rank_and_leaves_out_the_next(decide, table):
    answer = decide(data=table((0.1 + 0.2,), (0.3,), (0.0,)))
    assert [(p["alternative"], p["rank"]) for p in answer["ranking"]] == [("A", 1), ("B", 1), ("C", 3)]
    assert answer["tied"] == ["A", "B"]


def test_within_a_tie_a_dominated_alternative_comes_later(decide, table):
    # c1 has no weight, so both score the same, but B is as good as A in c0 and better in c1.
    answer = decide(data=table((5, 1), (5, 2), (1, 0)), weights={"c0": 1, "c1": 0})
    assert [(p["alternative"], p["rank"]) for p in answer["ranking"]] == [("B", 1), ("A", 1), ("C", 3)]
