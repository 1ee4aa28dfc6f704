"""CSV files: the dialect, and the line at fault.

DuckDB's dialect detection may skip ragged lines and comments without a word, so every part of the dialect is
stated; only the delimiter is guessed, from the first line.
"""

import csv

from services.data_agent.data_file import DataFile
from services.data_agent.sandbox import Session
from services.data_agent.sources import CsvSource
from services.data_agent.sql import identifier, literal
from services.runtime.agent import CapabilityError

_DELIMITERS = ",;\t|"


def dialect(file: DataFile, source: CsvSource) -> CsvSource:
    """``source`` with its delimiter decided.

    Raises:
        CapabilityError: ``InvalidFile``: the file has no first line, or is not text in its encoding.
    """
    first_line = _first_line(file, source.encoding)
    if not first_line.strip():
        raise CapabilityError(f"{file.name} has no first line: a CSV file names its columns there", code="InvalidFile")
    if source.delimiter is not None:
        return source
    counts = {delimiter: _outside_quotes(first_line, delimiter) for delimiter in _DELIMITERS}
    return source.model_copy(update={"delimiter": max(_DELIMITERS, key=lambda delimiter: counts[delimiter])})


def load_csv(session: Session, file: DataFile, source: CsvSource, table: str, max_rows: int) -> None:
    """Create ``table`` from the file, with at most one row more than ``max_rows``.

    Raises:
        CapabilityError: ``InvalidFile``, naming the line where that can be told.
    """
    chosen = dialect(file, source)
    # A type that was asked for is cast to later, where the row at fault can be named.
    names = _column_names(session, file, chosen)
    forced = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in chosen.types if name in names)
    reader = _reader(file, chosen, f", types = {{{forced}}}" if forced else "")
    try:
        session.execute(f"CREATE TEMP TABLE {identifier(table)} AS SELECT * FROM {reader} LIMIT {max_rows + 1}")
    except CapabilityError as error:
        raise _explained(error, file, chosen) from error


def _column_names(session: Session, file: DataFile, source: CsvSource) -> set[str]:
    if not source.types:
        return set()
    try:
        described = session.rows(f"DESCRIBE SELECT * FROM {_reader(file, source, ', all_varchar = true')}")
    except CapabilityError as error:
        raise _explained(error, file, source) from error
    return {row[0] for row in described}


def _reader(file: DataFile, source: CsvSource, more: str) -> str:
    return (
        f"read_csv({literal(str(file.path))}, delim = {literal(source.delimiter or ',')}, quote = '\"', escape = '\"', "
        f"header = {str(source.header).lower()}, skip = 0, comment = '', nullstr = '', strict_mode = true, "
        f"null_padding = false, ignore_errors = false, sample_size = -1, hive_partitioning = false, "
        f"decimal_separator = {literal(source.decimal_separator)}, encoding = {literal(source.encoding)}{more})"
    )


def _first_line(file: DataFile, encoding: str) -> str:
    try:
        with file.path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline=None) as lines:
            return lines.readline(1_000_000)
    except UnicodeError:
        raise CapabilityError(f"{file.name} is not {encoding} text; say its 'encoding'", code="InvalidFile") from None


def _outside_quotes(line: str, delimiter: str) -> int:
    return sum(part.count(delimiter) for part in line.split('"')[::2])


def _explained(error: CapabilityError, file: DataFile, source: CsvSource) -> CapabilityError:
    if error.code not in ("BadSql", "InvalidValue"):
        return error
    reason = _ragged_line(file, source) or _mixed_line_ends(file) or _first_lines(str(error), file)
    return CapabilityError(f"{file.name} cannot be read as CSV: {reason}", code="InvalidFile")


def _first_lines(message: str, file: DataFile) -> str:
    # What follows is DuckDB's list of every dialect option.
    told = message.split("\n  file")[0].split("\nPossible")[0].split("\nThe search space")[0]
    return " ".join(told.replace(str(file.path), file.name).split())


def _mixed_line_ends(file: DataFile) -> str | None:
    data = file.path.read_bytes()
    unix, windows = data.count(b"\n"), data.count(b"\r\n")
    return f"{windows} lines end in CR LF and {unix - windows} in LF alone" if 0 < windows < unix else None


def _ragged_line(file: DataFile, source: CsvSource) -> str | None:
    """The first line whose number of fields differs from the first line's."""
    encoding = "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    try:
        with file.path.open(encoding=encoding, newline="") as lines:
            reader = csv.reader(lines, delimiter=source.delimiter or ",", strict=True)
            width = len(next(reader))
            for fields in reader:
                if fields and len(fields) != width:
                    return f"line {reader.line_num} has {len(fields)} fields, the first line has {width}"
    except (csv.Error, UnicodeError) as error:
        return f"after line {reader.line_num}: {error}" if isinstance(error, csv.Error) else str(error)
    return None
