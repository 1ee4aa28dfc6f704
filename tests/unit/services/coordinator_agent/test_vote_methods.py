"""What each method decides, on ballots counted by hand or published with their result."""

from typing import Any

import pytest

# The four cities of Tennessee, each voter preferring the nearer (the standard textbook example).
TENNESSEE = [
    (42, ["Memphis", "Nashville", "Chattanooga", "Knoxville"]),
    (26, ["Nashville", "Chattanooga", "Knoxville", "Memphis"]),
    (15, ["Chattanooga", "Knoxville", "Nashville", "Memphis"]),
    (17, ["Knoxville", "Chattanooga", "Nashville", "Memphis"]),
]
# M. Schulze (2011), example 1.
SCHULZE = [
    (5, "ACBED"), (5, "ADECB"), (8, "BEDAC"), (3, "CABED"), (7, "CAEBD"), (2, "CBADE"), (7, "DCEBA"), (8, "EBADC"),
]  # fmt: skip
CYCLE = ["ABC", "BCA", "CAB"]


def weighted(rows: list[tuple[int, Any]]) -> list[dict[str, Any]]:
    return [{"voter": f"group {i}", "ranking": list(r), "weight": n} for i, (n, r) in enumerate(rows)]


def ranked(rows: list[str]) -> list[dict[str, Any]]:
    return [{"voter": f"v{i}", "ranking": list(row)} for i, row in enumerate(rows, start=1)]


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {line["alternative"]: line["score"] for line in answer["tally"]}


async def test_absolute_majority_needs_more_than_half(vote: Any) -> None:
    won = await vote(["x", "x", "x", "y", "z"], "majority")
    assert (won["outcome"], won["winner"], won["decided_by"]) == ("decided", "x", "majority")
    assert won["tally"][0] == {
        "alternative": "x", "score": 3, "first_choices": 3, "share": 0.6, "supporters": ["#1", "#2", "#3"],
    }  # fmt: skip
    half = await vote(["x", "x", "y", "z"], "majority")
    assert (half["outcome"], half["winner"]) == ("no_majority", None)
    assert "50.0%" in half["rationale"]
    assert "more than half is needed" in half["rationale"]


async def test_abstentions_do_not_count_against_a_majority(vote: Any) -> None:
    answer = await vote({"a": "x", "b": "x", "c": "y", "d": {"choice": None}, "e": {"ranking": []}}, "majority")
    assert answer["winner"] == "x"
    assert answer["abstained"] == ["d", "e"]
    assert answer["turnout"] == {
        "entitled": 5, "cast": 5, "valid": 3, "abstained": 2, "share": 1.0, "quorum": None, "quorum_met": True,
    }  # fmt: skip


async def test_plurality_takes_the_most_and_ties_are_ties(vote: Any) -> None:
    won = await vote(["x", "x", "y", "z"], "majority", majority="plurality")
    assert (won["outcome"], won["winner"]) == ("decided", "x")
    tied = await vote(["x", "x", "y", "y", "z"], "majority", majority="plurality")
    assert (tied["outcome"], tied["winner"], tied["tied"], tied["dissent"]) == ("tie", None, ["x", "y"], [])
    assert [(r["alternative"], r["rank"]) for r in tied["ranking"]] == [("x", 1), ("y", 1), ("z", 3)]


async def test_a_tie_break_decides_only_among_the_tied(vote: Any) -> None:
    answer = await vote(["x", "x", "y", "y", "z"], "majority", majority="plurality", tie_break=["z", "y", "x"])
    assert (answer["winner"], answer["decided_by"], answer["tied"]) == ("y", "tie_break", ["x", "y"])
    helpless = await vote(["x", "y"], "borda", tie_break=["z"])
    assert (helpless["outcome"], helpless["winner"]) == ("tie", None)


async def test_weights_decide_a_weighted_vote(vote: Any) -> None:
    answer = await vote({"board": "x", "a": "y", "b": "y"}, "weighted", weights={"board": 3})
    assert (answer["winner"], scores(answer)) == ("x", {"x": 3, "y": 2})
    assert {d["voter"]: d["weight"] for d in answer["dissent"]} == {"a": 1, "b": 1}


