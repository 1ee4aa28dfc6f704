"""A data source becomes a table of a session. The only code that reads files; it runs before the session is sealed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from services.data_agent.casting import cast_columns, nan_to_null
from services.data_agent.config import DataAgentConfig
from services.data_agent.csv_files import load_csv
from services.data_agent.data_file import DataFile
from services.data_agent.folder import SUFFIXES, DataFolder, Format
from services.data_agent.records import (
    MAX_COLUMNS,
    RowTable,
    TypedColumn,
    check_column_names,
    is_unicode,
    too_many_rows,
)
from services.data_agent.sandbox import Session
from services.data_agent.sources import (
    CsvSource,
    JsonLinesSource,
    JsonSource,
    ParquetSource,
    Record,
    RecordsSource,
    SourceModel,
    is_scalar_type,
)
from services.data_agent.sql import identifier, literal
from services.data_agent.tables import PLACEHOLDER, Table, table_named
from services.runtime.agent import CapabilityError

_ROWS_AT_ONCE = 20_000
_CHARACTERS_AT_ONCE = 4_000_000


@dataclass(slots=True)
class Loaded:
    """A loaded source and whatever should be said about how it was read."""

    table: Table
    notes: list[str] = field(default_factory=list)


class Loader:
    """Loads sources within the agent's limits and its data folder.

    Raises:
        CapabilityError: what ``DataFolder`` raises; ``InvalidFile``, ``RowLimit``, ``ColumnLimit``,
            ``InvalidColumnName``, ``AmbiguousColumns``, ``InvalidText``, ``UnknownColumn`` and ``InvalidValue``
            (a value that is not of the type asked for).
    """

    def __init__(self, config: DataAgentConfig) -> None:
        self._folder = DataFolder(config.data_folder, config.max_file_bytes)
        self._max_rows = config.max_input_rows

    def load(self, session: Session, source: str | list[Record] | SourceModel, table: str) -> Loaded:
        file: DataFile | None = None
        if isinstance(source, str):
            source, file = self._file_named(source)
        elif isinstance(source, CsvSource | ParquetSource | JsonLinesSource | JsonSource):
            file = self._open(source)
        try:
            return self._load(session, source, file, table)
        finally:
            if file is not None:
                file.close()

    def _load(self, session: Session, source: list[Record] | SourceModel, file: DataFile | None, table: str) -> Loaded:
        types: Mapping[str, str] = {}
        match source:
            case list():
                notes = self._load_rows(session, source, table)
            case RecordsSource():
                types = _types_of(source)
                # Without rows the types asked for are all that tells which columns there are.
                names = [column.name for column in source.columns] + ([] if source.records else list(source.types))
                notes = self._load_rows(session, source.records, table, types, names)
                if source.truncated:
                    notes.append("the records were truncated by the step they come from, so rows are missing")
            case _ if file is not None:
                types = source.types
                notes = self._load_file(session, source, file, table)
        cast_columns(session, table, types)
        notes += nan_to_null(session, table)
        return Loaded(table_named(session, table), notes)

    def _file_named(self, name: str) -> tuple[SourceModel, DataFile]:
        file = self._folder.open(name)
        format_ = SUFFIXES.get(file.suffix)
        if format_ is None:
            file.close()
            message = f"{name!r} is none of {', '.join(SUFFIXES)}; say how to read it, as in {{'csv': {name!r}}}"
            raise CapabilityError(message, code="UnknownFormat")
        return _source(format_, name), file

    def _open(self, source: CsvSource | ParquetSource | JsonLinesSource | JsonSource) -> DataFile:
        match source:
            case CsvSource():
                return self._folder.open(source.csv, ["csv"])
            case ParquetSource():
                return self._folder.open(source.parquet, ["parquet"])
            case JsonLinesSource():
                return self._folder.open(source.jsonl, ["jsonl"])
            case JsonSource():
                return self._folder.open(source.json_file, ["json"])

    def _load_file(self, session: Session, source: SourceModel, file: DataFile, table: str) -> list[str]:
        match source:
            case CsvSource():
                load_csv(session, file, source, table, self._max_rows)
                return self._checked(session, table)
            case ParquetSource():
                self._load_parquet(session, file, table)
                return self._checked(session, table)
            case JsonLinesSource():
                rows = _json_lines(session, file)
            case _:
                rows = _json_array(file)
        return self._load_rows(session, rows, table, source.types)

    def _load_parquet(self, session: Session, file: DataFile, table: str) -> None:
        reader = f"read_parquet({literal(str(file.path))}, hive_partitioning = false)"
        try:
            select = f"SELECT * FROM {reader} LIMIT {self._max_rows + 1}"
            session.execute(f"CREATE TEMP TABLE {identifier(table)} AS {select}")
        except CapabilityError as error:
            if error.code != "BadSql":
                raise
            reason = str(error).replace(str(file.path), file.name)
            raise CapabilityError(f"{file.name} cannot be read as Parquet: {reason}", code="InvalidFile") from error

    def _checked(self, session: Session, table: str) -> list[str]:
        found = table_named(session, table)
        if found.rows > self._max_rows:
            raise too_many_rows(self._max_rows)
        if len(found.columns) > MAX_COLUMNS:
            raise CapabilityError(f"the file has more than {MAX_COLUMNS} columns", code="ColumnLimit")
        check_column_names(found.names)
        return []

    def _load_rows(
        self,
        session: Session,
        rows: Iterable[Any],
        table: str,
        types: Mapping[str, str] | None = None,
        names: Iterable[str] = (),
    ) -> list[str]:
        collected = RowTable(self._max_rows, names).add_all(rows)
        columns = collected.columns()
        create_table(session, table, columns, collected.count)
        # Mixing kinds is no news in a column whose type was stated.
        return [note for column in columns if column.name not in (types or {}) for note in column.notes]


def _source(format_: Format, name: str) -> SourceModel:
    match format_:
        case "csv":
            return CsvSource(csv=name)
        case "jsonl":
            return JsonLinesSource(jsonl=name)
        case "json":
            return JsonSource(json=name)
        case "parquet":
            return ParquetSource(parquet=name)


def create_table(session: Session, table: str, columns: list[TypedColumn], rows: int) -> None:
    """Create a table and fill it, column by column as JSON text, which DuckDB reads exactly and fast."""
    columns = columns or [TypedColumn(PLACEHOLDER, '"NULL"', [None] * rows)]
    definition = ", ".join(f"{identifier(column.name)} {column.type}" for column in columns)
    session.execute(f"CREATE TEMP TABLE {identifier(table)} ({definition})")
    if not rows:
        return
    unpacked = ", ".join(f"unnest({_unpack(column, number)})" for number, column in enumerate(columns, 1))
    insert = f"INSERT INTO {identifier(table)} SELECT {unpacked}"
    for start in range(0, rows, _ROWS_AT_ONCE):
        _insert(session, insert, columns, start, min(start + _ROWS_AT_ONCE, rows))


def _insert(session: Session, insert: str, columns: list[TypedColumn], start: int, end: int) -> None:
    texts = [json.dumps(column.values[start:end], ensure_ascii=False) for column in columns]
    if sum(map(len, texts)) > _CHARACTERS_AT_ONCE and end - start > 1:
        middle = (start + end) // 2
        _insert(session, insert, columns, start, middle)
        _insert(session, insert, columns, middle, end)
        return
    for column, text in zip(columns, texts, strict=True):
        if not is_unicode(text):
            message = f"column {column.name!r} has text that is not valid Unicode (half a surrogate pair)"
            raise CapabilityError(message, code="InvalidText")
    session.execute(insert, texts)


def _unpack(column: TypedColumn, number: int) -> str:
    carrier = (column.carrier or column.type).strip('"')
    structure = literal(json.dumps([carrier]))
    return f"from_json(${number}::JSON, {structure})::{column.type}[]"


def _types_of(source: RecordsSource) -> dict[str, str]:
    return {column.name: column.type for column in source.columns if is_scalar_type(column.type)} | source.types


def _json_lines(session: Session, file: DataFile) -> Iterator[Any]:
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if number % _ROWS_AT_ONCE == 0:
                session.check_time()
            if not line.strip():
                continue
            yield _json_object(line, f"{file.name}, line {number}")


def _json_array(file: DataFile) -> Iterator[Any]:
    rows = _parsed(file.path.read_bytes(), file.name)
    if not isinstance(rows, list):
        raise CapabilityError(f"{file.name} is not one JSON array of objects", code="InvalidFile")
    for number, row in enumerate(rows, 1):
        yield _require_object(row, f"{file.name}, element {number}")


def _json_object(text: bytes, place: str) -> dict[str, Any]:
    return _require_object(_parsed(text, place), place)


def _parsed(text: bytes, place: str) -> Any:
    try:
        return from_json(text.removeprefix(b"\xef\xbb\xbf").strip())
    except ValueError as error:
        raise CapabilityError(f"{place} is not JSON: {error}", code="InvalidFile") from error


def _require_object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CapabilityError(f"{place} is {type(value).__name__}, not an object", code="InvalidFile")
    return value
