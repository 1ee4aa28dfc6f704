"""The SQL of each operation: a SELECT over the table that the operation before it made.

A column's or row's order never depends on how DuckDB happens to run a statement: whatever could reorder rows is
followed by an explicit order by row position.
"""

from functools import singledispatch

from services.data_agent.faults import require_columns
from services.data_agent.operations import Aggregate, Deduplicate, Derive, Fill, Filter, Limit, Select, Sort
from services.data_agent.sandbox import Session
from services.data_agent.sql import check_expression, fresh, identifier, identifiers, literal
from services.data_agent.tables import Column, Table
from services.runtime.agent import CapabilityError

_AGGREGATES = {
    "count": "count({column})",
    "count_distinct": "count(DISTINCT {column})",
    "sum": "sum({column})",
    "mean": "avg({column})",
    "median": "median({column})",
    "min": "min({column})",
    "max": "max({column})",
    "stddev": "stddev_samp({column})",
    "variance": "var_samp({column})",
    "quantile": "quantile_cont({column}, {quantile})",
    "first": "first({column} ORDER BY {position})",
    "last": "last({column} ORDER BY {position})",
    "list": "list({column} ORDER BY {position})",
    "any": "bool_or({column})",
    "all": "bool_and({column})",
}
NUMBERS = {
    "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint",
    "bignum", "float", "double", "decimal",
}  # fmt: skip


@singledispatch
def operation_sql(operation: object, table: Table, session: Session) -> str:
    """The SELECT that applies ``operation`` to ``table``.

    Raises:
        CapabilityError: ``UnknownColumn``, ``DuplicateColumn``, ``BadExpression`` or ``TypeMismatch``.
    """
    raise TypeError(f"no SQL for {type(operation).__name__}")


@operation_sql.register
def _(operation: Filter, table: Table, session: Session) -> str:
    condition = check_expression(session, operation.where)
    return f"SELECT {table.select_list} FROM {_from(table)} WHERE {condition}"


@operation_sql.register
def _(operation: Select, table: Table, session: Session) -> str:
    wanted = operation.columns if operation.columns is not None else table.names
    require_columns([*wanted, *operation.exclude, *operation.rename], table.names)
    kept = [name for name in wanted if name not in operation.exclude]
    if not kept:
        raise CapabilityError("no column would be left", code="NoColumns")
    new_names = [operation.rename.get(name, name) for name in kept]
    require_distinct(new_names)
    selected = (f"{identifier(old)} AS {identifier(new)}" for old, new in zip(kept, new_names, strict=True))
    return f"SELECT {', '.join(selected)} FROM {_from(table)}"


@operation_sql.register
def _(operation: Derive, table: Table, session: Session) -> str:
    names = table.names + [name for name in operation.columns if name not in table.names]
    require_distinct(names)
    # Under their final names, DuckDB would let one new column see another.
    hidden: dict[str, str] = {}
    for name in operation.columns:
        hidden[name] = fresh("derived", [*names, *hidden.values()])
    expressions = (
        f"{check_expression(session, text)} AS {identifier(hidden[name])}" for name, text in operation.columns.items()
    )
    inner = f"SELECT {table.select_list}, {', '.join(expressions)} FROM {_from(table)}"
    selected = (f"{identifier(hidden.get(name, name))} AS {identifier(name)}" for name in names)
    return f"SELECT {', '.join(selected)} FROM ({inner})"


@operation_sql.register
def _(operation: Aggregate, table: Table, session: Session) -> str:
    measured = [measure.column for measure in operation.aggregates.values() if measure.column is not None]
    require_columns([*operation.group_by, *measured], table.names)
    require_distinct([*operation.group_by, *operation.aggregates])
    position = table.position_name()
    selected = [identifier(name) for name in operation.group_by]
    for name, measure in operation.aggregates.items():
        column = "*" if measure.column is None else identifier(measure.column)
        pattern = _AGGREGATES[measure.function]
        call = pattern.format(column=column, quantile=measure.quantile, position=identifier(position))
        selected.append(f"{call} AS {identifier(name)}")
    keys = identifiers(operation.group_by)
    grouping = f" GROUP BY {keys} ORDER BY {_ordering(operation.group_by)}" if keys else ""
    return f"SELECT {', '.join(selected)} FROM {table.numbered(position)}{grouping}"


