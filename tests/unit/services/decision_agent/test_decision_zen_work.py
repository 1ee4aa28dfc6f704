"""ZEN expressions that would hold up everything else are refused before they run."""

import pytest

from services.decision_agent.zen_expressions import check_shape, compile_condition, compile_value, evaluate
from services.decision_agent.zen_work import MAX_LIST, check_lists, walks_within_walks
from services.runtime.agent import CapabilityError


@pytest.mark.parametrize(
    "text",
    [
        "sum(map([0..100000], sum(map([0..100000], 1))))",  # 270 s
        "(r = [0..100000000]; sum(map(r, #)))",  # 41 s, in which no other thread ran
        "map([5, [0..1000000000]], sum(map(#, 1)))",
        "some([1..1000000000], # > 2)",
        "map([1..n], #)",
        "map(l, map(l, map(l, 1)))",
        "count(flatMap(l, map(l, filter(l, # > 1))), # > 0)",
        "map( [0 .. 99999999] , #)",
        "map(a ? [0..999999999] : [1], #)",
        "(" * 200 + "1" + ")" * 200,
        "1" * 5_000,
    ],
)
def test_hostile_expressions_are_refused(text: str) -> None:
    with pytest.raises(CapabilityError) as caught:
        check_shape(text, "rule 1")
    assert caught.value.code == "BadExpression"
    assert str(caught.value).startswith("rule 1")


@pytest.mark.parametrize(
    ("text", "context", "value"),
    [
        ("sum(map([1..1000], #))", "{}", 500_500),
        ("len(filter(l, # in [2..3]))", '{"l": [1, 2, 3, 4]}', 2),
        ("5 in [0..100000000000]", "{}", True),
        ("sum(map(l, sum(map(#, #))))", '{"l": [[1, 2], [3]]}', 6),
        ("len(map(l, 'map(map(map(0..1'))", '{"l": [1]}', 1),
    ],
)
def test_plain_ones_run(text: str, context: str, value: object) -> None:
    assert evaluate(compile_value(text, "x"), context) == value


def test_a_range_is_a_condition() -> None:
    assert evaluate(compile_condition("[1..1000000000]", "x"), '{"$": 7}') is True


@pytest.mark.parametrize(
    ("bare", "depth"),
    [("1 + 1", 0), ("map(l, #)", 1), ("map(map(l, #), #)", 2), ("map(l, sum(#)) + map(l, #)", 1), ("bitmap(x)", 0)],
)
def test_walks_within_walks(bare: str, depth: int) -> None:
    assert walks_within_walks(bare) == depth


def test_long_lists_are_refused_for_walks_within_walks() -> None:
    check_lists({"a": {"b": [[1] * MAX_LIST]}}, "record 1")
    with pytest.raises(CapabilityError, match="record 1: a list of 3001 elements"):
        check_lists({"a": {"b": [[1] * (MAX_LIST + 1)]}}, "record 1")
