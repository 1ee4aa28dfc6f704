"""Which bid gets the task, by hand and as laws that hold for any bids (Hypothesis)."""

import itertools
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.coordinator_agent.bidding import Reply, ranked, record, weighted_score
from services.coordinator_agent.contract_net_models import AwardRecord, BidRecord, BidWeights, ContractNetInputs
from services.runtime.agent import Bid

RULES: list[dict[str, Any]] = [
    {"rule": "lowest_cost"},
    {"rule": "highest_confidence"},
    {"rule": "best_ratio"},
    {"rule": "weighted", "weights": {"cost": 1, "confidence": 3}},
]
rules = pytest.mark.parametrize("options", RULES, ids=lambda o: o["rule"])

FOUR = {"a": (4.0, 0.9), "b": (2.0, 0.5), "c": (1.0, 0.2), "d": (8.0, 0.95)}


def request(**options: Any) -> ContractNetInputs:
    return ContractNetInputs.model_validate({"task": {"action": "work"}, **options})


def bids_of(offers: dict[str, tuple[float, float]]) -> list[Reply]:
    return [
        Reply(name, "worker", "bid", Bid(cost=cost, confidence=confidence), seconds=0.1 * place)
        for place, (name, (cost, confidence)) in enumerate(offers.items(), start=1)
    ]


def order(offers: dict[str, tuple[float, float]], **options: Any) -> list[str]:
    return [place.reply.agent_id for place in ranked(request(**options), bids_of(offers))]


# ---- by hand


def test_lowest_cost() -> None:
    assert order(FOUR, rule="lowest_cost") == ["c", "b", "a", "d"]


def test_highest_confidence() -> None:
    assert order(FOUR, rule="highest_confidence") == ["d", "a", "b", "c"]


def test_best_ratio_is_confidence_per_cost() -> None:
    # 0.9/4 = 0.225, 0.5/2 = 0.25, 0.2/1 = 0.2, 0.95/8 = 0.11875
    assert order(FOUR, rule="best_ratio") == ["b", "a", "c", "d"]
    scores = [place.score for place in ranked(request(rule="best_ratio"), bids_of(FOUR))]
    assert scores == [0.25, 0.225, 0.2, 0.11875]


def test_weighted_by_the_formula() -> None:
    # cheapness 1 - cost/8: a 0.5, b 0.75, c 0.875, d 0; with weights 1 and 3: (cheapness + 3 confidence) / 4
    weights = {"cost": 1, "confidence": 3}
    places = ranked(request(rule="weighted", weights=weights), bids_of(FOUR))
    assert [(place.reply.agent_id, place.score) for place in places] == [
        ("a", 0.8),
        ("d", 0.7125),
        ("b", 0.5625),
        ("c", 0.36875),
    ]


def test_a_bid_for_nothing_stands_first_by_ratio_and_has_no_score() -> None:
    offers = {"a": (1.0, 1.0), "free": (0.0, 0.1), "sure": (0.0, 0.2), "hopeless": (0.0, 0.0)}
    assert order(offers, rule="best_ratio") == ["sure", "free", "a", "hopeless"]
    assert [place.score for place in ranked(request(rule="best_ratio"), bids_of(offers))] == [None, None, 1.0, 0.0]


def test_bids_that_are_all_for_nothing_differ_by_confidence_alone() -> None:
    weights = {"cost": 5, "confidence": 1}
    assert order({"a": (0.0, 0.1), "b": (0.0, 0.2)}, rule="weighted", weights=weights) == ["b", "a"]


def test_ties_go_by_the_stated_order_and_in_the_end_by_id() -> None:
    level = {"b": (1.0, 0.5), "a": (1.0, 0.5), "c": (1.0, 0.9)}
    assert order(level, rule="lowest_cost") == ["c", "a", "b"]
    assert order(level, rule="lowest_cost", ties=[]) == ["a", "b", "c"]
    assert order(level, rule="lowest_cost", ties=["earlier_bid"]) == ["b", "a", "c"]
    assert order({"a": (3.0, 0.5), "b": (2.0, 0.5)}, rule="highest_confidence") == ["b", "a"]


def test_decimals_count_as_they_are_written() -> None:
    # As binary fractions 0.3 / 0.1 is below 3 and 0.9 / 0.3 is 3: as decimals they are level.
    assert order({"b": (0.1, 0.3), "a": (0.3, 0.9)}, rule="best_ratio", ties=[]) == ["a", "b"]


def test_bids_beyond_the_constraints_are_not_ranked() -> None:
    assert order(FOUR, max_cost=4, min_confidence=0.5) == ["b", "a"]
    assert order(FOUR, max_cost=0.5) == []


def line_of(agent_id: str, lines: list[BidRecord]) -> BidRecord:
    return next(line for line in lines if line.agent_id == agent_id)


