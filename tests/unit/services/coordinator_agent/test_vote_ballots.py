"""What a ballot may be, whose it is, and what is said of those who disagree."""

from typing import Any

TOPSIS = {
    "method": "topsis",
    "winner": "A",
    "ranking": [
        {"alternative": "A", "rank": 1, "score": 0.7},
        {"alternative": "B", "rank": 2, "score": 0.5},
        {"alternative": "C", "rank": 3, "score": 0.1},
    ],
    "rationale": "A is nearest to the ideal.",
}
VIKOR = {
    "winner": "B",
    "ranking": [
        {"alternative": "C", "rank": 3, "score": 0.9},
        {"alternative": "B", "rank": 1, "score": 0.1},
        {"alternative": "A", "rank": 2, "score": 0.3},
    ],
    "rationale": "B has the least regret.",
}


async def test_decisions_are_ballots(vote: Any) -> None:
    answer = await vote({"topsis": TOPSIS, "vikor": VIKOR, "again": TOPSIS}, "condorcet")
    assert answer["winner"] == "A"
    assert answer["dissent"] == [
        {"voter": "vikor", "first": ["B"], "rank_of_winner": 2, "weight": 1, "reason": "B has the least regret."}
    ]
    assert "Dissent: vikor (first choice 'B')." in answer["rationale"]


async def test_a_skipped_decision_is_an_absent_voter(vote: Any) -> None:
    answer = await vote({"topsis": TOPSIS, "vikor": None}, "borda")
    assert (answer["winner"], answer["absent"]) == ("A", ["vikor"])
    assert (answer["turnout"]["cast"], answer["turnout"]["entitled"]) == (1, 2)
    assert "1 of 2 entitled voted, without vikor." in answer["rationale"]


async def test_a_vote_can_be_a_ballot_of_another_vote(vote: Any) -> None:
    committee = await vote({"a": TOPSIS, "b": VIKOR}, "borda", tie_break=["B"])
    assert (committee["winner"], committee["decided_by"]) == ("B", "tie_break")
    answer = await vote({"committee": committee, "chair": "B", "guest": "A"}, "majority")
    assert answer["winner"] == "B"
    assert answer["tally"][0]["supporters"] == ["chair", "committee"]


async def test_a_decision_without_a_winner_abstains(vote: Any) -> None:
    answer = await vote({"threshold": {**TOPSIS, "winner": None}, "vikor": VIKOR}, "borda")
    assert (answer["winner"], answer["abstained"]) == ("B", ["threshold"])
    assert answer["tally"][0]["score"] == 2


async def test_level_first_choices_share_the_vote(vote: Any) -> None:
    undecided = {
        "winner": "A",
        "tied": ["A", "B"],
        "ranking": [{"alternative": n, "rank": 1, "score": 1} for n in "AB"],
    }
    answer = await vote({"u": undecided, "v": "A"}, "weighted")
    assert {line["alternative"]: line["first_choices"] for line in answer["tally"]} == {"A": 1.5, "B": 0.5}
    assert answer["dissent"] == []
    assert (await vote({"u": undecided}, "borda"))["tied"] == ["A", "B"]
    lost = await vote({"u": undecided, "v": "C", "w": "C"}, "majority")
    assert lost["dissent"] == [{"voter": "u", "first": ["A", "B"], "rank_of_winner": None, "weight": 1, "reason": ""}]


async def test_dissent_keeps_the_choice_the_rank_and_the_reason(vote: Any) -> None:
    ballots = [
        {"voter": "ann", "ranking": ["x", "y"]},
        {"voter": "bob", "ranking": ["x"]},
        {"voter": "cyd", "ranking": [["y", "z"], "x"], "reason": "x is late"},
        {"voter": "dan", "choice": None, "reason": "no opinion"},
    ]
    answer = await vote(ballots, "majority")
    assert answer["dissent"] == [
        {"voter": "cyd", "first": ["y", "z"], "rank_of_winner": 3, "weight": 1, "reason": "x is late"}
    ]
    assert answer["abstained"] == ["dan"]
    unanimous = await vote(["x", "x"], "majority")
    assert unanimous["dissent"] == []
    assert "Nobody dissents." in unanimous["rationale"]


