"""Writing SQL safely: quoted identifiers and literals, and expressions that are proven to be one expression."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from services.runtime.agent import CapabilityError

MAX_EXPRESSION = 4_000
# Classes of DuckDB's parse tree that reach beyond the current row and its table, or need what is not there.
_FORBIDDEN = {
    "SUBQUERY": "a subquery",
    "STAR": "* or COLUMNS(...)",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by position",
}


class Engine(Protocol):
    """What parses: anything that runs SQL and gives one value."""

    def value(self, sql: str, parameters: Any = None) -> Any: ...


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def identifiers(names: Iterable[str]) -> str:
    return ", ".join(map(identifier, names))


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def fresh(name: str, taken: Iterable[str]) -> str:
    """``name``, made longer until no name in ``taken`` is the same to DuckDB, which ignores case."""
    used = {other.lower() for other in taken}
    while name.lower() in used:
        name += "_"
    return name


def check_expression(engine: Engine, text: str) -> str:
    """The expression in parentheses, ready to be put into a statement.

    DuckDB's own parser decides: ``SELECT text`` must differ from ``SELECT 1`` in its one selected item only, so
    no other clause, second item, alias or statement can hide in the text.

    Raises:
        CapabilityError: ``BadExpression``.
    """
    if len(text) > MAX_EXPRESSION:
        raise _bad(text, f"it has {len(text)} characters, {MAX_EXPRESSION} are allowed")
    parsed = _parse(engine, text)
    if "error_message" in parsed:
        raise _bad(text, parsed["error_message"])
    nodes = [statement["node"] for statement in parsed["statements"]]
    items = nodes[0].get("select_list", []) if nodes else []
    if len(nodes) != 1 or len(items) != 1 or items[0]["alias"] or _around(nodes[0]) != _skeleton(engine):
        raise _bad(text, "it is not one plain expression")
    for kind in _classes(items[0]):
        if kind in _FORBIDDEN:
            raise _bad(text, f"{_FORBIDDEN[kind]} is not allowed here")
    # The line break ends a comment that the text may end with.
    return f"({text}\n)"


def _parse(engine: Engine, text: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(engine.value("SELECT json_serialize_sql($1::VARCHAR)", [f"SELECT {text}"]))
    except RecursionError:
        raise _bad(text, "it is nested too deeply") from None
    return parsed


def _skeleton(engine: Engine) -> dict[str, Any]:
    return _around(_parse(engine, "1")["statements"][0]["node"])


def _around(node: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != "select_list"}


def _classes(tree: Any) -> Iterator[str]:
    """The class of every expression in a parse tree; iterative, since trees may be a thousand levels deep."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("class"), str):
                yield part["class"]
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _bad(text: str, reason: str) -> CapabilityError:
    shown = text if len(text) <= 200 else text[:200] + "..."
    return CapabilityError(f"bad expression {shown!r}: {reason}", code="BadExpression")