async def test_weights_add_up_as_decimals(vote: Any) -> None:
    ballots = [{"choice": "x", "weight": 0.1}, {"choice": "x", "weight": 0.2}, {"choice": "y", "weight": 0.3}]
    assert 0.1 + 0.2 > 0.3
    answer = await vote(ballots, "weighted", majority="plurality")
    assert (answer["outcome"], answer["tied"]) == ("tie", ["x", "y"])


async def test_majority_refuses_weights_rather_than_ignore_them(vote: Any, refused: Any) -> None:
    error = await refused(vote({"a": {"choice": "x", "weight": 2}, "b": "y"}, "majority"))
    assert error.code == "WeightsNotUsed"
    assert "for: a;" in str(error)


async def test_borda_of_the_textbook(vote: Any) -> None:
    answer = await vote(weighted(TENNESSEE), "borda")
    assert answer["winner"] == "Nashville"
    assert scores(answer) == {"Nashville": 194, "Chattanooga": 173, "Memphis": 126, "Knoxville": 107}


async def test_borda_shares_points_among_level_and_left_out(vote: Any) -> None:
    # 4 alternatives: [a, (b c), d] gives 3, 1.5, 1.5, 0; [d] gives 3 and the other three (2+1+0)/3 = 1 each.
    answer = await vote([{"ranking": ["a", ["b", "c"], "d"]}, {"ranking": ["d"]}], "borda")
    assert scores(answer) == {"a": 4, "d": 3, "b": 2.5, "c": 2.5}


async def test_condorcet_winner_of_the_textbook(vote: Any) -> None:
    answer = await vote(weighted(TENNESSEE), "condorcet")
    assert (answer["winner"], answer["decided_by"]) == ("Nashville", "condorcet")
    names = answer["pairwise"]["alternatives"]
    assert names == ["Chattanooga", "Knoxville", "Memphis", "Nashville"]
    assert answer["pairwise"]["preferred"] == [[0, 83, 58, 32], [17, 0, 58, 32], [42, 42, 0, 42], [68, 68, 58, 0]]
    assert scores(answer) == {"Nashville": 3, "Chattanooga": 2, "Knoxville": 1, "Memphis": 0}
    assert "Its closest pair is with 'Memphis': 58 to 42." in answer["rationale"]
    plurality = await vote(weighted(TENNESSEE), "weighted", majority="plurality")
    assert plurality["winner"] == "Memphis"


async def test_a_cycle_has_no_condorcet_winner(vote: Any) -> None:
    answer = await vote(ranked(CYCLE), "condorcet")
    assert (answer["outcome"], answer["winner"]) == ("no_condorcet_winner", None)
    assert answer["dissent"] == []
    assert set(scores(answer).values()) == {1}


@pytest.mark.parametrize("fallback", ["copeland", "schulze", "borda"])
async def test_a_symmetric_cycle_stays_a_tie_under_every_fallback(vote: Any, fallback: str) -> None:
    answer = await vote(ranked(CYCLE), "condorcet", fallback=fallback)
    assert (answer["outcome"], answer["tied"]) == ("tie", ["A", "B", "C"])


async def test_schulze_of_his_own_example(vote: Any) -> None:
    assert (await vote(weighted(SCHULZE), "condorcet"))["outcome"] == "no_condorcet_winner"
    answer = await vote(weighted(SCHULZE), "condorcet", fallback="schulze")
    assert (answer["winner"], answer["decided_by"]) == ("E", "schulze")
    assert [place["alternative"] for place in answer["ranking"]] == ["E", "A", "C", "B", "D"]


async def test_copeland_counts_a_drawn_pair_half(vote: Any) -> None:
    answer = await vote(ranked(["ABC", "BAC"]), "condorcet", fallback="copeland")
    assert scores(answer) == {"A": 1.5, "B": 1.5, "C": 0}
    assert (answer["outcome"], answer["tied"]) == ("tie", ["A", "B"])


