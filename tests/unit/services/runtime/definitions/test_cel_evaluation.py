"""Macros: the values the library would give, in the same order each time, and within a budget of work."""

from collections.abc import Mapping
from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.definitions.budget import Budget, OutOfWork
from services.runtime.definitions.expressions import BadExpression, Expression, ExpressionError

STEPS: dict[str, Any] = {
    "a": {"output": {"x": 1, "l": [1, 2, 3], "m": {"z": 2, "b": 1, "k-y": 3}}, "status": "succeeded"},
    "load": {"output": [{"id": i, "price": i * 1.5} for i in range(5)], "status": "succeeded"},
}
INPUTS = {"rate": 2.0}


def evaluate(source: str, inputs: Mapping[str, Any] = INPUTS) -> Any:
    return Expression.parse(source).evaluate(STEPS, inputs)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("steps.a.output.l.map(x, x * 2)", [2, 4, 6]),
        ("steps.a.output.l.filter(x, x != 2)", [1, 3]),
        ("steps.a.output.l.map(x, x > 1, x * 10)", [20, 30]),
        ("steps.a.output.l.all(x, x > 0)", True),
        ("steps.a.output.l.exists(x, x > 2)", True),
        ("steps.a.output.l.exists_one(x, x > 2)", True),
        ("steps.a.output.l.existsOne(x, x > 1)", False),
        ("[].all(x, false) && ![].exists(x, true) && ![].exists_one(x, true)", True),
        ("steps.a.output.m.map(k, steps.a.output.m[k])", [1, 3, 2]),
        ("steps.load.output.filter(r, r.price > inputs.rate).map(r, r.id)", [2, 3, 4]),
        ("[[1, 2], [3]].map(x, x.map(x, x + 1))", [[2, 3], [4]]),
        ("[1, 2].map(x, [10, 20].map(y, [x, y].map(z, x + y + z)))", [[[12, 21], [22, 41]], [[14, 22], [24, 42]]]),
        ("[1, 2].map(x, x).map(y, y + 1)[1] + 1", 4),
        ("[1].map(x, has({'a': x}.a))", [True]),
        ("[timestamp('2024-01-01T00:00:00Z')].map(t, t.getFullYear())", [2024]),
        ("[1, 2].exists(x, x / (x - 1) > 0)", True),
        ("[1, 2].all(x, x / (x - 1) < 0)", False),
        ("[1, 2].exists(x, x / 0 == 1) || true", True),
        ("[1, 2].map(x, x / 0) == [1] || true", True),
    ],
)
def test_macros(source: str, value: Any) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    "source", ["[1, 2].all(x, x / (x - 1) > 0)", "[1, 2].exists_one(x, x / (x - 1) > 0)", "[0].map(x, 1 / x)"]
)
def test_a_failure_inside_a_macro_is_told(source: str) -> None:
    with pytest.raises(ExpressionError, match="division by zero"):
        evaluate(source)


def test_maps_are_gone_over_in_the_order_of_their_keys() -> None:
    """The library's own order differs from run to run: the engine is replayed, and must get the same inputs."""
    inputs = {"m": {f"k{i:02}": i for i in range(50)}}
    ordered = sorted(inputs["m"])
    assert evaluate("inputs.m.map(k, k)", inputs) == ordered
    assert list(evaluate("inputs.m", inputs)) == ordered
    assert list(evaluate("{'m': inputs.m}", inputs)["m"]) == ordered