def test_the_record_says_of_everybody_why_not() -> None:
    asked = request(rule="lowest_cost", max_cost=5)
    replies = [
        *bids_of({**FOUR, "e": (1.0, 0.2)}),
        Reply("f", "worker", "declined", reason="it declined: busy", seconds=0.2),
        Reply("g", "worker", "silent", reason="no answer within 5 s"),
    ]
    places = ranked(asked, replies)
    made = [
        AwardRecord(agent_id="c", ok=False, seconds=1, error="broken", code="Broken"),
        AwardRecord(agent_id="e", ok=True, seconds=1),
    ]
    lines = record(asked, replies, places, made)
    assert [line.agent_id for line in lines] == ["c", "e", "b", "a", "d", "f", "g"]
    assert {line.agent_id: line.not_chosen for line in lines} == {
        "a": "e is better by lowest_cost: cost 1, not cost 4",
        "b": "e is better by lowest_cost: cost 1, not cost 2",
        "c": "it was awarded the task and failed: broken",
        "d": "its cost 8 is above max_cost 5",
        "e": None,
        "f": "it declined: busy",
        "g": "no answer within 5 s",
    }
    assert line_of("g", lines).seconds is None
    assert (line_of("a", lines).rank, line_of("d", lines).rank) == (4, None)


def test_the_record_names_the_tie_that_decided() -> None:
    asked = request(rule="lowest_cost", ties=[])
    replies = bids_of({"a": (1.0, 0.5), "b": (1.0, 0.9)})
    lines = record(asked, replies, ranked(asked, replies), [AwardRecord(agent_id="a", ok=True, seconds=1)])
    assert line_of("b", lines).not_chosen == "level with a by lowest_cost, which comes first by: agent id"


def test_the_record_says_that_no_more_awards_were_to_be_made() -> None:
    asked = request(next_best=0)
    replies = bids_of(FOUR)
    made = [AwardRecord(agent_id="c", ok=False, seconds=1, error="broken")]
    lines = record(asked, replies, ranked(asked, replies), made)
    assert line_of("b", lines).not_chosen == "1 award had failed, and no more were to be made (next_best is 0)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": "weighted"},
        {"rule": "lowest_cost", "weights": {"cost": 1, "confidence": 1}},
        {"rule": "weighted", "weights": {"cost": 0, "confidence": 0}},
        {"rule": "cheapest"},
        {"deadline": 0},
        {"agents": {"agent_ids": ["a", "a"]}},
        {"agents": {"agent_ids": []}},
        {"task": {"action": "no action"}},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**wrong)


# ---- laws

figures = st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 2.5, 7.0]), st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]))
some_offers = st.dictionaries(st.sampled_from("abcdefgh"), figures, min_size=1)


@rules
@given(offers=some_offers, data=st.data())
def test_in_which_order_the_bids_came_changes_nothing(
    options: dict[str, Any], offers: dict[str, tuple[float, float]], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(offers.items()))))
    assert order(shuffled, **options) == order(offers, **options)


@rules
@given(offers=some_offers)
def test_nobody_who_is_worse_in_both_goes_before(
    options: dict[str, Any], offers: dict[str, tuple[float, float]]
) -> None:
    names = order(offers, **options)
    assert sorted(names) == sorted(offers)
    for before, after in itertools.combinations(names, 2):
        (cost, confidence), (other_cost, other_confidence) = offers[before], offers[after]
        worse = cost >= other_cost and confidence <= other_confidence
        assert not worse or (cost, confidence) == (other_cost, other_confidence)


@rules
@given(offers=some_offers, limit=figures)
def test_only_acceptable_bids_are_ranked_and_all_of_them(
    options: dict[str, Any], offers: dict[str, tuple[float, float]], limit: tuple[float, float]
) -> None:
    names = order(offers, max_cost=limit[0], min_confidence=limit[1], **options)
    assert set(names) == {name for name, (cost, sure) in offers.items() if cost <= limit[0] and sure >= limit[1]}


@given(offer=figures, weights=figures.filter(any), highest=st.sampled_from([7.0, 10.0]))
def test_a_weighted_score_lies_between_nothing_and_everything(
    offer: tuple[float, float], weights: tuple[float, float], highest: float
) -> None:
    chosen = BidWeights(cost=weights[0], confidence=weights[1])
    score = weighted_score(chosen, Fraction(str(offer[0])), Fraction(str(offer[1])), Fraction(highest))
    assert 0 <= score <= 1


@rules
@given(offers=some_offers, failing=st.integers(0, 3), next_best=st.integers(0, 3))
def test_the_record_has_everybody_once_and_one_chosen_at_most(
    options: dict[str, Any], offers: dict[str, tuple[float, float]], failing: int, next_best: int
) -> None:
    asked = request(next_best=next_best, **options)
    replies = bids_of(offers)
    places = ranked(asked, replies)
    made = []
    for place in places[: 1 + next_best]:
        made.append(AwardRecord(agent_id=place.reply.agent_id, ok=len(made) >= failing, seconds=1, error="e"))
        if made[-1].ok:
            break
    lines = record(asked, replies, places, made)
    assert sorted(line.agent_id for line in lines) == sorted(offers)
    chosen = [line.agent_id for line in lines if line.not_chosen is None]
    assert chosen == [one.agent_id for one in made if one.ok]
    assert [line.rank for line in lines] == list(range(1, len(offers) + 1))