async def test_fallbacks_differ_where_the_literature_says_so(vote: Any) -> None:
    # 4 ABC, 3 BCA, 2 CAB: A beats B 6:3, B beats C 7:2, C beats A 5:4. Schulze drops the weakest link, C over A.
    # Borda: A 8+0+2 = 10, B 4+6+0 = 10, C 0+3+4 = 7. Copeland: one defeat each.
    ballots = weighted([(4, "ABC"), (3, "BCA"), (2, "CAB")])
    assert (await vote(ballots, "condorcet", fallback="schulze"))["winner"] == "A"
    assert (await vote(ballots, "condorcet", fallback="borda"))["tied"] == ["A", "B"]
    assert (await vote(ballots, "condorcet", fallback="copeland"))["tied"] == ["A", "B", "C"]


async def test_a_quorum_counts_heads_abstentions_included(vote: Any) -> None:
    ballots = {"a": {"choice": "x", "weight": 50}, "b": {"choice": None}, "c": None, "d": None}
    unmet = await vote(ballots, "quorum", quorum={"voters": 3})
    assert (unmet["outcome"], unmet["winner"], unmet["absent"]) == ("no_quorum", None, ["c", "d"])
    assert "2 of 4 entitled voted, and the quorum is 3" in unmet["rationale"]
    assert (await vote(ballots, "quorum", quorum={"voters": 2}))["winner"] == "x"


@pytest.mark.parametrize(
    ("fraction", "electorate", "needed", "outcome"),
    [(0.5, 6, 3, "decided"), (0.5, 7, 4, "no_quorum"), ("2/3", 4, 3, "decided"), ("2/3", 5, 4, "no_quorum")],
)
async def test_a_fraction_of_the_electorate_is_rounded_up(
    vote: Any, fraction: Any, electorate: int, needed: int, outcome: str
) -> None:
    answer = await vote(["x", "x", "y"], "quorum", quorum={"fraction": fraction}, electorate=electorate)
    assert (answer["turnout"]["quorum"], answer["outcome"]) == (needed, outcome)


async def test_the_threshold_is_at_least_and_exact(vote: Any) -> None:
    ballots = ["x", "x", "y"]
    assert (await vote(ballots, "quorum", quorum={"voters": 1}, threshold="2/3"))["winner"] == "x"
    above = await vote(ballots, "quorum", quorum={"voters": 1}, threshold=0.7)
    assert (above["outcome"], above["winner"]) == ("no_majority", None)
    assert "at least 0.7 is needed" in above["rationale"]
    half = await vote(["x", "y"], "quorum", quorum={"voters": 1})
    assert half["outcome"] == "no_majority"
    tie = await vote(["x", "y"], "quorum", quorum={"voters": 1}, threshold=0.5)
    assert (tie["outcome"], tie["tied"]) == ("tie", ["x", "y"])


async def test_every_method_honours_a_quorum(vote: Any) -> None:
    for method in ("majority", "weighted", "borda", "condorcet", "quorum"):
        answer = await vote({"a": "x", "b": None, "c": None}, method, quorum={"voters": 2})
        assert (method, answer["outcome"], answer["winner"]) == (method, "no_quorum", None)


async def test_nobody_voting_for_anything_is_an_outcome(vote: Any) -> None:
    for method in ("majority", "weighted", "borda", "condorcet"):
        for ballots in ([], [None, {"choice": None}]):
            answer = await vote(ballots, method, alternatives=["x"])
            assert (method, answer["outcome"], answer["winner"]) == (method, "no_votes", None)


async def test_one_alternative_wins_by_every_method(vote: Any) -> None:
    for method in ("majority", "weighted", "borda", "condorcet"):
        assert (await vote(["x"], method))["winner"] == "x"


async def test_options_of_another_method_are_refused(vote: Any, refused: Any) -> None:
    for method, options in [
        ("borda", {"majority": "plurality"}),
        ("weighted", {"threshold": 0.5}),
        ("majority", {"fallback": "borda"}),
        ("quorum", {}),
        ("quorum", {"quorum": {}}),
        ("quorum", {"quorum": {"voters": 1, "fraction": 0.5}}),
        ("borda", {"threshold": "3/0"}),
        ("approval", {}),
    ]:
        assert (await refused(vote(["x"], method, **options))).code == "InvalidInputs"
