"""``query``: one SELECT of the caller's, over tables that were loaded before the database was sealed."""

import duckdb

from services.data_agent.config import DataAgentConfig
from services.data_agent.loading import Loader
from services.data_agent.requests import QueryInput, QueryOutput
from services.data_agent.results import rows_output
from services.data_agent.sandbox import Sandbox, Session
from services.data_agent.sources import reads_file
from services.data_agent.tables import columns_of
from services.runtime.agent import CapabilityError

DATA_TABLE = "data"


def query(request: QueryInput, config: DataAgentConfig, sandbox: Sandbox) -> QueryOutput:
    """Run the SELECT.

    Raises:
        CapabilityError: ``ForbiddenSql`` (anything but one SELECT, or a SELECT that reaches outside), ``BadSql``,
            ``UnknownTable``, ``UnknownColumn``, ``QueryTimeout``, ``MemoryLimit``, ``InvalidValue``, and what reading
            the sources raises.
    """
    sources = dict(request.tables)
    if request.data_source is not None:
        sources[DATA_TABLE] = request.data_source
    from_files = any(map(reads_file, sources.values()))
    with sandbox.session(reads_files=from_files, time_limit=request.timeout_seconds) as session:
        loader = Loader(config)
        notes: list[str] = []
        tables: dict[str, list[str]] = {}
        for name, source in sources.items():
            loaded = loader.load(session, source, name)
            notes += [f"table {name}: {note}" for note in loaded.notes]
            tables[name] = loaded.table.names
        if from_files:
            session.seal()
        select = single_select(session, request.sql)
        parameters = request.parameters or None
        try:
            columns = columns_of(session, select, parameters)
            rows = rows_output(session, select, columns, config, max_rows=request.max_rows, parameters=parameters)
        except CapabilityError as error:
            raise _with_tables(error, tables) from error
    return QueryOutput(**{**rows.model_dump(), "notes": notes + rows.notes})


def single_select(session: Session, sql: str) -> str:
    """The text of the one SELECT that ``sql`` is, without its semicolon.

    Raises:
        CapabilityError: ``BadSql``, or ``ForbiddenSql`` naming the kind of statement that is not allowed.
    """
    statements = session.parse(sql)
    kinds = [statement.type.name for statement in statements]
    if kinds == ["MULTI"]:
        raise _forbidden("PIVOT needs its values here, as in: PIVOT data ON year IN (2023, 2024) USING sum(amount)")
    if any(kind != "SELECT" for kind in kinds):
        raise _forbidden(f"only a SELECT may be run, not {', '.join(kinds)}")
    if len(kinds) != 1:
        raise _forbidden(f"exactly one SELECT may be run, not {len(kinds)}")
    return _without_semicolon(statements[0].query)


def _without_semicolon(sql: str) -> str:
    """A semicolon ends a statement, and only comments can follow it."""
    text = sql.encode()
    end = len(text)
    for offset, kind in reversed(duckdb.tokenize(sql)):
        if text[offset : offset + 1] == b";" and kind == duckdb.token_type.operator:
            end = offset
        elif kind != duckdb.token_type.comment:
            break
    return text[:end].decode()


def _with_tables(error: CapabilityError, tables: dict[str, list[str]]) -> CapabilityError:
    if error.code not in ("UnknownTable", "UnknownColumn"):
        return error
    there = "; ".join(f"{name} ({', '.join(columns)})" for name, columns in tables.items())
    return CapabilityError(f"{error}; the tables are: {there or 'none'}", code=error.code, details={"tables": tables})


def _forbidden(reason: str) -> CapabilityError:
    return CapabilityError(reason, code="ForbiddenSql")
