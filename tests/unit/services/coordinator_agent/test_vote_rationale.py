"""What a vote says in words, whole sentences compared: each figure in them is the answer's."""

from typing import Any

import pytest

CASES: list[tuple[Any, str, dict[str, Any], str]] = [
    (
        {"ann": "x", "bob": "x", "cyd": "y"},
        "majority",
        {},
        "'x' wins by absolute majority with 2 votes (66.7%). Next: 'y' with 1 vote (33.3%). 3 of 3 entitled voted. "
        "Dissent: cyd (first choice 'y').",
    ),
    (
        {"ann": "x", "bob": "y", "cyd": {"choice": None}, "dan": None},
        "majority",
        {},
        "Nothing is decided: 'x' and 'y' with 50.0% of the votes lead, and more than half is needed. "
        "3 of 4 entitled voted, without dan, cyd abstaining.",
    ),
    (
        {"ann": "x", "bob": "y"},
        "weighted",
        {"weights": {"ann": 1.5}, "quorum": {"voters": 2}},
        "'x' wins by absolute majority with a weight of 1.5 (60.0%). Next: 'y' with a weight of 1 (40.0%). "
        "2 of 2 entitled voted, the quorum is 2. Dissent: bob (first choice 'y').",
    ),
    (
        [{"ranking": ["x", "y"]}, {"ranking": [["x", "y"]]}],
        "borda",
        {},
        "'x' wins by Borda with 1.5 Borda points. Next: 'y' with 0.5 Borda points. 2 of 2 entitled voted. "
        "Nobody dissents.",
    ),
    (
        [{"ranking": ["x", "y", "z"]}, {"ranking": ["x", "z", "y"]}, {"ranking": ["y", "x", "z"]}],
        "condorcet",
        {},
        "'x' wins: it beats every other in pairs. Its closest pair is with 'y': 2 to 1. 3 of 3 entitled voted. "
        "Dissent: #3 (first choice 'y').",
    ),
    (
        [{"ranking": list(order), "weight": weight} for order, weight in (("ABC", 4), ("BCA", 3), ("CAB", 2))],
        "condorcet",
        {"fallback": "schulze"},
        "'A' wins by Schulze with a score of 2, because no alternative beats every other in pairs. "
        "Next: 'B' with a score of 1. 3 of 3 entitled voted. Dissent: #2 (first choice 'B'); #3 (first choice 'C').",
    ),
    (
        ["x", "y"],
        "borda",
        {},
        "Nothing is decided: 'x' and 'y' are level with 1 Borda point. 2 of 2 entitled voted.",
    ),
    (
        ["x", "y"],
        "borda",
        {"tie_break": ["y"]},
        "'y' wins: 'x' and 'y' are level, and the tie-break order puts it before the others. "
        "2 of 2 entitled voted. Dissent: #1 (first choice 'x').",
    ),
    (
        ["x", "x", "y"],
        "weighted",
        {"majority": "plurality"},
        "'x' wins by plurality with a weight of 2 (66.7%). Next: 'y' with a weight of 1 (33.3%). "
        "3 of 3 entitled voted. Dissent: #3 (first choice 'y').",
    ),
    (
        ["x", None],
        "quorum",
        {"quorum": {"voters": 1}},
        "'x' wins by the votes of a quorum with a weight of 1 (100.0%). 1 of 2 entitled voted, without #2, "
        "the quorum is 1. Nobody dissents.",
    ),
    (
        ["x", None, None],
        "quorum",
        {"quorum": {"fraction": "2/3"}},
        "Nothing is decided: 1 of 3 entitled voted, and the quorum is 2.",
    ),
    ([], "borda", {}, "Nothing is decided: nobody voted for any alternative. 0 of 0 entitled voted."),
    (["x"], "condorcet", {}, "'x' wins: it is the only alternative. 1 of 1 entitled voted. Nobody dissents."),
]  # fmt: skip


@pytest.mark.parametrize(("ballots", "method", "options", "said"), CASES)
async def test_the_rationale_says_what_was_counted(
    vote: Any, ballots: Any, method: str, options: dict[str, Any], said: str
) -> None:
    assert (await vote(ballots, method, **options))["rationale"] == said


async def test_long_lists_are_cut_and_counted(vote: Any) -> None:
    answer = await vote({f"v{i}": f"x{i}" for i in range(8)}, "borda", tie_break=["x0"])
    assert "'x0', 'x1', 'x2', 'x3', 'x4' and 3 more are level" in answer["rationale"]
    assert "v5 (first choice 'x5'); and 2 more." in answer["rationale"]
    assert len(answer["dissent"]) == 7


async def test_conventions_name_what_the_outcome_rests_on(vote: Any) -> None:
    ballots = [{"ranking": ["x", "y"]}]
    said = {
        "majority": ({}, "The winner needs more than half of the votes"),
        "weighted": ({"majority": "plurality"}, "The winner needs more than any other (plurality)."),
        "borda": ({}, "m-1 points for the first of m alternatives"),
        "condorcet": ({"fallback": "schulze"}, "Without a Condorcet winner schulze decides"),
        "quorum": ({"quorum": {"voters": 1}, "threshold": "2/3"}, "The winner needs at least 2/3 of the votes"),
    }
    for method, (options, text) in said.items():
        conventions = (await vote(ballots, method, **options))["conventions"]
        assert any(text in line for line in conventions), method
    undecided = (await vote(ballots, "condorcet"))["conventions"]
    assert "Without a Condorcet winner nothing is decided." in undecided
    ordered = (await vote(ballots, "borda", tie_break=["y", "x"]))["conventions"]
    assert "A tie goes to the first tied alternative of: y, x." in ordered
