"""``profile``: what each column holds."""

from typing import Any

from services.data_agent.config import DataAgentConfig
from services.data_agent.faults import require_columns, where
from services.data_agent.json_values import Notes, codec
from services.data_agent.loading import Loader
from services.data_agent.operation_sql import NUMBERS
from services.data_agent.requests import ColumnProfile, ProfileInput, ProfileOutput, TopValue
from services.data_agent.sandbox import Sandbox, Session
from services.data_agent.sources import reads_file
from services.data_agent.sql import identifier
from services.data_agent.tables import Column, Table

# Values of these types have no order that means anything to people.
_UNORDERED = {"json", "list", "array", "struct", "map", "union", "variant", "tuple", "blob", "geometry", "null"}


def profile(request: ProfileInput, config: DataAgentConfig, sandbox: Sandbox) -> ProfileOutput:
    """Describe every column asked for.

    Raises:
        CapabilityError: what reading the source raises, or ``UnknownColumn``.
    """
    from_file = reads_file(request.data_source)
    with sandbox.session(reads_files=from_file, time_limit=request.timeout_seconds) as session:
        loaded = Loader(config).load(session, request.data_source, "data")
        if from_file:
            session.seal()
        table = loaded.table
        wanted = table.names if request.columns is None else request.columns
        with where("columns", table.names):
            require_columns(wanted, table.names)
        by_name = {column.name: column for column in table.columns}
        notes = Notes()
        columns = [_column_profile(session, table, by_name[name], request, notes) for name in wanted]
    return ProfileOutput(row_count=table.rows, columns=columns, notes=loaded.notes + notes.lines())


def _column_profile(
    session: Session, table: Table, column: Column, request: ProfileInput, notes: Notes
) -> ColumnProfile:
    quoted, source = identifier(column.name), identifier(table.name)
    count, distinct = session.row(f"SELECT count({quoted}), count(DISTINCT {quoted}) FROM {source}")
    found: dict[str, Any] = {}
    if column.family not in _UNORDERED:
        travel = codec(column, notes)
        lowest, highest = session.row(
            f"SELECT {_sent(f'min({quoted})', travel.sql)}, {_sent(f'max({quoted})', travel.sql)} FROM {source}"
        )
        if count:
            found |= {"min": travel.convert(lowest), "max": travel.convert(highest)}
    if column.family in NUMBERS:
        found |= _figures(session, table, column, request.quantiles)
    if column.family in ("varchar", "enum"):
        text = f"length(CAST({quoted} AS VARCHAR))"
        found["min_length"], found["max_length"] = session.row(f"SELECT min({text}), max({text}) FROM {source}")
    if column.family != "null" and request.top_values:
        found["top_values"] = _top_values(session, table, column, request.top_values, notes)
    return ColumnProfile(
        name=column.name, type=column.type, count=count, nulls=table.rows - count, distinct=distinct, **found
    )


def _figures(session: Session, table: Table, column: Column, quantiles: list[float]) -> dict[str, Any]:
    """Mean, deviation and quantiles of the finite numbers, as doubles."""
    number = f"{identifier(column.name)}::DOUBLE"
    source = f"{identifier(table.name)} WHERE isfinite({number})"
    finite, mean, std = session.row(f"SELECT count(*), avg({number}), stddev_samp({number}) FROM {source}")
    present = session.value(f"SELECT count({identifier(column.name)}) FROM {identifier(table.name)}")
    figures: dict[str, Any] = {"infinite": present - finite}
    if not finite:
        return figures
    figures |= {"mean": mean, "std": std}
    if quantiles:
        values = session.value(f"SELECT quantile_cont({number}, $1::DOUBLE[]) FROM {source}", [quantiles])
        figures["quantiles"] = {f"{q:g}": value for q, value in zip(quantiles, values, strict=True)}
    return figures


def _top_values(session: Session, table: Table, column: Column, count: int, notes: Notes) -> list[TopValue]:
    travel = codec(column, notes)
    quoted = identifier(column.name)
    rows = session.rows(
        f"SELECT {_sent('value', travel.sql)}, occurrences FROM ("
        f"SELECT {quoted} AS value, count(*) AS occurrences FROM {identifier(table.name)} WHERE {quoted} IS NOT NULL "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {count})"
    )
    return [TopValue(value=travel.convert(value), count=occurrences) for value, occurrences in rows]


def _sent(expression: str, sql_type: str | None) -> str:
    return f"CAST({expression} AS {sql_type})" if sql_type else expression
