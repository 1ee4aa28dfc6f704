"""What must hold of every decision, whatever the numbers."""

import json
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.decision_agent.agent import DecisionAgent
from services.decision_agent.request_models import MakeDecision
from services.runtime.agent import CapabilityError

METHODS = ["weighted_sum", "topsis", "vikor", "promethee_ii"]
NUMBERS = st.one_of(st.integers(-9, 9), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1e-300, -1e150, 1e150, 0.1, 0.3]))


def decide(rows, **options):
    return DecisionAgent("d").make_decision(MakeDecision.model_validate({"data": rows, **options}))


def records(matrix):
    return [{"name": f"a{i}", **{f"c{j}": x for j, x in enumerate(row)}} for i, row in enumerate(matrix)]


@st.composite
def matrices(draw, numbers=NUMBERS, least=1):
    m = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(numbers, min_size=m, max_size=m), min_size=least, max_size=6))


PREFERENCES = st.sampled_from(
    [
        {"function": "usual"},
        {"function": "u_shape", "q": 1},
        {"function": "v_shape", "p": 3},
        {"function": "level", "q": 1, "p": 3},
        {"function": "linear", "q": 0.5, "p": 4},
        {"function": "gaussian", "s": 2},
    ]
)


@settings(max_examples=150, deadline=None)
@given(matrices(), st.sampled_from(METHODS), st.sampled_from(["equal", "entropy", "critic"]), PREFERENCES)
def test_every_answer_is_finite_complete_and_in_order(matrix, method, weights, preference):
    options = {"preference": preference} if method == "promethee_ii" else {}
    if weights == "entropy" and any(x < 0 for row in matrix for x in row):
        with pytest.raises(CapabilityError, match="values of at least 0"):
            decide(records(matrix), method=method, weights=weights, **options)
        return
    answer = decide(records(matrix), method=method, weights=weights, **options)
    json.dumps(answer.model_dump(mode="json"), allow_nan=False)
    assert len(answer.ranking) == len(matrix) == len(answer.scores) == len(answer.contributions)
    assert answer.winner == answer.ranking[0].alternative
    assert sum(answer.weights.values()) == pytest.approx(1.0)
    assert answer.ranking[0].rank == 1
    assert len(answer.tied) in (0, *range(2, len(matrix) + 1))
    sign = 1 if method == "vikor" else -1
    ordered = [sign * place.score for place in answer.ranking]
    assert all(b >= a - 1e-11 for a, b in pairwise(ordered))
    low, high = (-1, 1) if method == "promethee_ii" else (0, 1)
    assert all(low - 1e-9 <= place.score <= high + 1e-9 for place in answer.ranking)
    assert answer.winner in answer.rationale


@settings(max_examples=100, deadline=None)
@given(matrices(numbers=st.integers(0, 9), least=2), st.sampled_from(METHODS), PREFERENCES, st.data())
def test_a_dominated_alternative_never_wins(matrix, method, preference, data):
    options = {"preference": preference} if method == "promethee_ii" else {}
    costs = data.draw(st.lists(st.sampled_from([f"c{j}" for j in range(len(matrix[0]))]), unique=True))
    weights = {f"c{j}": data.draw(st.integers(0, 5)) for j in range(len(matrix[0]))}
    assume(any(weights.values()))
    answer = decide(records(matrix), method=method, costs=costs, weights=weights, **options)
    best = [-x if f"c{j}" in costs else x for j, x in enumerate(matrix[int(answer.winner[1:])])]
    for row in matrix:
        other = [-x if f"c{j}" in costs else x for j, x in enumerate(row)]
        assert not (all(o >= b for o, b in zip(other, best, strict=True)) and other != best)


@settings(max_examples=100, deadline=None)
@given(matrices(numbers=st.integers(1, 99), least=2), st.floats(1e-6, 1e6), st.data())
def test_topsis_does_not_notice_the_unit_of_a_benefit(matrix, factor, data):
    j = data.draw(st.integers(0, len(matrix[0]) - 1))
    scaled = [[x * factor if k == j else x for k, x in enumerate(row)] for row in matrix]
    before, after = (decide(records(rows), method="topsis") for rows in (matrix, scaled))
    assert after.scores == pytest.approx(before.scores, abs=1e-9)
    if not before.tied and before.ranking[0].score - before.ranking[1].score > 1e-9:
        assert after.winner == before.winner


@settings(max_examples=100, deadline=None)
@given(matrices(numbers=st.integers(0, 9), least=2), st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(matrix, method, random):
    rows = records(matrix)
    shuffled = random.sample(rows, len(rows))
    before, after = decide(rows, method=method), decide(shuffled, method=method)
    assert after.scores == pytest.approx(before.scores, abs=1e-9)
    assert {p.alternative: p.rank for p in after.ranking} == {p.alternative: p.rank for p in before.ranking}


@settings(max_examples=100, deadline=None)
@given(matrices(numbers=st.integers(-9, 9), least=2), st.sampled_from(["weighted_sum", "vikor", "promethee_ii"]))
def test_a_cost_is_a_benefit_turned_round(matrix, method):
    negated = [[-x for x in row] for row in matrix]
    names = [f"c{j}" for j in range(len(matrix[0]))]
    before, after = decide(records(matrix), method=method), decide(records(negated), method=method, costs=names)
    if method == "weighted_sum":
        assume(all(len(set(column)) > 1 for column in zip(*matrix, strict=True)))
    assert after.scores == pytest.approx(before.scores, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(matrices(numbers=st.integers(-9, 9), least=1), st.integers(-9, 9), st.sampled_from(["all", "any"]))
def test_a_threshold_accepts_exactly_what_keeps_within_it(matrix, least, require):
    names = [f"c{j}" for j in range(len(matrix[0]))]
    answer = decide(records(matrix), thresholds={name: {"min": least} for name in names}, require=require)
    rule = all if require == "all" else any
    assert answer.outcomes == {
        f"a{i}": "accept" if rule(x >= least for x in row) else "reject" for i, row in enumerate(matrix)
    }
    accepted = [name for name, outcome in answer.outcomes.items() if outcome == "accept"]
    assert [place.alternative for place in answer.ranking][: len(accepted)] == [
        place.alternative for place in answer.ranking if place.outcome == "accept"
    ]
    assert (answer.winner is None) == (not accepted)
