"""Columns brought to the types that were asked for, and NaN to null."""

from collections.abc import Mapping

from services.data_agent.faults import require_columns, where
from services.data_agent.sandbox import Session
from services.data_agent.sql import identifier
from services.data_agent.tables import Column, Table, table_named
from services.runtime.agent import CapabilityError

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_FLOATS = {"float", "double"}


def cast_columns(session: Session, name: str, types: Mapping[str, str]) -> None:
    """Cast columns in place.

    Raises:
        CapabilityError: ``UnknownColumn``, or ``InvalidValue`` naming the first row whose value does not fit.
    """
    if not types:
        return
    table = table_named(session, name)
    with where("types", table.names):
        require_columns(list(types), table.names)
        wanted = {c.name: types[c.name] for c in table.columns if c.name in types and c.type != types[c.name]}
        for column in table.columns:
            if column.name in wanted:
                _require_castable(session, table, column, wanted[column.name])
        if wanted:
            selected = ", ".join(_cast(column, wanted.get(column.name)) for column in table.columns)
            session.execute(f'CREATE TEMP TABLE "cast result" AS SELECT {selected} FROM {identifier(name)}')
            session.execute(f"DROP TABLE {identifier(name)}")
            session.execute(f'ALTER TABLE "cast result" RENAME TO {identifier(name)}')


def nan_to_null(session: Session, name: str) -> list[str]:
    """NaN counts as missing; a note says how many there were. Infinities stay."""
    table = table_named(session, name)
    notes = []
    for column in table.columns:
        if column.family not in _FLOATS:
            continue
        quoted = identifier(column.name)
        count = session.value(f"SELECT count(*) FROM {identifier(name)} WHERE isnan({quoted})")
        if count:
            session.execute(f"UPDATE {identifier(name)} SET {quoted} = NULL WHERE isnan({quoted})")
            notes.append(f"column {column.name!r}: {count} NaN read as null")
    return notes


def _try(column: Column, type_: str) -> str:
    quoted = identifier(column.name)
    if type_ == "BLOB" and column.family == "varchar":
        return f"TRY(from_base64({quoted}))"
    return f"TRY_CAST({quoted} AS {type_})"


def _cast(column: Column, type_: str | None) -> str:
    quoted = identifier(column.name)
    return quoted if type_ is None else f"{_try(column, type_)} AS {quoted}"


def _require_castable(session: Session, table: Table, column: Column, type_: str) -> None:
    quoted, position = identifier(column.name), identifier(table.position_name())
    misfit = f"{_try(column, type_)} IS NULL"
    if type_.removeprefix("U") in _INTEGERS:
        # DuckDB's own cast rounds 5.5 to 6 without a word.
        misfit += f" OR TRY_CAST({quoted} AS DOUBLE) <> floor(TRY_CAST({quoted} AS DOUBLE))"
    found = session.rows(
        f"SELECT {position}, {quoted}::VARCHAR FROM {table.numbered(table.position_name())} "
        f"WHERE {quoted} IS NOT NULL AND ({misfit}) ORDER BY {position} LIMIT 1"
    )
    if found:
        row, value = found[0]
        message = f"column {column.name!r}, row {row}: {value[:100]!r} is not of type {type_}"
        raise CapabilityError(message, code="InvalidValue", details={"column": column.name, "row": row})
