"""PROMETHEE II: every preference function by hand, and a whole example against an independent calculation."""

import math

import numpy as np
import pytest
from pymcdm.methods import PROMETHEE_II

# Differences of c0: B - A = 2, C - A = 10, C - B = 8.
ROWS = [{"name": "A", "x": 0}, {"name": "B", "x": 2}, {"name": "C", "x": 10}]


@pytest.mark.parametrize(
    ("preference", "p2", "p8", "p10"),
    [
        ({"function": "usual"}, 1, 1, 1),
        ({"function": "u_shape", "q": 2}, 0, 1, 1),
        ({"function": "u_shape", "q": 8}, 0, 0, 1),
        ({"function": "v_shape", "p": 8}, 0.25, 1, 1),
        ({"function": "v_shape", "p": 16}, 0.125, 0.5, 0.625),
        ({"function": "level", "q": 2, "p": 8}, 0, 0.5, 1),
        ({"function": "level", "q": 1, "p": 9}, 0.5, 0.5, 1),
        ({"function": "linear", "q": 2, "p": 8}, 0, 1, 1),
        ({"function": "linear", "q": 0, "p": 10}, 0.2, 0.8, 1),
        ({"function": "gaussian", "s": 4}, 1 - math.exp(-1 / 8), 1 - math.exp(-2), 1 - math.exp(-100 / 32)),
    ],
)
def test_each_preference_function_by_hand(decide, preference, p2, p8, p10):
    answer = decide(data=ROWS, method="promethee_ii", preference=preference)
    assert answer["details"]["positive_flow"] == pytest.approx({"A": 0, "B": p2 / 2, "C": (p8 + p10) / 2})
    assert answer["details"]["negative_flow"] == pytest.approx({"A": (p2 + p10) / 2, "B": p8 / 2, "C": 0})
    assert answer["scores"] == pytest.approx({"A": -(p2 + p10) / 2, "B": (p2 - p8) / 2, "C": (p8 + p10) / 2})
    assert answer["conventions"]["preference"]["x"]["function"].startswith(preference["function"])


def test_a_cost_turns_the_differences_round(decide):
    answer = decide(data=ROWS, method="promethee_ii", costs=["x"], preference={"function": "v_shape", "p": 16})
    assert answer["scores"] == pytest.approx({"A": 0.375, "B": (0.5 - 0.125) / 2, "C": -0.5625})


# Six sites for a power plant, with a different preference function for every criterion; data of Brans, Vincke &
# Mareschal (1986), "How to select and how to rank projects: the PROMETHEE method".
SITES = {
    "x1": (80, 90, 600, 54, 8, 5),
    "x2": (65, 58, 200, 97, 1, 1),
    "x3": (83, 60, 400, 72, 4, 7),
    "x4": (40, 80, 1000, 75, 7, 10),
    "x5": (52, 72, 600, 20, 3, 8),
    "x6": (94, 96, 700, 36, 5, 6),
}
CRITERIA = [
    ("engineers", "cost", {"function": "u_shape", "q": 10}),
    ("power", "benefit", {"function": "v_shape", "p": 30}),
    ("build", "cost", {"function": "linear", "q": 50, "p": 500}),
    ("upkeep", "cost", {"function": "level", "q": 10, "p": 60}),
    ("villages", "cost", {"function": "usual"}),
    ("safety", "benefit", {"function": "gaussian", "s": 5}),
]


def preference(kind, d):
    """The six functions as Brans & Vincke (1985) define them, one difference at a time."""
    q, p, s = kind.get("q", 0), kind.get("p", 0), kind.get("s", 1)
    if d <= 0:
        return 0.0
    return {
        "usual": lambda: 1.0,
        "u_shape": lambda: float(d > q),
        "v_shape": lambda: min(d / p, 1.0),
        "level": lambda: 0.0 if d <= q else 0.5 if d <= p else 1.0,
        "linear": lambda: 0.0 if d <= q else min((d - q) / (p - q), 1.0),
        "gaussian": lambda: 1 - math.exp(-(d**2) / (2 * s**2)),
    }[kind["function"]]()


