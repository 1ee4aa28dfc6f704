"""Thresholds: who is accepted, why, how safely, and how firmly the best of the accepted is chosen."""

import pytest

FLATS = [
    {"name": "A", "rent": 900, "rooms": 3, "noise": 40},
    {"name": "B", "rent": 1100, "rooms": 4, "noise": 30},
    {"name": "C", "rent": 1000, "rooms": 2, "noise": 35},
    {"name": "D", "rent": 1400, "rooms": 5, "noise": 70},
]
BOUNDS = {"rent": {"max": 1100}, "rooms": {"min": 3}}


def test_all_bounds_must_hold_and_their_ends_belong_to_them(decide):
    answer = decide(data=FLATS, thresholds=BOUNDS)
    assert answer["outcomes"] == {"A": "accept", "B": "accept", "C": "reject", "D": "reject"}
    assert [place["outcome"] for place in answer["ranking"]] == ["accept", "accept", "reject", "reject"]
    assert answer["conventions"]["require"] == "all"


def test_one_bound_is_enough_when_any_is_asked_for(decide):
    answer = decide(data=FLATS, thresholds=BOUNDS, require="any")
    assert set(answer["outcomes"].values()) == {"accept"}


def test_without_criteria_the_safest_margin_wins_by_hand(decide):
    answer = decide(data=FLATS, thresholds=BOUNDS)
    # Spans: rent 900 to 1400 = 500, rooms 2 to 5 = 3. A: 200 / 500 and 0 / 3; B: 0 and 1 / 3.
    assert answer["contributions"]["A"] == pytest.approx({"rent": 0.4, "rooms": 0.0})
    assert answer["contributions"]["B"] == pytest.approx({"rent": 0.0, "rooms": 1 / 3})
    assert answer["contributions"]["D"] == pytest.approx({"rent": -0.6, "rooms": 2 / 3})
    assert answer["scores"] == pytest.approx({"A": 0.0, "B": 0.0, "C": -1 / 3, "D": -0.6})
    # Both pass by nothing, so the sum of margins decides the order of the tie.
    assert answer["tied"] == ["A", "B"]
    assert answer["sensitivity"] == {}
    assert answer["sensitivity_note"] == "bounds alone use no weights; see margins"


def test_how_far_the_winner_can_move(decide):
    answer = decide(data=FLATS, thresholds={"rent": {"max": 1100}, "noise": {"min": 20, "max": 60}})
    assert answer["winner"] == answer["margins_of"] == "A"
    assert answer["margins"]["rent"] == {
        "value": 900.0, "lowest": None, "lowest_included": True, "below": None,
        "highest": 1100.0, "highest_included": True, "above": "reject",
    }  # fmt: skip
    noise = answer["margins"]["noise"]
    assert (noise["lowest"], noise["below"], noise["highest"], noise["above"]) == (20.0, "reject", 60.0, "reject")


def test_a_value_that_does_not_decide_can_move_without_end(decide):
    answer = decide(data=FLATS[:1], thresholds={"rent": {"max": 1000}, "rooms": {"max": 5}}, require="any")
    assert all((m["lowest"], m["highest"]) == (None, None) for m in answer["margins"].values())


def test_nobody_accepted_is_an_answer_with_a_reason(decide):
    answer = decide(data=FLATS, thresholds={"rent": {"max": 800}})
    assert answer["winner"] is None
    assert answer["reason"] == "no alternative has rent at most 800"
    assert set(answer["outcomes"].values()) == {"reject"}
    assert answer["margins_of"] == "A"
    assert (answer["margins"]["rent"]["lowest"], answer["margins"]["rent"]["below"]) == (800.0, "accept")
    assert answer["margins"]["rent"]["lowest_included"] is False
    assert "'A' comes nearest" in answer["rationale"]
    assert "it has rent 900 against at most 800" in answer["rationale"]