async def test_duplicate_voters_are_named_with_their_ballots(vote: Any, refused: Any) -> None:
    ballots = [{"voter": "ann", "choice": "x"}, {"voter": "bob", "choice": "x"}, {"voter": "ann", "choice": "y"}]
    error = await refused(vote(ballots, "majority"))
    assert error.code == "DuplicateVoter"
    assert error.details == {"ann": ["#1", "#3"]}
    assert "'ann' as ballots #1, #3" in str(error)


async def test_a_mapping_and_its_ballot_name_the_same_voter(vote: Any, refused: Any) -> None:
    assert (await vote({"ann": {"voter": "ann", "choice": "x"}}, "majority"))["winner"] == "x"
    error = await refused(vote({"ann": {"voter": "bob", "choice": "x"}}, "majority"))
    assert (error.code, error.details) == ("InvalidBallot", {"voter": "ann"})


async def test_rankings_that_contradict_themselves_are_refused(vote: Any, refused: Any) -> None:
    for ballot, said in [
        ({"ranking": ["x", "y", "x"]}, "ranks more than once: x"),
        ({"ranking": ["x", ["y", "y"]]}, "ranks more than once: y"),
        ({"ranking": ["x", "y"], "choice": "y"}, "chooses 'y' but ranks 'x' first"),
        ({"ranking": ["x", {"alternative": "y", "rank": 2}]}, "mixes names and objects"),
        ({**TOPSIS, "winner": "C"}, "chooses 'C' but ranks 'A' first"),
    ]:
        error = await refused(vote({"ann": ballot}, "borda"))
        assert error.code == "InvalidBallot"
        assert said in str(error)
        assert "ann" in str(error)


async def test_a_choice_settles_a_level_first_place(vote: Any) -> None:
    answer = await vote([{"ranking": [["x", "y"], "z"], "choice": "y"}], "borda")
    assert [(p["alternative"], p["score"]) for p in answer["ranking"]] == [("y", 2), ("x", 1), ("z", 0)]


async def test_alternatives_may_be_given(vote: Any, refused: Any) -> None:
    answer = await vote(["x", "x"], "borda", alternatives=["x", "y", "z"])
    assert [(p["alternative"], p["rank"], p["score"]) for p in answer["ranking"]] == [
        ("x", 1, 4), ("y", 2, 1), ("z", 2, 1),
    ]  # fmt: skip
    error = await refused(vote({"ann": "w", "bob": "x"}, "borda", alternatives=["x", "y"]))
    assert error.code == "UnknownAlternative"
    assert "'w' (ballot of ann); allowed are: x, y" in str(error)
    error = await refused(vote(["x"], "borda", alternatives=["x", "y"], tie_break=["w"]))
    assert error.code == "UnknownAlternative"
    assert (await refused(vote(["x"], "borda", alternatives=["x", "x"]))).code == "InvalidInputs"


async def test_too_many_alternatives_are_refused(vote: Any, refused: Any) -> None:
    ballots = [f"x{i}" for i in range(101)]
    assert (await refused(vote(ballots, "borda"))).code == "TooManyAlternatives"
    assert (await vote(ballots[:100], "borda"))["outcome"] == "tie"


async def test_weights_name_voters_and_stand_in_one_place(vote: Any, refused: Any) -> None:
    error = await refused(vote({"ann": "x"}, "weighted", weights={"anne": 2}))
    assert (error.code, "anne; the voters are: ann" in str(error)) == ("InvalidWeights", True)
    error = await refused(vote({"ann": {"choice": "x", "weight": 1}}, "weighted", weights={"ann": 2}))
    assert error.code == "InvalidWeights"
    for weight in (0, -1, float("inf"), float("nan")):
        assert (await refused(vote({"ann": "x"}, "weighted", weights={"ann": weight}))).code == "InvalidInputs"


async def test_an_electorate_is_no_smaller_than_its_voters(vote: Any, refused: Any) -> None:
    assert (await refused(vote(["x", "y"], "borda", electorate=1))).code == "InvalidElectorate"
    assert (await vote(["x"], "borda", electorate=4))["turnout"]["share"] == 0.25
