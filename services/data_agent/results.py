"""Rows as they are given back: JSON-safe, and no more than the limits allow."""

import json
from collections.abc import Iterator
from typing import Any

from services.data_agent.config import DataAgentConfig
from services.data_agent.json_values import Notes, codec
from services.data_agent.requests import RowsOutput
from services.data_agent.sandbox import Session
from services.data_agent.sources import ColumnInfo, Record
from services.data_agent.tables import Column
from services.runtime.agent import CapabilityError

_ROWS_AT_ONCE = 1_000


def rows_output(
    session: Session,
    select: str,
    columns: tuple[Column, ...],
    config: DataAgentConfig,
    *,
    max_rows: int | None = None,
    parameters: Any = None,
) -> RowsOutput:
    """Run a SELECT that gives ``columns``, and take rows until a limit is met.

    Raises:
        CapabilityError: ``InvalidColumnName``, ``OutputTooLarge`` (one row alone is over the limit), and what the
            session raises.
    """
    _check_names([column.name for column in columns])
    notes = Notes()
    codecs = [codec(column, notes) for column in columns]
    # Columns are renamed by position, so that casting needs no care about odd names.
    aliases = [f"c{number}" for number in range(len(columns))]
    casts = [f"CAST({alias} AS {c.sql})" if c.sql else alias for alias, c in zip(aliases, codecs, strict=True)]
    # In parentheses a WITH that changes data, which DuckDB counts as a SELECT, is refused by its parser.
    renamed = f"answer({', '.join(aliases)})" if aliases else "answer"
    sql = f"SELECT {', '.join(casts) or 'NULL'} FROM (\n{select}\n) AS {renamed}"
    limit = min(max_rows or config.max_output_rows, config.max_output_rows)
    names = [column.name for column in columns]
    records: list[Record] = []
    size = 0
    truncated = False
    for row in _streamed(session, sql, parameters, limit + 1):
        record = {
            name: None if value is None else c.convert(value)
            for name, value, c in zip(names, row, codecs, strict=False)  # data without columns has a null in each row
        }
        size += len(json.dumps(record, ensure_ascii=False).encode())
        if len(records) == limit or size > config.max_output_bytes:
            truncated = True
            break
        records.append(record)
    if truncated and not records:
        raise CapabilityError(
            f"one row alone is larger than the {config.max_output_bytes} bytes that an answer may have",
            code="OutputTooLarge",
        )
    reason = f"only the first {len(records)} rows are given: more would exceed the limit of rows or bytes"
    return RowsOutput(
        records=records,
        columns=[ColumnInfo(name=column.name, type=column.type) for column in columns],
        row_count=len(records),
        truncated=truncated,
        notes=notes.lines() + ([reason] if truncated else []),
    )


def _streamed(session: Session, sql: str, parameters: Any, count: int) -> Iterator[tuple[Any, ...]]:
    cursor = session.execute(sql, parameters)
    while count > 0:
        batch = session.fetch(cursor, min(count, _ROWS_AT_ONCE))
        if not batch:
            return
        yield from batch
        count -= len(batch)


def _check_names(names: list[str]) -> None:
    # DuckDB numbers repeated names of a subquery itself (id, id_1), so every name is there once.
    for name in names:
        if "\0" in name:
            raise CapabilityError(f"a column may not be named {name!r}", code="InvalidColumnName")
