"""Tokens and limits: what reaches the parser, and where an expression in a text ends."""

import re
from typing import Any

import cel
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.runtime.definitions.cel_syntax import (
    MAX_BYTES,
    MAX_CHAIN,
    MAX_NESTING,
    MAX_OPERATORS,
    BadExpression,
    checked_tokens,
    closing_brace,
    tokens,
)


def texts(source: str) -> list[str]:
    return [token.text for token in tokens(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.b + 1", ["a", ".", "b", "+", "1"]),
        ("1.5e3 .5 0x1F 2u", ["1.5e3", ".5", "0x1F", "2u"]),
        ("a<=b&&c||!d", ["a", "<=", "b", "&&", "c", "||", "!", "d"]),
        (r"'it\'s' + r'\'", [r"'it\'s'", "+", r"r'\'"]),
        ("'''a'b''' + \"\"\"x\"y\n\"\"\"", ["'''a'b'''", "+", '"""x"y\n"""']),
        (r"b'\xff' + bR'\x' + B\"\"\"z\"\"\"".replace('\\"', '"'), [r"b'\xff'", "+", r"bR'\x'", "+", 'B"""z"""']),
        ("a // a comment with ' and }\n+ b", ["a", "+", "b"]),
        ("'' + ''''''", ["''", "+", "''''''"]),
        ("'http://x'", ["'http://x'"]),
    ],
)
def test_tokens(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("'abc", "the string that begins at character 1 is not closed"),
        ('a + "b\n"', "the string that begins at character 5 is not closed"),
        ("a # b", "'#' at character 3"),
        ("a`b`", "'`' at character 2"),
        ("é", "'é' at character 1"),
        ("a = b", "'=' at character 3"),
        ("'\ud800'", "surrogate"),
        ("(1]", "']' at character 3 closes nothing"),
        ("1)", "')' at character 2 closes nothing"),
        ("[1, {'a': 2}", "']' is missing"),
    ],
)
def test_what_is_no_expression_is_named(source: str, said: str) -> None:
    with pytest.raises(BadExpression, match=re.escape(said)):
        checked_tokens(source)


LIMITS = {
    "bytes": (lambda n: "'" + "a" * (n - 2) + "'", MAX_BYTES),
    "bytes of two": (lambda n: "'" + "é" * ((n - 2) // 2) + "'" + " " * (n % 2), MAX_BYTES),
    "parentheses": (lambda n: "(" * n + "1" + ")" * n, MAX_NESTING),
    "lists": (lambda n: "[" * n + "]" * n, MAX_NESTING),
    "maps": (lambda n: "{1:" * n + "1" + "}" * n, MAX_NESTING),
    "sum": (lambda n: "+".join("1" * (n + 1)), MAX_OPERATORS),
    "minus": (lambda n: "-" * n + "1", MAX_OPERATORS),
    "in": (lambda n: "1" + " in [1]" * n, MAX_OPERATORS),
    "ternaries": (lambda n: "true?1:" * n + "1", MAX_OPERATORS),
    "members": (lambda n: "a" + ".b" * n, MAX_CHAIN),
    "indexes": (lambda n: "a" + "[0]" * n, MAX_CHAIN),
    "methods": (lambda n: "a" + ".size()" * n, MAX_CHAIN),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_exact(name: str) -> None:
    build, most = LIMITS[name]
    checked_tokens(build(most))
    with pytest.raises(BadExpression, match=str(most)):
        checked_tokens(build(most + 1))


def test_a_long_list_of_short_conditions_is_within_the_limits() -> None:
    assert checked_tokens(" || ".join(f"a.b == {i}" for i in range(100)))
    assert checked_tokens(" && ".join("a" for _ in range(800)))


def test_chains_are_counted_apart() -> None:
    long = "a" + ".b" * MAX_CHAIN
    assert checked_tokens(f"{long} + {long} + f({long}, {long})[0]")
    assert checked_tokens(f"a.b.c[{long}].d")
    with pytest.raises(BadExpression, match="in a row"):
        checked_tokens(f"a.b[{long}]" + ".c" * (MAX_CHAIN - 1))


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("${a}", "a"),
        ("${ {'a': {'b': 1}}.a } rest}", " {'a': {'b': 1}}.a "),
        ("${'}'}", "'}'"),
        ("${r'\\'}'", "r'\\'"),
        ('${"""}"""}', '"""}"""'),
        ("${a // }\n}", "a // }\n"),
        ("${}", ""),
    ],
)
def test_the_end_of_an_expression(text: str, inside: str) -> None:
    assert text[2 : closing_brace(text, 2)] == inside


@pytest.mark.parametrize("text", ["${a", "${'}", "${ {'a': 1}", "${a // }", "${" + "a" * 10_000 + "}"])
def test_an_expression_without_end(text: str) -> None:
    with pytest.raises(BadExpression, match="'}'"):
        closing_brace(text, 2)


PIECES = [*"'\"\\rb\n a1.{}[]()+é", "'''", '"""', "//"]


def outcome(source: str) -> Any:
    try:
        return cel.compile(source).execute({"a": "x"})
    except Exception as error:
        return type(error)


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.text("'\"\\rb\n", max_size=12)))
@example('r\'\\\' + \'\\\\\' + """\\""""')
@example("'''a''b''' + a // }")
def test_the_tokens_of_what_the_library_accepts_mean_the_same(source: str) -> None:
    try:
        cel.compile(source)
    except ValueError:
        return
    assert outcome(" ".join(texts(source))) == outcome(source)


@given(st.text(max_size=60))
def test_any_text_has_tokens_or_a_fault(source: str) -> None:
    try:
        found = checked_tokens(source)
    except BadExpression:
        return
    assert all(source[token.start :].startswith(token.text) for token in found)
