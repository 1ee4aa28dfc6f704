"""The SQL conditions under which a value breaks a rule of ``validate_data``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from services.data_agent.operation_sql import NUMBERS
from services.data_agent.rules import Bound, ColumnRules, Scalar, TypeName
from services.data_agent.sql import identifier, literal
from services.data_agent.tables import Column
from services.runtime.agent import CapabilityError

_FRACTIONS = {"float", "double", "decimal"}
_NESTED = {"json", "list", "array", "struct", "map", "union", "variant", "tuple", "blob", "geometry"}
_TEXTS = {"varchar", "enum"}
_DATE = r"\d{4}-\d{2}-\d{2}"
# What a text must look like, beyond being castable: DuckDB's casts take 5.5 for an integer and 0x10 for a number.
_LOOKS = {
    "integer": r"[+-]?\d+",
    "number": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "boolean": "(?i)true|false",
    "date": _DATE,
    "timestamp": _DATE + r"[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}(:?\d{2})?)?",
    "uuid": "(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}
_CASTS = {"date": "DATE", "timestamp": "TIMESTAMPTZ"}
_JSON_KINDS: dict[str, list[str]] = {
    "text": ["VARCHAR"],
    "integer": ["BIGINT", "UBIGINT", "HUGEINT"],
    "number": ["BIGINT", "UBIGINT", "HUGEINT", "DOUBLE"],
    "boolean": ["BOOLEAN"],
    "list": ["ARRAY"],
    "object": ["OBJECT"],
}
_OF_TYPE: dict[TypeName, Callable[[str], bool]] = {
    "text": _TEXTS.__contains__,
    "integer": (NUMBERS - _FRACTIONS).__contains__,
    "number": NUMBERS.__contains__,
    "boolean": {"boolean"}.__contains__,
    "date": {"date"}.__contains__,
    "timestamp": lambda family: family.startswith("timestamp"),
    "uuid": {"uuid"}.__contains__,
    "list": {"list", "array"}.__contains__,
    "object": {"struct", "map"}.__contains__,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule's name, the SQL that is true for a value that breaks it, and what to tell people."""

    rule: str
    broken: str
    message: str


def column_conditions(rules: ColumnRules, column: Column, position: str) -> list[Condition]:
    """One condition for every rule that is given. ``position`` is the quoted column of row positions.

    Raises:
        CapabilityError: ``BadRule``: a rule that means nothing for a column of this type.
    """
    return list(_conditions(rules, column, position))


def _conditions(rules: ColumnRules, column: Column, position: str) -> Iterator[Condition]:
    quoted = identifier(column.name)

    def present(rule: str, kept: str, message: str) -> Condition:
        return Condition(rule, f"{quoted} IS NOT NULL AND ({kept}) IS NOT TRUE", message)

    if rules.type_name is not None:
        yield present("type", _of_type(rules.type_name, column), f"is not of type {rules.type_name}")
    if rules.not_null:
        yield Condition("not_null", f"{quoted} IS NULL", "is null")
    if rules.unique:
        place = f"row_number() OVER (PARTITION BY {quoted} ORDER BY {position})"
        yield present("unique", f"{place} = 1", "occurs in an earlier row too")
    if rules.min is not None:
        yield present("min", _compared(column, ">=", rules.min), f"is not at least {rules.min}")
    if rules.max is not None:
        yield present("max", _compared(column, "<=", rules.max), f"is not at most {rules.max}")
    if rules.allowed is not None:
        yield present("in", _one_of(column, rules.allowed), "is not one of the values that may occur")
    if rules.regex is not None:
        kept = f"regexp_full_match({_text(column, 'regex')}, {literal(rules.regex)})"
        yield present("regex", kept, f"does not match {rules.regex}")
    if rules.min_length is not None:
        kept = f"length({_text(column, 'min_length')}) >= {rules.min_length}"
        yield present("min_length", kept, f"is shorter than {rules.min_length} characters")
    if rules.max_length is not None:
        kept = f"length({_text(column, 'max_length')}) <= {rules.max_length}"
        yield present("max_length", kept, f"is longer than {rules.max_length} characters")


def _of_type(wanted: TypeName, column: Column) -> str:
    quoted = identifier(column.name)
    if _OF_TYPE[wanted](column.family):
        return "TRUE"
    if column.family == "json":
        return f"json_type({quoted}) IN ({', '.join(map(literal, _JSON_KINDS.get(wanted, ['none'])))})"
    if wanted == "integer" and column.family in _FRACTIONS:
        return f"isfinite({quoted}::DOUBLE) AND {quoted} = floor({quoted})"
    if column.family in _TEXTS and wanted in _LOOKS:
        text = f"CAST({quoted} AS VARCHAR)"
        looks = f"regexp_full_match({text}, {literal(_LOOKS[wanted])})"
        return f"{looks} AND TRY_CAST({text} AS {_CASTS[wanted]}) IS NOT NULL" if wanted in _CASTS else looks
    return "FALSE"


def _compared(column: Column, operator: str, bound: Bound) -> str:
    quoted, family = identifier(column.name), column.family
    number = not isinstance(bound, str)
    if family == "null":
        return "TRUE"
    if number and family in NUMBERS:
        return f"{quoted} {operator} {_number(bound)}"
    if number and family in _TEXTS:
        return f"TRY_CAST({quoted} AS DOUBLE) {operator} {_number(bound)}"
    if not number and family not in NUMBERS | _NESTED | {"boolean"}:
        return f"{quoted} {operator} CAST({literal(str(bound))} AS {column.kind})"
    raise _bad_rule("min" if operator == ">=" else "max", column, f"be compared with {bound!r}")


def _one_of(column: Column, values: list[Scalar]) -> str:
    if column.family == "null":
        return "TRUE"
    return f"{identifier(column.name)} IN ({', '.join(_allowed(column, value) for value in values)})"


def _allowed(column: Column, value: Scalar) -> str:
    family = column.family
    match value:
        case bool() if family == "boolean":
            return str(value).upper()
        case int() | float() if family in NUMBERS and not isinstance(value, bool):
            return _number(value)
        case str() if family not in NUMBERS | _NESTED | {"boolean"}:
            return f"CAST({literal(value)} AS {'VARCHAR' if family in _TEXTS else column.kind})"
        case bool() | int() | float() if family in _TEXTS:
            return literal(str(value).lower() if isinstance(value, bool) else repr(value))
    raise _bad_rule("in", column, f"hold {value!r}")


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) else f"{literal(repr(value))}::DOUBLE"


def _text(column: Column, rule: str) -> str:
    if column.family in _NESTED:
        raise _bad_rule(rule, column, "be tested as text")
    return f"CAST({identifier(column.name)} AS VARCHAR)"


def _bad_rule(rule: str, column: Column, what: str) -> CapabilityError:
    return CapabilityError(f"rule {rule!r}: a column of type {column.type} cannot {what}", code="BadRule")