def flows_of(sites, weights):
    """phi+ and phi- pair by pair, without numpy."""

    def pi(a, b):
        total = 0.0
        for j, (_, direction, kind) in enumerate(CRITERIA):
            d = sites[a][j] - sites[b][j]
            total += weights[j] * preference(kind, -d if direction == "cost" else d)
        return total

    n = len(sites)
    plus = {a: sum(pi(a, b) for b in sites if b != a) / (n - 1) for a in sites}
    minus = {a: sum(pi(b, a) for b in sites if b != a) / (n - 1) for a in sites}
    return plus, minus


@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1, 1), (3, 1, 2, 1, 0, 5)])
def test_the_power_plants(decide, weights):
    shares = [w / sum(weights) for w in weights]
    rows = [{"name": name, **dict(zip([c[0] for c in CRITERIA], row, strict=True))} for name, row in SITES.items()]
    specs = [
        {"name": name, "direction": direction, "preference": kind, "weight": share}
        for (name, direction, kind), share in zip(CRITERIA, shares, strict=True)
    ]
    answer = decide(data=rows, method="promethee_ii", criteria=specs)
    plus, minus = flows_of(SITES, shares)
    assert answer["details"]["positive_flow"] == pytest.approx(plus)
    assert answer["details"]["negative_flow"] == pytest.approx(minus)
    assert answer["scores"] == pytest.approx({name: plus[name] - minus[name] for name in SITES})
    assert sum(answer["scores"].values()) == pytest.approx(0.0, abs=1e-9)
    for name, parts in answer["contributions"].items():
        assert sum(parts.values()) == pytest.approx(answer["scores"][name])


def test_the_power_plants_with_equal_weights_are_ranked_as_published(decide):
    rows = [{"name": name, **dict(zip([c[0] for c in CRITERIA], row, strict=True))} for name, row in SITES.items()]
    specs = [{"name": name, "direction": direction, "preference": kind} for name, direction, kind in CRITERIA]
    answer = decide(data=rows, method="promethee_ii", criteria=specs)
    assert [p["alternative"] for p in answer["ranking"]] == ["x5", "x2", "x4", "x6", "x3", "x1"]


def test_pymcdms_object_works_once_but_the_agent_again_and_again(decide, table):
    matrix, weights, types = np.array([[4.0, 3], [3, 2], [5, 1]]), np.array([0.5, 0.5]), np.ones(2)
    body = PROMETHEE_II("vshape", p=[2, 2])
    first = body(matrix, weights, types, validation=False)
    with pytest.raises(ValueError, match="axis 1 is out of bounds"):
        body(matrix, weights, types, validation=False)
    asked = {"data": table((4, 3), (3, 2), (5, 1)), "method": "promethee_ii"}
    answers = [decide(**asked, preference={"function": "v_shape", "p": 2}) for _ in range(3)]
    assert answers[0]["scores"] == pytest.approx(dict(zip("ABC", first, strict=True)))
    assert answers[0] == answers[1] == answers[2]


def test_usual_is_the_default_and_a_criterions_own_function_wins(decide):
    rows = [{"name": "A", "x": 1, "y": 5}, {"name": "B", "x": 2, "y": 1}]
    plain = decide(data=rows, method="promethee_ii")
    assert [kind["function"] for kind in plain["conventions"]["preference"].values()] == ["usual: 1 for d > 0"] * 2
    own = {"name": "y", "preference": {"function": "u_shape", "q": 4}}
    answer = decide(data=rows, method="promethee_ii", criteria=["x", own], preference={"function": "v_shape", "p": 2})
    assert answer["scores"] == pytest.approx({"A": -0.25, "B": 0.25})


@pytest.mark.parametrize(
    ("preference", "named"),
    [
        ({"function": "usual", "q": 1}, "takes no parameter, and was given q"),
        ({"function": "linear", "p": 1}, "takes q and p, and was given p"),
        ({"function": "gaussian"}, "takes s, and was given none"),
        ({"function": "level", "q": 3, "p": 3}, "q (3) must be below p (3)"),
    ],
)
def test_wrong_parameters_are_refused(refusal, preference, named):
    error = refusal(data=ROWS, method="promethee_ii", preference=preference)
    assert error.code == "InvalidInputs"
    assert named in str(error)


def test_too_many_pairs_are_refused(refusal):
    error = refusal(data=[{"x": i} for i in range(2001)], method="promethee_ii")
    assert error.code == "TooManyAlternatives"
    assert "2000" in str(error)