def test_with_criteria_the_best_of_the_accepted_wins(decide):
    answer = decide(
        data=FLATS,
        thresholds=BOUNDS,
        criteria=[{"name": "rooms", "weight": 3}, {"name": "noise", "direction": "cost", "weight": 1}],
    )
    # rooms 1/3, 2/3, 0, 1; noise turned round 0.75, 1, 0.875, 0. D scores 0.75 and is out.
    assert answer["scores"] == pytest.approx(
        {"A": 0.25 + 0.1875, "B": 0.5 + 0.25, "C": 0.21875, "D": 0.75}
    )  # fmt: skip
    assert answer["winner"] == "B"
    assert [p["alternative"] for p in answer["ranking"]] == ["B", "A", "D", "C"]
    assert answer["weights"] == {"rooms": 0.75, "noise": 0.25}
    # B is better than A in both criteria, and D is no rival however the weights lie.
    assert all((r["lowest"], r["highest"]) == (0.0, 1.0) for r in answer["sensitivity"].values())


def test_the_score_threshold_is_a_rival_of_its_own(decide):
    rows = [{"name": "A", "x": 10, "y": 0}, {"name": "B", "x": 0, "y": 10}]
    answer = decide(data=rows, score_threshold=0.6, weights={"x": 0.8, "y": 0.2})
    assert answer["outcomes"] == {"A": "accept", "B": "reject"}
    found = answer["sensitivity"]["x"]
    # A scores the weight of x: below 0.6 nobody is accepted (B is from 0.4 down).
    assert found["lowest"] == pytest.approx(0.6, abs=1e-12)
    assert found["below"] == "(none is accepted)"
    assert answer["conventions"]["score_threshold"] == 0.6


def test_nobody_reaches_the_score(decide):
    answer = decide(data=FLATS, score_threshold=0.99, criteria=["rent", "rooms", "noise"], costs=["rent", "noise"])
    assert answer["winner"] is None
    assert answer["reason"] == "no alternative scores at least 0.99"
    assert answer["sensitivity"] == {}
    assert "no winner" in answer["sensitivity_note"]


def test_a_score_exactly_at_the_threshold_is_accepted(decide):
    rows = [{"name": "A", "x": 1, "y": 2, "z": 2}, {"name": "B", "x": 2, "y": 1, "z": 1}]
    answer = decide(data=rows, score_threshold=0.3, weights={"x": 0.7, "y": 0.1, "z": 0.2})
    assert answer["scores"] == {"A": 0.3, "B": 0.7}
    assert set(answer["outcomes"].values()) == {"accept"}


def test_gaps_in_bounded_columns_follow_the_same_rule(decide, refusal):
    rows = [*FLATS, {"name": "E", "rent": None, "rooms": 9, "noise": 1}]
    assert refusal(data=rows, thresholds=BOUNDS).code == "MissingValues"
    answer = decide(data=rows, thresholds=BOUNDS, missing="drop", criteria=["noise"])
    assert "E" not in answer["outcomes"]
    assert answer["alternatives_count"] == 4


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        ({"method": "threshold"}, "InvalidInputs", "score_threshold"),
        ({"thresholds": {"rent": {}}}, "InvalidInputs", "thresholds.rent"),
        ({"thresholds": {"rent": {"min": 2, "max": 1}}}, "InvalidInputs", "at least 2 and at most 1"),
        ({"thresholds": {"rent": {"max": 1e200}}}, "NumberOutOfRange", "thresholds.rent"),
        ({"thresholds": {"rant": {"max": 1}}}, "UnknownColumn", "'rant'"),
        ({"thresholds": {"name": {"max": 1}}}, "NotNumeric", "'A'"),
    ],
)
def test_bad_thresholds_are_refused(refusal, options, code, named):
    error = refusal(data=FLATS, **options)
    assert (error.code, named in str(error)) == (code, True)


def test_no_bound_is_lost_between_large_values(decide):
    rows = [{"name": "A", "x": 1e150}, {"name": "B", "x": -1e150}]
    answer = decide(data=rows, thresholds={"x": {"min": 1e150}})
    assert answer["outcomes"] == {"A": "accept", "B": "reject"}
