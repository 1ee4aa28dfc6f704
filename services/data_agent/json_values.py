"""DuckDB's values as JSON that keeps their meaning.

Whole numbers beyond 64 bits and decimals that a double cannot hold become text; dates and times ISO 8601 text (with
a zone: in UTC); NaN and infinities null; blobs base64. Every change that loses the plain number is counted and noted.
Python's own date types are not used on the way: they know no infinity, no nanoseconds and no months in an interval.
"""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.data_agent.sql import identifier
from services.data_agent.tables import Column
from services.runtime.agent import CapabilityError

# The store refuses documents nested deeper than 100; an answer sits some levels down in one.
MAX_DEPTH = 60
_INT64 = 2**63

Convert = Callable[[Any], Any]


class Notes:
    """Counts what could not be given as it is."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, column: str, what: str) -> None:
        self._counts[column, what] += 1

    def lines(self) -> list[str]:
        return [f"column {column!r}: {count} {what}" for (column, what), count in sorted(self._counts.items())]


@dataclass(frozen=True, slots=True)
class Codec:
    """How a type travels: ``sql`` is the type to cast to in SQL first (None: as it is), ``convert`` does the rest."""

    sql: str | None
    convert: Convert


def codec(column: Column, notes: Notes) -> Codec:
    return _Codecs(column.name, notes).of(column.kind, MAX_DEPTH)


class _Codecs:
    def __init__(self, column: str, notes: Notes) -> None:
        self._column = column
        self._notes = notes

    def of(self, kind: Any, depth: int) -> Codec:
        if depth == 0:
            raise _too_deep(self._column)
        if str(kind) == "JSON":
            return Codec(None, lambda text: self._parsed(text))
        match str(kind.id):
            case "varchar" | "enum" | "null" | "boolean":
                return Codec(None, _same)
            case "float" | "double":
                return Codec(None, self._number)
            case "decimal":
                return Codec(None, self._decimal)
            case name if "int" in name and name != "interval":
                return Codec(None, self._integer)
            case "blob":
                return Codec(None, lambda blob: base64.b64encode(blob).decode())
            case name if name.startswith("timestamp"):
                return Codec("VARCHAR", _iso_timestamp)
            case "list" | "array":
                return self._sequence(kind, depth)
            case "struct":
                return self._struct(kind, depth)
            case "map" | "union" | "variant" | "tuple":
                return Codec("JSON", lambda text: self._parsed(text))
        return Codec("VARCHAR", _same)

    def _sequence(self, kind: Any, depth: int) -> Codec:
        parts = dict(kind.children)
        inner = self.of(parts["child"], depth - 1)
        size = f"[{parts['size']}]" if str(kind.id) == "array" else "[]"
        sql = f"{inner.sql}{size}" if inner.sql else None
        return Codec(sql, lambda values: [_nullable(inner.convert, value) for value in values])

    def _struct(self, kind: Any, depth: int) -> Codec:
        inner = {name: self.of(child, depth - 1) for name, child in kind.children}
        if all(part.sql is None for part in inner.values()):
            sql = None
        else:
            fields = (f"{identifier(name)} {inner[name].sql or child}" for name, child in kind.children)
            sql = f"STRUCT({', '.join(fields)})"
        return Codec(sql, lambda value: {name: _nullable(part.convert, value[name]) for name, part in inner.items()})

    def _integer(self, value: int) -> int | str:
        if -_INT64 <= value < _INT64:
            return value
        self._notes.count(self._column, "integers beyond 64 bits given as text")
        return str(value)

    def _number(self, value: float) -> float | None:
        if math.isfinite(value):
            return value
        self._notes.count(self._column, "NaN or infinite values given as null")
        return None

    def _decimal(self, value: Decimal) -> float | str:
        number = float(value)
        if Decimal(repr(number)) == value:
            return number
        self._notes.count(self._column, "decimals with more digits than a JSON number keeps given as text")
        return format(value, "f")

    def _parsed(self, text: str) -> Any:
        try:
            return self._plain(json.loads(text), MAX_DEPTH)
        except RecursionError:
            raise _too_deep(self._column) from None

    def _plain(self, value: Any, depth: int) -> Any:
        if depth == 0:
            raise _too_deep(self._column)
        match value:
            case bool() | str() | None:
                return value
            case int():
                return self._integer(value)
            case float():
                return self._number(value)
            case list():
                return [self._plain(inner, depth - 1) for inner in value]
        return {name: self._plain(inner, depth - 1) for name, inner in value.items()}


def _same(value: Any) -> Any:
    return value


def _nullable(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _iso_timestamp(text: str) -> str:
    """``2024-01-01 10:00:00+00`` as ``2024-01-01T10:00:00Z``; ``infinity`` and years BC stay as they are."""
    return text.replace(" ", "T", 1).removesuffix("+00") + ("Z" if text.endswith("+00") else "")


def _too_deep(column: str) -> CapabilityError:
    return CapabilityError(f"column {column!r} is nested deeper than {MAX_DEPTH} levels", code="NestedTooDeep")