class Drawn:
    """Well-typed expressions over integers that cannot fail, so that both ways of running them give a value."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.bound: list[str] = []

    def integer(self, depth: int) -> str:
        leaves = ["1", "2", "inputs.n", "steps.a.output.x", *self.bound]
        if depth == 0:
            return self.pick(leaves)
        match self.pick(["leaf", "sum", "size", "choice"]):
            case "leaf":
                return self.pick(leaves)
            case "sum":
                return f"({self.integer(depth - 1)} {self.pick(['+', '-'])} {self.integer(depth - 1)})"
            case "size":
                return f"size({self.numbers(depth - 1)})"
        return f"({self.condition(depth - 1)} ? {self.integer(depth - 1)} : {self.integer(depth - 1)})"

    def condition(self, depth: int) -> str:
        if depth == 0:
            return f"{self.integer(0)} {self.pick(['<', '==', '>='])} {self.integer(0)}"
        match self.pick(["compare", "not", "both", "in", "quantified"]):
            case "compare":
                return f"{self.integer(depth - 1)} {self.pick(['<', '==', '!='])} {self.integer(depth - 1)}"
            case "not":
                return f"!({self.condition(depth - 1)})"
            case "both":
                return f"({self.condition(depth - 1)} {self.pick(['&&', '||'])} {self.condition(depth - 1)})"
            case "in":
                return f"{self.integer(depth - 1)} in {self.numbers(depth - 1)}"
        return self.macro(depth, self.pick(["all", "exists", "exists_one"]), self.condition)

    def numbers(self, depth: int) -> str:
        if depth == 0:
            return self.pick(["[]", "[1, 2, 3]", "inputs.l", "steps.a.output.l"])
        match self.pick(["leaf", "map", "filter", "sum", "map with a condition"]):
            case "leaf":
                return self.numbers(0)
            case "map":
                return self.macro(depth, "map", self.integer)
            case "filter":
                return self.macro(depth, "filter", self.condition)
            case "sum":
                return f"({self.numbers(depth - 1)} + {self.numbers(depth - 1)})"
        return self.macro(depth, "map", lambda below: f"{self.condition(below)}, {self.integer(below)}")

    def macro(self, depth: int, kind: str, body: Any) -> str:
        over = self.numbers(depth - 1)
        self.bound.append(self.pick(["v", "w"]))
        text = f"{over}.{kind}({self.bound[-1]}, {body(depth - 1)})"
        self.bound.pop()
        return text

    def pick(self, choices: list[str]) -> str:
        return str(self.draw(st.sampled_from(choices)))


@st.composite
def lists(draw: Any) -> str:
    return Drawn(draw).numbers(3)


@settings(max_examples=300, deadline=None)
@given(lists())
def test_macros_give_what_the_librarys_own_give(source: str) -> None:
    context = {
        "steps": {"a": {"output": {"x": 2, "l": [3, 1]}, "status": "succeeded"}},
        "inputs": {"n": 3, "l": [2, 5]},
    }
    try:
        expression = Expression.parse(source)
    except BadExpression as fault:  # a large one may break a limit; nothing else is wrong with it
        limits = ("at most", "may have", "may nest")
        if not any(limit in str(fault) for limit in limits):
            raise
        return
    whole = cel.compile(source)
    assert expression.evaluate(context["steps"], context["inputs"]) == whole.execute(context)
    assert expression.variables | {"v", "w"} >= set(whole.variables()) >= expression.variables


# ---- bounded work


@pytest.mark.parametrize(
    "source",
    [
        "inputs.big.map(a, inputs.big.map(b, inputs.big.map(c, 1)))",
        "inputs.big.all(a, inputs.big.all(b, a < 0 || b >= 0))",
        "[1,2,3,4,5,6,7,8,9,10].map(a," * 8 + "1" + ")" * 8,
        "[1,2,3,4,5,6,7,8,9,10].exists(a," * 8 + "false" + ")" * 8 + " || true",
        "['x']" + f".map(a, {'+'.join('a' * 10)})" * 12,
        "['x']" + ".map(a, [a,a,a,a,a,a,a,a,a,a])" * 20,
        "+".join(["inputs.text"] * 60),
        "[" + ",".join(["inputs.big"] * 360) + "]",
        "inputs.big.exists(a, 'x'.matches('(a{1000}){100}'))",
        r"inputs.big.exists(a, 'x'.matches(r'\w{100,}'))",
        "inputs.big.exists(a, 'x'.matches(inputs.text))",
        "inputs.big.map(a, inputs.text + 'x')",
        "inputs.big.map(a, [" + ",".join("1" * 1_900) + "])",
        "inputs.big.all(a, size([" + ",".join("1" * 1_900) + "]) > 0)",
        "(inputs.big + inputs.big).map(a, '" + "x" * 3_900 + "')",
    ],
)
def test_expressions_that_would_never_end_are_stopped(source: str) -> None:
    inputs = {"big": list(range(3_000)), "text": "x" * 4_000_000}
    # Less than half of the budget, for the time it takes to spend it.
    with pytest.raises(ExpressionError, match="more than 100,000 units of work"):
        Expression.parse(source).evaluate({}, inputs, Budget(100_000))


def test_the_budget_of_a_step() -> None:
    within = "inputs.big.all(a, inputs.small.all(b, true))"
    inputs = {"big": list(range(500)), "small": list(range(200))}
    assert evaluate(within, inputs) is True
    with pytest.raises(ExpressionError, match="more than 250,000 units of work for one step's expressions"):
        evaluate(within.replace("small", "big"), inputs)


@pytest.mark.parametrize(
    "pattern",
    [
        "[abc]*a[abc]{300}[de]",
        "[ab]*a[abc]{900}[a-c]{900}[d-z]",
        "(a.{200}b|b.{200}c|c.{200}a).{100}[d-z]",
        "' + inputs.pattern + '",
    ],
)
def test_a_regular_expression_costs_its_states_times_the_text(pattern: str) -> None:
    """On a megabyte these were seen to take from one to six seconds, in one call that nothing can interrupt."""
    source = f"inputs.text.matches('{pattern}')"
    inputs = {"text": "abcacb" * 170_000, "pattern": "[abc]*a[abc]{900}[de]"}
    with pytest.raises(ExpressionError, match="more than 250,000 units of work"):
        evaluate(source, inputs)
    assert evaluate(source, {**inputs, "text": "abc"}) is False


def test_a_plain_pattern_may_meet_a_long_text() -> None:
    assert evaluate("inputs.text.matches('^[a-z]+$')", {"text": "abc" * 100_000}) is True


def test_a_budget_is_within_another() -> None:
    together = Budget(1_000, "all of them")
    for _ in range(9):
        together.for_a_step().spend(100)
    with pytest.raises(OutOfWork, match="more than 1,000 units of work for all of them"):
        together.for_a_step().spend(101)


def test_a_few_thousand_records_are_within_the_budget() -> None:
    records = [{"id": i, "price": float(i), "name": f"n{i}", "size": "L"} for i in range(5_000)]
    inputs = {"records": records, "least": 4_990.0}
    assert evaluate("inputs.records.filter(r, r.price > inputs.least && r.size == 'L').map(r, r.id)", inputs) == [
        *range(4_991, 5_000)
    ]
    assert evaluate("inputs.records.all(r, r.price >= 0.0) && size(inputs.records) == 5000", inputs) is True
    # A regular expression is compiled for each.
    assert evaluate("inputs.records.all(r, r.name.matches('^n[0-9]+$'))", {"records": records[:2_000]}) is True


def test_values_that_nest_without_end_are_refused() -> None:
    nested: list[Any] = []
    for _ in range(20_000):
        nested = [nested]
    with pytest.raises(ExpressionError, match="nests deeper than 100 levels"):
        evaluate("size(inputs.nested)", {"nested": nested})
