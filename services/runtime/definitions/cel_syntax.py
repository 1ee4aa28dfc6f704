"""The tokens of CEL, and the limits an expression keeps before the parser sees it.

The grammar is that of the CEL specification (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax), as
the Rust parser reads it. The limits are there because that parser works on the stack: a chain of 20,000 members or a
sum of as many terms ends the process. All of them together stay within a thread's stack of one megabyte.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_BYTES = 4096
MAX_NESTING = 24  # brackets within brackets
MAX_OPERATORS = 128  # all but && and ||, which the parser balances
MAX_CHAIN = 32  # members and indexes in a row

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\r\n\f]+ | //[^\n]* )
    | (?P<bytes> [bB] (?: [rR](?:\"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*')
                        | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                        | "(?:\\.|[^\\"\r\n])*" | '(?:\\.|[^\\'\r\n])*' ) )
    | (?P<string> [rR](?:\"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*')
                | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                | "(?:\\.|[^\\"\r\n])*" | '(?:\\.|[^\\'\r\n])*' )
    | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | [0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+
                | \.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[uU]? )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<sign> == | != | <= | >= | && | \|\| | [-+*/%!<>?:.,(){}\[\]] )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = frozenset({"+", "-", "*", "/", "%", "!", "<", "<=", ">", ">=", "==", "!=", "?", "in"})


class BadExpression(ValueError):
    """An expression that cannot be used, and why."""


class Token(NamedTuple):
    """``kind`` is one of bytes, string, number, name, sign."""

    kind: str
    text: str
    start: int


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """The tokens of ``source`` from ``start`` on, without space and comments.

    Raises:
        BadExpression: a character that begins no token, or a string that is not closed.
    """
    position, end = start, len(source)
    while position < end:
        found = _TOKEN.match(source, position)
        if found is None:
            column = position - start + 1
            if source[position] in "\"'":
                raise BadExpression(f"the string that begins at character {column} is not closed")
            raise BadExpression(f"{source[position]!r} at character {column} has no meaning in an expression")
        if found.lastgroup != "space":
            yield Token(str(found.lastgroup), found[0], position)
        position = found.end()


def closing_brace(text: str, start: int) -> int:
    """Where the ``}`` stands that ends an expression beginning at ``start``: not one in a string or of a map.

    Raises:
        BadExpression: there is none within the longest expression allowed.
    """
    depth = 0
    within = text[start : start + MAX_BYTES + 1]
    try:
        for token in tokens(within):
            if token.text == "{":
                depth += 1
            elif token.text == "}":
                if depth == 0:
                    return start + token.start
                depth -= 1
    except BadExpression as error:
        raise BadExpression(f"{error}, so the '}}' that ends '${{' cannot be found") from None
    raise BadExpression(f"no '}}' ends '${{' within {MAX_BYTES} characters")


def checked_tokens(source: str) -> list[Token]:
    """The tokens of an expression within all limits, its brackets in pairs.

    Raises:
        BadExpression: naming the limit and what was found.
    """
    try:
        size = len(source.encode())
    except UnicodeEncodeError:
        raise BadExpression("half of a surrogate pair is no character") from None
    if size > MAX_BYTES:
        raise BadExpression(f"an expression may have {MAX_BYTES} bytes, this one has {size}")
    found = list(tokens(source))
    _check_limits(found)
    return found


def _check_limits(found: list[Token]) -> None:
    expected: list[str] = []
    chains = [0]
    operators = 0
    for token in found:
        text = token.text
        if text in _OPENING:
            # Each bracket is a chain of its own; the one it stands in goes on after it: a[b.c].d
            chains[-1] += text == "["
            expected.append(_OPENING[text])
            chains.append(0)
            if len(expected) > MAX_NESTING:
                raise BadExpression(f"brackets may nest {MAX_NESTING} deep, these nest deeper")
        elif text in (")", "]", "}"):
            if not expected or expected.pop() != text:
                raise BadExpression(f"{text!r} at character {token.start + 1} closes nothing")
            chains.pop()
        elif text == ".":
            chains[-1] += 1
        elif token.kind == "sign" or text == "in":
            chains[-1] = 0
            operators += text in _OPERATORS
        if chains[-1] > MAX_CHAIN:
            raise BadExpression(f"at most {MAX_CHAIN} members and indexes in a row, here are more")
    if expected:
        raise BadExpression(f"{expected[-1]!r} is missing at the end")
    if operators > MAX_OPERATORS:
        raise BadExpression(f"at most {MAX_OPERATORS} operators (other than && and ||), here are {operators}")
