"""The alternatives of a request: records, their columns, and their names."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from services.decision_agent.options import Notes
from services.decision_agent.refusal import listed, refuse
from services.decision_agent.request_models import DataTable, Record

MAX_ALTERNATIVES = 20_000
_DIGITS = re.compile(r"-?\d+(\.\d+)?$")
_LONG_NUMBER_TYPE = re.compile(r"(?i)^(decimal|numeric|hugeint|uhugeint|ubigint|bignum)\b")
_NAME_COLUMNS = ("label", "name", "id")
_IDENTIFIER = re.compile(r"(?i)^(label|name|id|uuid|key|index|row|row_number)$|_id$|_key$")


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Records with a unique name each; ``columns`` in the order in which they first appear."""

    rows: Sequence[Record]
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    label_column: str | None
    numbers_as_text: frozenset[str] = frozenset()

    def values(self, column: str) -> list[Any]:
        """A column, with None for a missing value (absent, null or NaN)."""
        found = [None if is_missing(value) else value for value in (row.get(column) for row in self.rows)]
        if column in self.numbers_as_text:
            return [float(value) if isinstance(value, str) else value for value in found]
        return found


def is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_identifier(column: str) -> bool:
    """Whether a column's name says that its numbers identify a record rather than measure it."""
    return _IDENTIFIER.search(column) is not None


def read_alternatives(data: DataTable | Sequence[Record] | None, wanted: str | None, notes: Notes) -> Alternatives:
    """Read the records of a request and name them.

    They are named by the column ``wanted``; else by the first of the columns label, name and id (in any case),
    else the first column of text, whose values are all there and all different; else "row 1", "row 2" and so on.

    Raises:
        CapabilityError: ``InvalidInputs``, ``NoAlternatives``, ``TooManyAlternatives``, ``UnknownColumn``,
            ``MissingValues`` or ``DuplicateAlternatives``.
    """
    if data is None:
        raise refuse("InvalidInputs", "this decision needs 'data': a list of records, or an object with 'records'")
    rows = data.records if isinstance(data, DataTable) else data
    if not rows:
        raise refuse("NoAlternatives", "'data' has no records, so there is nothing to choose from")
    if len(rows) > MAX_ALTERNATIVES:
        raise refuse(
            "TooManyAlternatives",
            f"'data' has {len(rows)} records; at most {MAX_ALTERNATIVES} can be compared: filter them first",
        )
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    column = _check_wanted(rows, columns, wanted) if wanted is not None else _find_names(rows, columns)
    if column is None:
        labels = tuple(f"row {number}" for number in range(1, len(rows) + 1))
    else:
        labels = tuple(_as_label(row[column]) for row in rows)
    notes.conventions["alternatives_named_by"] = f"column '{column}'" if column else "row number"
    return Alternatives(
        rows=rows,
        columns=columns,
        labels=labels,
        label_column=column,
        numbers_as_text=_look_at_origin(data, notes) if isinstance(data, DataTable) else frozenset(),
    )


def _look_at_origin(data: DataTable, notes: Notes) -> frozenset[str]:
    """Which columns hold numbers too long for JSON, given as text; and a warning if the data is only a part."""
    if data.truncated:
        total = "" if data.total_rows is None else f" of {data.total_rows}"
        notes.warn(f"the data was cut off where it comes from: only {len(data.records)}{total} records were compared")
    columns = data.columns if isinstance(data.columns, list) else []
    typed = {str(c.get("name")): str(c.get("type")) for c in columns if isinstance(c, dict)}
    long: set[str] = set()
    for name in (name for name, kind in typed.items() if _LONG_NUMBER_TYPE.match(kind)):
        texts = [value for value in (row.get(name) for row in data.records) if isinstance(value, str)]
        if texts and all(_DIGITS.match(text) for text in texts):
            long.add(name)
    if long:
        notes.warn(f"{listed(sorted(long))}: numbers too long for JSON are compared as floats, to about 16 digits")
    return frozenset(long)


def _check_wanted(rows: Sequence[Record], columns: Sequence[str], wanted: str) -> str:
    if wanted not in columns:
        raise refuse("UnknownColumn", f"'alternatives' names the column {wanted!r}; the data has {listed(columns)}")
    unusable = [number for number, row in enumerate(rows, 1) if not _can_name(row.get(wanted))]
    if unusable:
        raise refuse(
            "MissingValues",
            f"'alternatives' names the column {wanted!r}, which has no text or number in row {unusable[0]}"
            + (f" and {len(unusable) - 1} more" if len(unusable) > 1 else ""),
        )
    twice = [name for name, count in Counter(_as_label(row[wanted]) for row in rows).items() if count > 1]
    if twice:
        raise refuse(
            "DuplicateAlternatives",
            f"'alternatives' names the column {wanted!r}, in which {listed(twice)} appear more than once; "
            "each alternative needs a name of its own",
        )
    return wanted


def _find_names(rows: Sequence[Record], columns: Sequence[str]) -> str | None:
    known = [column for name in _NAME_COLUMNS for column in columns if column.lower() == name]
    text = [column for column in columns if all(isinstance(row.get(column), str) for row in rows)]
    return next((column for column in [*known, *text] if _names_all(rows, column)), None)


def _names_all(rows: Sequence[Record], column: str) -> bool:
    values = [row.get(column) for row in rows]
    return all(_can_name(value) for value in values) and len({_as_label(value) for value in values}) == len(rows)


def _can_name(value: object) -> bool:
    # A name becomes a key of the answer, and the store's keys cannot hold a NUL.
    if isinstance(value, str):
        return value.strip() != "" and "\0" not in value
    return is_number(value) and not is_missing(value)


def _as_label(value: object) -> str:
    return value if isinstance(value, str) else str(value)
