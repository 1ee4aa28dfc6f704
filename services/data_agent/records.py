"""Rows of JSON turned into typed columns.

JSON has no dates and no schema, so a column's type follows from its values alone: all booleans, all integers,
numbers, all text, or, as soon as one value is an object or a list, JSON. A column that mixes other kinds becomes
text, and a note says so.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.runtime.agent import CapabilityError

MAX_COLUMNS = 2_000
_INT64 = 2**63
_INT128 = 2**127
_EXACT_IN_DOUBLE = 2**53
_KIND_NAMES = {bool: "booleans", int: "integers", float: "numbers", str: "text"}


@dataclass(slots=True)
class TypedColumn:
    """A column ready to be loaded: ``values`` are JSON values that DuckDB casts to ``type`` without loss."""

    name: str
    type: str
    values: list[Any]
    notes: list[str] = field(default_factory=list)
    # How the values are written: infinities have no JSON number, so such a column travels as text.
    carrier: str = ""


class RowTable:
    """Collects rows by column; a key that a row lacks is null there, wherever it first appears.

    Columns called ``names`` are there, and come first, even if no row has them.
    """

    def __init__(self, max_rows: int, names: Iterable[str] = ()) -> None:
        self._max_rows = max_rows
        self._columns: dict[str, list[Any]] = {name: [] for name in names}
        self.count = 0

    def add(self, row: Mapping[str, Any]) -> None:
        if self.count >= self._max_rows:
            raise too_many_rows(self._max_rows)
        for name, value in row.items():
            column = self._columns.get(name)
            if column is None:
                column = self._start_column(name)
            column.append(value)
        self.count += 1
        if len(row) < len(self._columns):
            for name, column in self._columns.items():
                if name not in row:
                    column.append(None)

    def add_all(self, rows: Iterable[Mapping[str, Any]]) -> "RowTable":
        for row in rows:
            self.add(row)
        return self

    def columns(self) -> list[TypedColumn]:
        """Every column with its type.

        Raises:
            CapabilityError: ``AmbiguousColumns``, ``InvalidColumnName`` or ``InvalidText``.
        """
        check_column_names(list(self._columns))
        return [typed(name, values) for name, values in self._columns.items()]

    def _start_column(self, name: str) -> list[Any]:
        if len(self._columns) >= MAX_COLUMNS:
            raise CapabilityError(f"the rows have more than {MAX_COLUMNS} different keys", code="ColumnLimit")
        column: list[Any] = [None] * self.count
        self._columns[name] = column
        return column


def too_many_rows(limit: int) -> CapabilityError:
    return CapabilityError(f"there are more than {limit} rows, which is all that this agent takes", code="RowLimit")


def check_column_names(names: list[str]) -> None:
    """DuckDB ignores the case of names and knows no empty one, and a store's key has no NUL."""
    seen: dict[str, str] = {}
    for name in names:
        if not name or "\0" in name or not is_unicode(name):
            raise CapabilityError(f"a column may not be named {name!r}", code="InvalidColumnName")
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise CapabilityError(f"the columns {other!r} and {name!r} differ in case only", code="AmbiguousColumns")


def is_unicode(text: str) -> bool:
    """Half a surrogate pair is legal in a JSON document but is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def typed(name: str, values: list[Any]) -> TypedColumn:
    """The column's type, its values in that type, and notes on whatever was changed."""
    kinds = set(map(type, values)) - {type(None)}
    missing = sum(1 for value in values if value != value) if float in kinds else 0
    if missing:
        values = [None if value != value else value for value in values]
        kinds = set(map(type, values)) - {type(None)}
    column = _by_kinds(name, values, kinds)
    if missing:
        column.notes.append(f"column {name!r}: {missing} NaN read as null")
    return column


def _by_kinds(name: str, values: list[Any], kinds: set[type]) -> TypedColumn:
    if not kinds:
        return TypedColumn(name, '"NULL"', values)
    if kinds & {dict, list}:
        return TypedColumn(name, "JSON", _writable(values))
    if kinds == {bool}:
        return TypedColumn(name, "BOOLEAN", values)
    if kinds == {str}:
        return TypedColumn(name, "VARCHAR", values)
    if kinds == {int}:
        return _integers(name, values)
    if kinds <= {int, float}:
        return _numbers(name, values, mixed=int in kinds)
    mixture = " and ".join(sorted(_KIND_NAMES[kind] for kind in kinds))
    return TypedColumn(name, "VARCHAR", _as_text(values), [f"column {name!r} mixes {mixture}: read as text"])


def _integers(name: str, values: list[Any]) -> TypedColumn:
    present = [value for value in values if value is not None]
    lowest, highest = min(present), max(present)
    if lowest >= -_INT64 and highest < _INT64:
        return TypedColumn(name, "BIGINT", values)
    if lowest >= -_INT128 and highest < _INT128:
        return TypedColumn(name, "HUGEINT", values)
    return TypedColumn(name, "VARCHAR", _as_text(values), [f"column {name!r} has integers over 128 bits: read as text"])


def _numbers(name: str, values: list[Any], *, mixed: bool) -> TypedColumn:
    column = TypedColumn(name, "DOUBLE", values)
    if mixed:
        rounded = sum(1 for value in values if isinstance(value, int) and abs(value) > _EXACT_IN_DOUBLE)
        if rounded:
            column.notes.append(f"column {name!r}: {rounded} integers over 2^53 beside fractions, rounded to doubles")
    if any(isinstance(value, float) and math.isinf(value) for value in values):
        column.values = _as_text(values)
        column.carrier = "VARCHAR"
    return column


def _as_text(values: list[Any]) -> list[str | None]:
    return [value if value is None or isinstance(value, str) else _spell(value) for value in values]


def _spell(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _writable(values: list[Any]) -> list[Any]:
    try:
        json.dumps(values, allow_nan=False)
    except ValueError:
        return [_without_nan(value) for value in values]
    return values


def _without_nan(value: Any) -> Any:
    """Nested JSON with null for numbers that JSON cannot write."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
