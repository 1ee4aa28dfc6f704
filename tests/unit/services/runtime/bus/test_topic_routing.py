import random
import re

import pytest

from services.runtime.bus.topic_routing import TopicTable, topic_matches


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*", "a", True),
        ("*", "", False),
        ("#", "", True),
        ("#", "a", True),
        ("#", "a.b.c", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.c", "c", True),
        ("#.c", "a.b.c", True),
        ("#.c", "c.d", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.b.b.x", False),
        ("a.#.b.#.c", "a.b.x.b.c", True),
        ("#.#", "", True),
        ("#.*", "", False),
        ("#.*", "a.b", True),
        ("*.#.*", "a", False),
        ("*.#.*", "a.b", True),
        ("a.*", "a.", True),  # the second word is there, and empty
        ("a", "a.", False),
        ("a*", "ab", False),
        ("a*", "a*", True),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_topic_match(pattern: str, key: str, expected: bool) -> None:
    assert topic_matches(pattern, key) is expected


def by_regular_expression(pattern: str, key: str) -> bool:
    """The same rules told otherwise: each word as ``word.``, so that zero words are the empty string."""
    words = {"*": r"[^.]*\.", "#": r"([^.]*\.)*"}
    expression = "".join(words.get(word, re.escape(word) + r"\.") for word in pattern.split(".")) if pattern else ""
    return re.fullmatch(expression, f"{key}." if key else "") is not None


def test_topic_match_agrees_with_a_regular_expression() -> None:
    choose = random.Random(7)
    patterns = [".".join(choose.choices("ab*#", k=choose.randint(1, 6))) for _ in range(300)]
    keys = ["", *(".".join(choose.choices("ab", k=choose.randint(1, 7))) for _ in range(60))]
    expected = {(pattern, key): by_regular_expression(pattern, key) for pattern in patterns for key in keys}
    assert {(pattern, key): topic_matches(pattern, key) for pattern, key in expected} == expected
    assert {True, False} == set(expected.values())


def test_a_pattern_of_many_hashes_is_matched_in_reasonable_time() -> None:
    assert not topic_matches("#." * 200 + "z", ".".join("a" * 2_000))


def test_targets_come_once_in_the_order_they_were_bound() -> None:
    table: TopicTable[str] = TopicTable()
    for pattern, target in [("a.*", "first"), ("#", "second"), ("a.b", "first"), ("b.#", "third")]:
        table.bind(pattern, target)
    assert table.targets("a.b") == ("first", "second")
    assert table.targets("b") == ("second", "third")


def test_what_is_remembered_follows_bindings() -> None:
    table: TopicTable[str] = TopicTable()
    assert table.targets("a") == ()
    table.bind("a", "late")
    assert table.targets("a") == ("late",)
    table.remove("late")
    assert table.targets("a") == ()


def test_any_number_of_keys_is_routed_right() -> None:
    table: TopicTable[int] = TopicTable()
    table.bind("k.*", 1)
    assert [table.targets(f"k.{number}") for number in range(25_000)] == [(1,)] * 25_000
