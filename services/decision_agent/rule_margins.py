"""How far one input of a decision table can move before the outcome changes.

Exact where every condition on the input compares it with written numbers: the outcome can then change only at
those numbers, which are tried outwards from the present value.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from services.decision_agent.answer_models import InputRange
from services.decision_agent.decision_table import CompiledTable
from services.decision_agent.records import is_number
from services.decision_agent.table_models import Cell, Equals
from services.decision_agent.zen_expressions import names_in
from services.runtime.agent import CapabilityError

_NUMBER = r"-?\d+(?:\.\d+)?"
_PART = rf"(?:(?:[<>]=?|==|!=)?\s*{_NUMBER}|[\[(]\s*{_NUMBER}\s*\.\.\s*{_NUMBER}\s*[\])])"
_COMPARISON = re.compile(rf"{_PART}(?:\s*(?:,|and|or)\s*{_PART})*$")
_LITERAL = re.compile(_NUMBER)


def input_ranges(table: CompiledTable, record: Mapping[str, Any], where: str) -> tuple[dict[str, InputRange], str]:
    """The ranges of those inputs that are numbers and can be followed, and a sentence about the others."""
    ranges: dict[str, InputRange] = {}
    passed_over: list[str] = []
    for name, spec in table.inputs.items():
        value = record.get(name)
        marks = None if spec.expression else _marks(table, name)
        if marks is None or not is_number(value):
            passed_over.append(name)
            continue
        ranges[name] = _range(table, record, name, float(value), marks, where)
    note = "how far each input can move, all else as it is, before the output of the rules changes"
    if passed_over:
        note += f"; not followed: {', '.join(passed_over)} (no number, or conditions that compute with it)"
    return ranges, note


def _marks(table: CompiledTable, name: str) -> list[float] | None:
    """The numbers an input is compared with; None where its effect cannot be read off its cells."""
    marks: set[float] = set()
    for rule in table.table.rules:
        for column, cell in rule.when.items():
            if column == name:
                found = _numbers(cell)
                if found is None:
                    return None
                marks |= found
            elif isinstance(cell, str) and name in names_in(cell):
                return None
        if any(_reads(value, name) for value in rule.then.values()):
            return None
    if any(spec.expression and _reads({"expression": spec.expression}, name) for spec in table.inputs.values()):
        return None
    return sorted(marks)


def _reads(value: Any, name: str) -> bool:
    """Whether an output's or an input's expression may depend on a field."""
    if not (isinstance(value, dict) and set(value) == {"expression"}):
        return False
    return re.search(rf"\b{re.escape(name)}\b", str(value["expression"])) is not None


def _numbers(cell: Cell) -> set[float] | None:
    if cell is None or (isinstance(cell, str) and cell.strip() in ("", "-")):
        return set()
    if isinstance(cell, Equals):
        return _numbers([cell.equals])
    if isinstance(cell, list):
        return {float(item) for item in cell if is_number(item) and item is not None}
    if not isinstance(cell, str):
        return _numbers([cell])
    return {float(x) for x in _LITERAL.findall(cell)} if _COMPARISON.match(cell.strip()) else None


def _range(
    table: CompiledTable, record: Mapping[str, Any], name: str, value: float, marks: list[float], where: str
) -> InputRange:
    def outcome(at: float | None = None) -> Any:
        try:
            return table.judge(record, where, None if at is None else {name: at}).output
        except CapabilityError as refusal:
            # Another value may break the hit policy; that, too, is another outcome.
            return f"refused: {refusal}"

    now = outcome()
    highest, highest_included, above = _walk(outcome, now, [m for m in marks if m >= value], value, 1.0)
    lowest, lowest_included, below = _walk(outcome, now, [m for m in reversed(marks) if m <= value], value, -1.0)
    return InputRange(
        value=value,
        lowest=lowest,
        lowest_included=lowest_included,
        below=below,
        highest=highest,
        highest_included=highest_included,
        above=above,
    )


def _walk(
    outcome: Callable[[float], Any], now: Any, marks: list[float], value: float, direction: float
) -> tuple[float | None, bool, Any]:
    """The first mark at or beyond which the outcome differs, and whether the mark itself still has the old one."""
    for i, here in enumerate(marks):
        if here != value:
            at = outcome(here)
            if at != now:
                return here, False, at
        last = i + 1 == len(marks)
        beyond = here + direction * max(1.0, abs(here)) if last else (here + marks[i + 1]) / 2.0
        past = outcome(beyond)
        if past != now:
            return here, True, past
    return None, True, None
