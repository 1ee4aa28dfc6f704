"""How far weights can move: by hand, and true of the decisions themselves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.decision_agent.agent import DecisionAgent
from services.decision_agent.request_models import MakeDecision

METHODS = ["weighted_sum", "topsis", "vikor", "promethee_ii"]


def decide(matrix, method, weights, **options):
    rows = [{"name": f"a{i}", **{f"c{j}": x for j, x in enumerate(row)}} for i, row in enumerate(matrix)]
    asked = {"data": rows, "method": method, "weights": {f"c{j}": w for j, w in enumerate(weights)}, **options}
    return DecisionAgent("d").make_decision(MakeDecision.model_validate(asked))


def lead(answer, winner):
    """By how much the winner is ahead of (or behind) the best of the others."""
    sign = -1.0 if answer.method == "vikor" else 1.0
    return sign * answer.scores[winner] - max(sign * s for name, s in answer.scores.items() if name != winner)


def moved(weights, j, at):
    total = sum(weights)
    rest = total - weights[j]
    others = [w / rest if rest else 1 / (len(weights) - 1) for w in weights]
    return [at if k == j else (1 - at) * others[k] for k in range(len(weights))]


@st.composite
def problems(draw):
    n, m = draw(st.integers(2, 6)), draw(st.integers(2, 4))
    matrix = draw(st.lists(st.lists(st.integers(0, 9), min_size=m, max_size=m), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 9), min_size=m, max_size=m).filter(any))
    costs = draw(st.lists(st.sampled_from([f"c{j}" for j in range(m)]), unique=True))
    method = draw(st.sampled_from(METHODS))
    options = {"v": draw(st.sampled_from([0, 0.3, 0.5, 1]))} if method == "vikor" else {}
    return matrix, method, weights, {"costs": costs, **options}


@settings(max_examples=100, deadline=None)
@given(problems(), st.floats(0, 1))
def test_within_its_range_no_weight_unseats_the_winner(problem, part):
    matrix, method, weights, options = problem
    answer = decide(matrix, method, weights, **options)
    for j, (name, found) in enumerate(answer.sensitivity.items()):
        assert found.lowest - 1e-9 <= found.weight <= found.highest + 1e-9, name
        # A hair inside: where two alternatives draw level twice in one place, half the digits of it are lost.
        low, high = min(found.lowest + 1e-7, found.weight), max(found.highest - 1e-7, found.weight)
        at = low + part * (high - low)
        assert lead(decide(matrix, method, moved(weights, j, at), **options), answer.winner) >= -1e-9, (name, at)


@settings(max_examples=100, deadline=None)
@given(problems())
def test_just_beyond_its_range_a_weight_unseats_the_winner(problem):
    matrix, method, weights, options = problem
    answer = decide(matrix, method, weights, **options)
    for j, found in enumerate(answer.sensitivity.values()):
        for at, rival in ((found.lowest - 1e-6, found.below), (found.highest + 1e-6, found.above)):
            if not 0 <= at <= 1:
                continue
            assert rival is not None
            beyond = decide(matrix, method, moved(weights, j, at), **options)
            assert lead(beyond, answer.winner) < 0, (j, at)
            assert abs(beyond.scores[rival] - beyond.scores[beyond.winner]) < 1e-4


@settings(max_examples=100, deadline=None)
@given(problems())
def test_a_bound_inside_names_who_wins_beyond_it(problem):
    answer = decide(problem[0], problem[1], problem[2], **problem[3])
    for found in answer.sensitivity.values():
        assert found.lowest == 0.0 or found.below is not None
        assert found.highest == 1.0 or found.above is not None
        assert answer.winner not in (found.below, found.above)


def test_a_weighted_sum_by_hand():
    # Values 0 to 1 in each criterion already. a0: (1, 0, 0.5), a1: (0, 1, 1).
    answer = decide([[1, 0, 0.5], [0, 1, 1], [0, 0, 0]], "weighted_sum", [0.6, 0.2, 0.2])
    # c0 = t: t + 0.25 (1 - t) = 1 - t, so t = 3/7.
    assert answer.sensitivity["c0"].lowest == pytest.approx(3 / 7, abs=1e-12)
    assert answer.sensitivity["c0"].below == "a1"
    assert answer.sensitivity["c0"].highest == 1.0
    # c1 = t, the others 3 to 1: a0 (1 - t) 0.875, a1 t + (1 - t) 0.25, so t = 0.625 / 1.625.
    assert answer.sensitivity["c1"].highest == pytest.approx(0.625 / 1.625, abs=1e-12)
    assert answer.sensitivity["c1"].above == "a1"
    assert answer.sensitivity["c1"].lowest == 0.0


def test_promethee_by_hand():
    # Usual preference: a0 beats a1 in c0, a1 beats a0 in c1 and c2; level where half the weight is on c0.
    answer = decide([[2, 1, 1], [1, 2, 2]], "promethee_ii", [0.7, 0.2, 0.1])
    assert answer.sensitivity["c0"].lowest == pytest.approx(0.5, abs=1e-12)
    assert answer.sensitivity["c1"].highest == pytest.approx((0.75 / 1.75), abs=1e-12)


def test_vikor_by_hand():
    # Two alternatives: S and R both say who has the larger weight on its side, so it turns at a half.
    answer = decide([[2, 1], [1, 2]], "vikor", [0.7, 0.3])
    assert answer.sensitivity["c0"].lowest == pytest.approx(0.5, abs=1e-12)
    assert answer.sensitivity["c0"].below == "a1"


@pytest.mark.parametrize(
    ("method", "matrix", "winner"),
    [
        ("topsis", [[9, 8, 4], [8, 5, 9], [0, 1, 9], [0, 5, 5]], "a0"),
        ("vikor", [[0, 2, 8], [0, 4, 3], [7, 8, 0], [0, 3, 8]], "a3"),
    ],
)
def test_a_lead_lost_and_regained_is_bounded_by_its_first_loss(method, matrix, winner):
    step = 0.998 / 200
    weights = [0.001 + step * i for i in range(201)]
    answers = [decide(matrix, method, [t, (1 - t) / 2, (1 - t) / 2]) for t in weights]
    first_loss = next(i for i, answer in enumerate(answers) if answer.winner != winner)
    assert winner in [answer.winner for answer in answers[first_loss:]], "the lead is regained"
    found = answers[0].sensitivity["c0"]
    assert weights[first_loss - 1] <= found.highest <= weights[first_loss]
    assert found.above in (answers[first_loss].tied or [answers[first_loss].winner])


def test_the_rival_named_is_the_one_just_beyond_the_bound():
    # The part of R jumps at the present weights, so several overtake at once; farther on another one leads.
    matrix, weights = [[2, 2, 1], [3, 0, 3], [0, 0, 1], [0, 3, 1], [3, 2, 1]], [0.2, 0.4, 0.4]
    found = decide(matrix, "vikor", weights).sensitivity["c1"]
    assert (found.highest, found.above) == (0.4, "a4")
    assert decide(matrix, "vikor", moved(weights, 1, 0.4 + 1e-6)).winner == "a4"
    assert decide(matrix, "vikor", moved(weights, 1, 0.7)).winner == "a3"


def test_where_all_regrets_meet_the_bound_is_exact():
    # Two alternatives change places in S and in R at once, so that Q jumps from 0 and 1 to 1 and 0.
    answer = decide([[0, 0, 0, 1], [0, 0, 1, 0]], "vikor", [0, 1, 0, 2], v=0.3)
    assert answer.sensitivity["c2"].highest == pytest.approx(0.4, abs=1e-11)


def test_a_single_criterion_has_nothing_to_move():
    found = decide([[1], [2]], "weighted_sum", [5]).sensitivity["c0"]
    assert (found.weight, found.lowest, found.highest) == (1.0, 1.0, 1.0)
    assert found.note == "the only criterion: its weight is always 1"


def test_a_criterion_with_all_the_weight_gives_it_up_evenly():
    # c0 alone decides for a0; c1 and c2, which take over in equal parts, decide for a1.
    found = decide([[1, 0, 0], [0, 1, 1]], "weighted_sum", [1, 0, 0]).sensitivity
    assert found["c0"].lowest == pytest.approx(0.5)
    assert found["c0"].note == "no other criterion has any weight, so what this one gives up is shared out evenly"
    assert found["c1"].highest == pytest.approx(0.5)


def test_in_a_tie_the_slightest_move_may_decide():
    answer = decide([[1, 0], [0, 1]], "weighted_sum", [1, 1])
    assert answer.tied == ["a0", "a1"]
    found = answer.sensitivity["c0"]
    assert (found.lowest, found.highest, found.below) == (0.5, 1.0, "a1")
    assert "the slightest move" in answer.rationale


def test_identical_alternatives_never_unseat_each_other():
    answer = decide([[3, 1], [3, 1], [1, 2]], "topsis", [0.9, 0.1])
    assert answer.tied == ["a0", "a1"]
    assert answer.sensitivity["c0"].below == "a2"


def test_no_weight_matters_to_an_alternative_that_is_best_everywhere():
    for method in METHODS:
        answer = decide([[9, 9, 9], [1, 5, 3], [2, 2, 8]], method, [1, 2, 3])
        assert all((r.lowest, r.highest) == (0.0, 1.0) for r in answer.sensitivity.values())
        assert "No weight, moved by itself, changes the winner." in answer.rationale
