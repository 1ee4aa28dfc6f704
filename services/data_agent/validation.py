"""``validate_data``: every rule becomes a condition that holds for the values at fault."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.data_agent.config import DataAgentConfig
from services.data_agent.faults import where
from services.data_agent.json_values import Notes, codec
from services.data_agent.loading import Loader
from services.data_agent.requests import Failure, RuleResult, ValidateDataInput, ValidateDataOutput
from services.data_agent.rule_sql import column_conditions
from services.data_agent.sandbox import Sandbox, Session
from services.data_agent.sources import reads_file
from services.data_agent.sql import check_expression, fresh, identifier
from services.data_agent.tables import Column, Table

_SHOWN_TEXT = 200


@dataclass(frozen=True, slots=True)
class _Test:
    """A rule on a column, or across columns (``column`` is None), and the condition under which a row breaks it."""

    rule: str
    column: Column | None
    broken: str
    message: str


def validate_data(request: ValidateDataInput, config: DataAgentConfig, sandbox: Sandbox) -> ValidateDataOutput:
    """Test every rule on every row.

    Raises:
        CapabilityError: what reading the source raises; ``BadRule`` (a rule that cannot be tested on its column),
            ``BadExpression`` or ``UnknownColumn`` for a check.
    """
    from_file = reads_file(request.data_source)
    with sandbox.session(reads_files=from_file, time_limit=request.timeout_seconds) as session:
        loaded = Loader(config).load(session, request.data_source, "data")
        if from_file:
            session.seal()
        table, notes = loaded.table, loaded.notes
        results: list[RuleResult] = []
        failures: list[Failure] = []
        for absent in _absent(request, table, notes):
            results.append(RuleResult(column=absent, rule="present", failures=1))
            failures.append(Failure(row=None, column=absent, rule="present", message=f"there is no column {absent!r}"))
        for place, test in _tests(session, request, table):
            with where(place, table.names):
                count, found = _run(session, test, table, request.max_failures - len(failures))
            results.append(RuleResult(column=test.column and test.column.name, rule=test.rule, failures=count))
            failures += found
    total = sum(result.failures for result in results)
    return ValidateDataOutput(
        valid=total == 0,
        checked_rows=table.rows,
        failure_count=total,
        results=results,
        failures=failures[: request.max_failures],
        truncated=total > request.max_failures,
        notes=notes,
    )


def _absent(request: ValidateDataInput, table: Table, notes: list[str]) -> list[str]:
    """Columns that have rules but are not there. Data without rows may have no columns to judge by."""
    if not table.columns and not table.rows:
        notes.append("the data has no rows, so whether its columns are there cannot be said")
        return []
    return [name for name in request.rules if name not in table.names]


def _tests(session: Session, request: ValidateDataInput, table: Table) -> Iterator[tuple[str, _Test]]:
    columns = {column.name: column for column in table.columns}
    for name, rules in request.rules.items():
        if name not in columns:
            continue
        with where(f"rules of column {name!r}", table.names):
            conditions = column_conditions(rules, columns[name], identifier(table.position_name()))
        for condition in conditions:
            place = f"rule {condition.rule!r} of column {name!r}"
            yield place, _Test(condition.rule, columns[name], condition.broken, condition.message)
    if not table.columns:
        return
    for check in request.checks:
        place = f"check {check.name!r}"
        with where(place, table.names):
            broken = f"NOT {check_expression(session, check.expression)}"
        yield place, _Test(check.name, None, broken, f"{check.expression} is false")


def _run(session: Session, test: _Test, table: Table, listed: int) -> tuple[int, list[Failure]]:
    position = identifier(table.position_name())
    broken = identifier(fresh("broken rule", [*table.names, table.position_name()]))
    # As a column and not in WHERE, so that window functions may be used.
    judged = f"SELECT *, ({test.broken}) AS {broken} FROM {table.numbered(table.position_name())}"
    source = f"({judged}) WHERE {broken}"
    count = session.value(f"SELECT count(*) FROM {source}")
    if not count or listed <= 0:
        return count, []
    shown = [test.column] if test.column else list(table.columns)
    codecs = [codec(column, Notes()) for column in shown]
    casts = [
        f"CAST({identifier(column.name)} AS {c.sql})" if c.sql else identifier(column.name)
        for column, c in zip(shown, codecs, strict=True)
    ]
    rows = session.rows(f"SELECT {position}, {', '.join(casts)} FROM {source} ORDER BY {position} LIMIT {listed}")
    failures = []
    for row, *values in rows:
        given = [None if value is None else _short(c.convert(value)) for c, value in zip(codecs, values, strict=True)]
        value = given[0] if test.column else dict(zip((c.name for c in shown), given, strict=True))
        name = test.column.name if test.column else None
        failures.append(Failure(row=row, column=name, rule=test.rule, value=value, message=test.message))
    return count, failures


def _short(value: object) -> object:
    return value[:_SHOWN_TEXT] + "..." if isinstance(value, str) and len(value) > _SHOWN_TEXT else value
