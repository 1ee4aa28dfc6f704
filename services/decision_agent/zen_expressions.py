"""ZEN expressions: checked before use, evaluated without silent loss.

zen-engine 2.1 passes over a broken cell as if it did not hold, so everything is compiled here first. It ends the
process on an expression nested thousands deep, so nesting and length are limited before it parses. Contexts are
handed over as JSON text: as a Python dict, floats would be rounded to 15 digits.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import zen

from services.decision_agent.refusal import refuse
from services.decision_agent.zen_work import check_walks, walks_within_walks

MAX_LENGTH = 4000
MAX_NESTING = 100

_STRINGS = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`]*`")
_NAME = re.compile(r"(?<![\w.$])[A-Za-z_]\w*(?!\w|\s*[(:])")
_KEYWORDS = frozenset({"and", "or", "not", "in", "true", "false", "null"})
_OPEN, _CLOSE = "([{", ")]}"


class ZenFailure(Exception):
    """zen-engine refused or failed; the text is its own reason, without the stack."""


def compile_condition(text: str, where: str) -> "zen.Expression":
    """A condition of a decision table (a unary expression: ``> 5``, ``'gold'``, ``$ % 2 == 0``).

    Raises:
        CapabilityError: ``BadExpression``, naming the place and the reason.
    """
    return _compile(zen.compile_unary_expression, text, where)


def compile_value(text: str, where: str) -> "zen.Expression":
    """An expression that gives a value (``amount * 0.1``). Raises as ``compile_condition`` does."""
    return _compile(zen.compile_expression, text, where)


def evaluate(expression: "zen.Expression", context: str) -> Any:
    """Evaluate a compiled expression on a JSON context.

    Raises:
        ZenFailure: for example two values of different kinds were compared.
    """
    return guarded(expression.evaluate, context)


def context_of(fields: dict[str, Any]) -> str:
    return json.dumps(fields, allow_nan=False)


def guarded(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call zen-engine, which raises several kinds of exception with a Rust stack in their text."""
    try:
        return call(*arguments)
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:
        raise ZenFailure(_reason(error)) from error
    except Exception as error:
        # zen-engine raises bare Exception for values it cannot convert; anything else is not its doing.
        if type(error) is Exception:
            raise ZenFailure(_reason(error)) from error
        raise


def _compile(compiler: Callable[[str], "zen.Expression"], text: str, where: str) -> "zen.Expression":
    check_shape(text, where)
    try:
        compiled: zen.Expression = guarded(compiler, text)
    except ZenFailure as failure:
        hint = (
            '; ZEN has no escape inside strings, so write text with quotes in it as {"equals": "..."}'
            if "lexer" in str(failure) or "\\" in text
            else ""
        )
        raise refuse("BadExpression", f"{where}: {text!r} is no ZEN expression ({failure}){hint}") from failure
    return compiled


def check_shape(text: str, where: str) -> None:
    """Refuse what could exhaust the engine: length, nesting, and walks over long ranges."""
    if len(text) > MAX_LENGTH:
        raise refuse(
            "BadExpression", f"{where}: an expression of {len(text)} characters; at most {MAX_LENGTH} are read"
        )
    bare = without_strings(text)
    depth = deepest = 0
    for character in bare:
        depth += (character in _OPEN) - (character in _CLOSE)
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING or bare.count(".") > 10 * MAX_NESTING:
        raise refuse("BadExpression", f"{where}: brackets are nested {deepest} deep; at most {MAX_NESTING} are read")
    check_walks(bare, text, where)


def goes_over_lists_within_lists(text: str) -> bool:
    return walks_within_walks(without_strings(text)) > 1


def without_strings(text: str) -> str:
    """The expression with its string literals emptied, so that what is left is code."""
    return _STRINGS.sub("''", text)


def names_in(text: str) -> set[str]:
    """The fields that an expression reads, by their first name; none where it binds names of its own."""
    bare = without_strings(text)
    if "#" in bare or re.search(r"\bas\b", bare):
        return set()
    return {name for name in _NAME.findall(bare) if name not in _KEYWORDS}


def _reason(error: BaseException) -> str:
    first = str(error).split("\n\nStack backtrace", 1)[0].strip()
    try:
        found = json.loads(first)
    except ValueError:
        return " ".join(first.split())
    source = found.get("source", found) if isinstance(found, dict) else found
    kind = found.get("type", "") if isinstance(found, dict) else ""
    text = source if isinstance(source, str) else json.dumps(source)
    return f"{kind}: {text}" if kind and text != json.dumps(found) else text
