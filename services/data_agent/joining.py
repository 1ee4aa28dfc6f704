"""The SQL of a join: the one operation that reads a second table, and the one that can make more rows."""

from services.data_agent.faults import require_columns
from services.data_agent.operation_sql import require_distinct
from services.data_agent.operations import Join
from services.data_agent.records import too_many_rows
from services.data_agent.sandbox import Session
from services.data_agent.sql import identifier
from services.data_agent.tables import Table
from services.runtime.agent import CapabilityError

_KINDS = {
    "inner": "JOIN",
    "left": "LEFT JOIN",
    "right": "RIGHT JOIN",
    "full": "FULL JOIN",
    "semi": "SEMI JOIN",
    "anti": "ANTI JOIN",
}


def join_sql(session: Session, operation: Join, left: Table, right: Table, max_rows: int) -> str:
    """The SELECT of a join whose size has been checked.

    Raises:
        CapabilityError: ``UnknownColumn``, ``DuplicateColumn``, ``TypeMismatch`` (text compared with something else) or
            ``RowLimit``.
    """
    keys = operation.keys
    require_columns(list(keys), left.names)
    for name in keys.values():
        if name not in right.names:
            message = f"'with' has no column {name!r}; it has: {', '.join(right.names) or 'none'}"
            raise CapabilityError(message, code="UnknownColumn", details={"columns": right.names})
    _require_comparable(keys, left, right)
    left_position, right_position = left.position_name(), right.position_name()
    on = " AND ".join(f"l.{identifier(mine)} = r.{identifier(theirs)}" for mine, theirs in keys.items())
    kind = _KINDS[operation.how]
    source = f"{left.numbered(left_position)} AS l {kind} {right.numbered(right_position)} AS r ON {on}"
    if operation.how in ("semi", "anti"):
        selected = ", ".join(f"l.{identifier(name)}" for name in left.names)
        return f"SELECT {selected} FROM {source} ORDER BY l.{identifier(left_position)}"
    if session.value(f"SELECT count(*) FROM {source}") > max_rows:
        raise too_many_rows(max_rows)
    order = f"l.{identifier(left_position)} NULLS LAST, r.{identifier(right_position)} NULLS LAST"
    return f"SELECT {_selected(operation, left, right)} FROM {source} ORDER BY {order}"


def _selected(operation: Join, left: Table, right: Table) -> str:
    """Left columns, then right ones without the keys; a key comes from whichever side has the row."""
    keys = operation.keys
    parts = [
        f"coalesce(l.{identifier(name)}, r.{identifier(keys[name])}) AS {identifier(name)}"
        if name in keys
        else f"l.{identifier(name)} AS {identifier(name)}"
        for name in left.names
    ]
    taken = {name.lower() for name in left.names}
    new_names = []
    for name in right.names:
        if name in keys.values():
            continue
        new_names.append(name + operation.suffix if name.lower() in taken else name)
        parts.append(f"r.{identifier(name)} AS {identifier(new_names[-1])}")
    require_distinct([*left.names, *new_names])
    return ", ".join(parts)


def _require_comparable(keys: dict[str, str], left: Table, right: Table) -> None:
    left_families = {column.name: column for column in left.columns}
    right_families = {column.name: column for column in right.columns}
    for mine, theirs in keys.items():
        one, other = left_families[mine], right_families[theirs]
        families = {one.family, other.family}
        if "varchar" in families and not families <= {"varchar", "enum", "null"}:
            raise CapabilityError(
                f"column {mine!r} is {one.type} and {theirs!r} of 'with' is {other.type}: cast one of them first, "
                "with 'types' or a derive operation",
                code="TypeMismatch",
            )
