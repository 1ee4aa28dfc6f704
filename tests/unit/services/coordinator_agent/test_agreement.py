"""When answers agree, and when enough do: by hand and as laws (Hypothesis)."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.coordinator_agent.agreement import Count, canonical, count, dissent, distance, round_of
from services.coordinator_agent.consensus import opinions, position_of
from services.coordinator_agent.consensus_models import ConsensusInputs, ConsensusOutcome, Position
from services.coordinator_agent.merging import same
from services.coordinator_agent.peers import Heard

ABSTAINS = object()
SILENT = object()


def request(**options: Any) -> ConsensusInputs:
    return ConsensusInputs.model_validate({"question": "q", "agents": {"agent_type": "juror"}, **options})


def positions(answers: dict[str, Any], weights: dict[str, float] | None = None) -> list[Position]:
    states = {id(ABSTAINS): "abstained", id(SILENT): "silent"}
    return [
        Position(
            agent_id=name,
            state=states.get(id(answer), "answered"),  # type: ignore[arg-type]
            answer=None if answer in (ABSTAINS, SILENT) else answer,
            argument=f"says {name}",
            weight=(weights or {}).get(name, 1.0),
        )
        for name, answer in answers.items()
    ]


def counted(answers: dict[str, Any], weights: dict[str, float] | None = None, **options: Any) -> Count:
    return count(request(**options), positions(answers, weights), len(answers))


def leading(found: Count) -> Any:
    assert found.leading is not None
    return found.leading.answer


# ---- by hand


def test_more_than_half_agree() -> None:
    found = counted({"a": "x", "b": "x", "c": "y"})
    assert (found.outcome, leading(found)) == (ConsensusOutcome.CONSENSUS, "x")
    assert found.share == pytest.approx(2 / 3)


def test_half_is_not_more_than_half_and_a_tie_is_no_consensus_at_any_threshold() -> None:
    level = {"a": "x", "b": "x", "c": "y", "d": "y"}
    assert counted(level).outcome is ConsensusOutcome.NO_CONSENSUS
    found = counted(level, threshold=0.5)
    assert (found.outcome, found.tied) == (ConsensusOutcome.NO_CONSENSUS, True)
    assert counted({**level, "e": "x", "f": "z"}, threshold=0.5).outcome is ConsensusOutcome.CONSENSUS


def test_a_threshold_is_met_exactly() -> None:
    answers = {"a": "x", "b": "x", "c": "y"}
    assert counted(answers, threshold="2/3").outcome is ConsensusOutcome.CONSENSUS
    assert counted(answers, threshold=0.67).outcome is ConsensusOutcome.NO_CONSENSUS


def test_weights_count_as_the_decimals_they_are() -> None:
    answers = {"a": "x", "b": "x", "c": "y"}
    assert counted(answers, {"a": 0.1, "b": 0.2, "c": 0.3}).tied
    assert leading(counted(answers, {"c": 5})) == "y"


def test_abstentions_count_for_the_quorum_and_not_for_the_share() -> None:
    found = counted({"a": "x", "b": ABSTAINS, "c": SILENT, "d": SILENT}, quorum={"fraction": 0.5})
    assert (found.outcome, found.answered, found.quorum, found.share) == (ConsensusOutcome.CONSENSUS, 2, 2, 1.0)


@pytest.mark.parametrize(("quorum", "needed"), [({"voters": 3}, 3), ({"fraction": "2/3"}, 3), ({"fraction": 0.51}, 3)])
def test_without_a_quorum_nothing_is_agreed(quorum: dict[str, Any], needed: int) -> None:
    found = counted({"a": "x", "b": "x", "c": SILENT, "d": SILENT}, quorum=quorum)
    assert (found.outcome, found.answered, found.quorum) == (ConsensusOutcome.NO_QUORUM, 2, needed)


def test_everybody_abstains() -> None:
    found = counted({"a": ABSTAINS, "b": ABSTAINS})
    assert (found.outcome, found.leading, found.share) == (ConsensusOutcome.NO_CONSENSUS, None, 0.0)


def test_answers_are_compared_as_json() -> None:
    found = counted({"a": {"n": 1, "m": [True]}, "b": {"m": [True], "n": 1.0}, "c": {"n": 1, "m": [1]}})
    assert found.outcome is ConsensusOutcome.CONSENSUS
    assert [group.agents for group in found.groups] == [["a", "b"], ["c"]]


def test_numbers_within_the_tolerance_agree() -> None:
    answers = {"a": 10.0, "b": 10.1, "c": 10.2, "d": 20}
    assert counted(answers).outcome is ConsensusOutcome.NO_CONSENSUS
    found = counted(answers, tolerance=0.1, threshold=0.75)
    assert (found.outcome, leading(found), found.share) == (ConsensusOutcome.CONSENSUS, 10.1, 0.75)
    assert [one.agent_id for one in dissent(positions(answers), found)] == ["d"]


def test_of_answers_with_the_same_support_the_one_in_the_middle_leads() -> None:
    found = counted({"a": 1, "b": 2, "c": 3}, tolerance=2)
    assert (leading(found), found.share) == (2, 1.0)


def test_numbers_within_larger_answers_have_the_tolerance_too() -> None:
    near = {"a": {"price": 100, "firm": "X"}, "b": {"price": 101, "firm": "X"}, "c": {"price": 100, "firm": "Y"}}
    found = counted(near, tolerance=1)
    assert (found.outcome, leading(found)) == (ConsensusOutcome.CONSENSUS, {"price": 100, "firm": "X"})


def test_two_camps_that_share_a_middle_are_a_tie() -> None:
    found = counted({"a": 1, "b": 2, "c": 3}, tolerance=1, threshold=0.5)
    assert leading(found) == 2
    assert found.outcome is ConsensusOutcome.CONSENSUS
    camps = counted({"a": 1, "b": 1, "c": 2, "d": 3, "e": 3}, {"c": 0.5}, tolerance=0.5, threshold=0.1)
    assert (camps.outcome, camps.tied) == (ConsensusOutcome.NO_CONSENSUS, True)


def test_dissent_is_kept_with_its_argument_and_weight() -> None:
    answers = {"a": "x", "b": "y", "c": "x", "d": ABSTAINS}
    found = counted(answers, {"b": 0.5})
    (one,) = dissent(positions(answers, {"b": 0.5}), found)
    assert (one.agent_id, one.answer, one.argument, one.weight) == ("b", "y", "says b", 0.5)


def test_nobody_dissents_from_nothing() -> None:
    answers = {"a": "x", "b": "y"}
    assert dissent(positions(answers), counted(answers)) == []


# ---- reading answers


def heard(body: dict[str, Any] | None, **more: Any) -> Heard:
    return Heard(**{"state": "answered", "seconds": 0.5, "body": body, **more})


def test_an_answer_of_an_earlier_round_is_not_counted() -> None:
    asked = request(rounds=2)
    late = position_of(asked, "a", 2, heard({"round": 1, "answer": {"answer": "x"}}))
    assert (late.state, late.reason) == ("failed", "it answered round 1")
    assert position_of(asked, "a", 1, heard({"round": 1, "answer": {"answer": "x"}})).state == "answered"


def test_an_output_is_read_at_the_paths_of_the_task() -> None:
    task = {"action": "judge", "answer": "verdict.is", "argument": "why"}
    asked = ConsensusInputs.model_validate({"task": task})
    output = {"verdict": {"is": "guilty"}, "why": "fingerprints"}
    found = position_of(asked, "a", 1, heard({"round": 1, "output": output}))
    assert (found.state, found.answer, found.argument) == ("answered", "guilty", "fingerprints")
    missing = position_of(asked, "a", 1, heard({"round": 1, "output": {"verdict": "guilty", "why": ""}}))
    assert missing.state == "failed"
    assert "nothing at verdict.is" in missing.reason
    null = position_of(asked, "a", 1, heard({"round": 1, "output": {"verdict": None, "why": None}}))
    assert null.state == "abstained"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (heard({"round": 1}), "abstained"),
        (heard({"round": 1, "failed": "no idea"}), "failed"),
        (heard({"answer": {"answer": "x"}}), "failed"),
        (heard(None, state="silent", reason="no answer within 1 s"), "silent"),
        (heard(None, state="failed", reason="nobody takes its messages"), "failed"),
    ],
)
def test_what_is_no_answer_is_known_by_name(said: Heard, state: str) -> None:
    assert position_of(request(), "a", 1, said).state == state


def test_everybody_is_shown_what_the_others_said_and_not_its_own() -> None:
    before = positions({"a": "x", "b": "y", "c": ABSTAINS})
    assert [(o.agent_id, o.answer, o.argument) for o in opinions(before, "a")] == [("b", "y", "says b")]
    assert [o.agent_id for o in opinions(before, "c")] == ["a", "b"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"question": ""},
        {"agents": {}},
        {"task": {"action": "judge"}, "rounds": 2},
        {"at_least": 3, "at_most": 2},
        {"agents": {"agent_ids": ["a"]}, "weights": {"b": 1}},
        {"threshold": 0},
        {"tolerance": -1},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**wrong)


# ---- laws

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.0]) | st.sampled_from("xy"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("kl"), inner, max_size=2),
    max_leaves=6,
)
numbers = st.integers(-20, 20).map(lambda n: n / 10)
weights = st.sampled_from([0.1, 0.2, 0.3, 1.0, 2.0])
ballots = st.lists(st.tuples(st.sampled_from([1, 2, 2.5, "x", ABSTAINS, SILENT]), weights), min_size=1, max_size=8)
options = st.fixed_dictionaries(
    {"threshold": st.sampled_from([None, 0.4, 0.5, "2/3", 1]), "tolerance": st.sampled_from([None, 0, 0.5])}
)


def of(cast: list[tuple[Any, float]], **chosen: Any) -> Count:
    names = {f"a{i}": answer for i, (answer, _) in enumerate(cast)}
    return counted(names, {f"a{i}": weight for i, (_, weight) in enumerate(cast)}, **chosen)


@given(a=values, b=values)
def test_the_canonical_text_is_the_identity_of_json(a: Any, b: Any) -> None:
    assert (canonical(a) == canonical(b)) == same(a, b)
    assert same(json.loads(canonical(a)), a)


@given(a=values, b=values)
def test_with_no_tolerance_only_the_same_json_agrees(a: Any, b: Any) -> None:
    assert (distance(a, b, Fraction(0)) is not None) == same(a, b)


@given(a=numbers, b=numbers, tolerance=st.sampled_from([0, 0.1, 0.5, 1]))
def test_agreement_within_a_tolerance_is_mutual(a: float, b: float, tolerance: float) -> None:
    limit = Fraction(str(tolerance))
    assert distance(a, b, limit) == distance(b, a, limit)
    assert (distance(a, b, limit) is not None) == (abs(Fraction(str(a)) - Fraction(str(b))) <= limit)


@given(cast=ballots, chosen=options)
def test_a_consensus_has_quorum_and_share_and_no_rival(cast: list[tuple[Any, float]], chosen: dict[str, Any]) -> None:
    found = of(cast, **chosen)
    needed = {None: Fraction(1, 2), "2/3": Fraction(2, 3)}.get(chosen["threshold"]) or Fraction(
        str(chosen["threshold"])
    )
    total = sum(group.weight for group in found.groups)
    if found.outcome is ConsensusOutcome.CONSENSUS:
        assert found.leading is not None
        share = found.leading.support / total
        assert share >= needed if chosen["threshold"] is not None else share > needed
        rivals = [g for g in found.groups if g.text not in found.leading.agrees]
        assert all(rival.support < found.leading.support for rival in rivals)
    assert (found.outcome is ConsensusOutcome.NO_QUORUM) == (found.answered < found.quorum)
    assert sorted(name for group in found.groups for name in group.agents) == sorted(
        f"a{i}" for i, (answer, _) in enumerate(cast) if answer not in (ABSTAINS, SILENT)
    )


@given(cast=ballots, chosen=options, data=st.data())
def test_in_which_order_they_answer_changes_nothing(
    cast: list[tuple[Any, float]], chosen: dict[str, Any], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(cast))
    before, after = of(cast, **chosen), of(list(shuffled), **chosen)
    assert (before.outcome, before.share, before.tied) == (after.outcome, after.share, after.tied)
    assert [group.text for group in before.groups] == [group.text for group in after.groups]


@given(cast=ballots, chosen=options)
def test_whoever_answered_agrees_or_dissents(cast: list[tuple[Any, float]], chosen: dict[str, Any]) -> None:
    found = of(cast, **chosen)
    said = positions({f"a{i}": answer for i, (answer, _) in enumerate(cast)})
    shown = round_of(1, said, found)
    assert sum(len(line.agents) for line in shown.answers) == sum(one.state == "answered" for one in said)
    if found.outcome is ConsensusOutcome.CONSENSUS and found.leading is not None:
        agreeing = [g.agents for g in found.groups if g.text in found.leading.agrees]
        others = {one.agent_id for one in dissent(said, found)}
        assert others.isdisjoint(name for names in agreeing for name in names)
        assert len(others) + sum(map(len, agreeing)) == sum(one.state == "answered" for one in said)