@operation_sql.register
def _(operation: Sort, table: Table, session: Session) -> str:
    require_columns([key.column for key in operation.keys], table.names)
    position = table.position_name()
    keys = [
        f"{identifier(key.column)} {'DESC' if key.descending else 'ASC'} NULLS {key.nulls.upper()}"
        for key in operation.keys
    ]
    order = ", ".join([*keys, identifier(position)])
    return f"SELECT {table.select_list} FROM {table.numbered(position)} ORDER BY {order}"


@operation_sql.register
def _(operation: Limit, table: Table, session: Session) -> str:
    return f"SELECT {table.select_list} FROM {_from(table)} LIMIT {operation.count} OFFSET {operation.offset}"


@operation_sql.register
def _(operation: Deduplicate, table: Table, session: Session) -> str:
    same = table.names if operation.columns is None else operation.columns
    require_columns(same, table.names)
    position = identifier(table.position_name())
    rank = identifier(fresh("row rank", [*table.names, table.position_name()]))
    direction = "ASC" if operation.keep == "first" else "DESC"
    among = f"PARTITION BY {identifiers(same)} " if same else ""
    ranked = (
        f"SELECT *, row_number() OVER ({among}ORDER BY {position} {direction}) AS {rank} "
        f"FROM {table.numbered(table.position_name())}"
    )
    return f"SELECT {table.select_list} FROM ({ranked}) WHERE {rank} = 1 ORDER BY {position}"


@operation_sql.register
def _(operation: Fill, table: Table, session: Session) -> str:
    require_columns([*operation.columns, *operation.within], table.names)
    position = identifier(table.position_name())
    selected = (
        f"{_filled(operation, column, position)} AS {identifier(column.name)}"
        if column.name in operation.columns
        else identifier(column.name)
        for column in table.columns
    )
    return f"SELECT {', '.join(selected)} FROM {table.numbered(table.position_name())} ORDER BY {position}"


def _filled(operation: Fill, column: Column, position: str) -> str:
    quoted = identifier(column.name)
    among = f"PARTITION BY {identifiers(operation.within)}" if operation.within else ""
    above = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    below = "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"
    match operation.method:
        case "value":
            filler = _constant(column, operation.value)
        case "previous":
            filler = f"last_value({quoted} IGNORE NULLS) OVER ({among} ORDER BY {position} {above})"
        case "next":
            filler = f"first_value({quoted} IGNORE NULLS) OVER ({among} ORDER BY {position} {below})"
        case "mean":
            filler = f"avg({quoted}) OVER ({among})"
        case method:
            filler = f"{method}({quoted}) OVER ({among})"
    return f"coalesce({quoted}, {filler})"


def _constant(column: Column, value: str | bool | int | float | None) -> str:
    """``value`` as SQL, if it fits the column: a cast would round 0.5 to 1 in a column of integers."""
    anything = column.family == "null"
    match value:
        case bool() if anything or column.family == "boolean":
            return str(value).upper()
        case int() if not isinstance(value, bool) and (anything or column.family in NUMBERS):
            return str(value)
        case float() if anything or column.family in NUMBERS:
            return f"{literal(repr(value))}::DOUBLE"
        case str() if anything or column.family == "varchar":
            return literal(value)
        case str() if column.family not in NUMBERS | {"boolean", "json", "list", "struct", "map", "array"}:
            return f"CAST({literal(value)} AS {column.kind})"
    message = f"column {column.name!r} is {column.type}, so it cannot be filled with {value!r}"
    raise CapabilityError(message, code="TypeMismatch")


def require_distinct(names: list[str]) -> None:
    """Names that differ in case only are one name to DuckDB."""
    seen: set[str] = set()
    for name in names:
        if "\0" in name:
            raise CapabilityError(f"a column may not be named {name!r}", code="InvalidColumnName")
        if name.lower() in seen:
            message = f"there would be two columns named {name!r} (case is ignored)"
            raise CapabilityError(message, code="DuplicateColumn")
        seen.add(name.lower())


def _ordering(names: list[str]) -> str:
    return ", ".join(f"{identifier(name)} ASC NULLS LAST" for name in names)


def _from(table: Table) -> str:
    # A table's own name would be a column to an expression; an alias with a space cannot be written by accident.
    return f"{identifier(table.name)} AS {identifier(fresh('these rows', table.names))}"
