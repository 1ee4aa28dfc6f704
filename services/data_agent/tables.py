"""What is known of a table in a session: its name, its columns and how many rows it has."""

from dataclasses import dataclass
from typing import Any

from services.data_agent.sandbox import Session
from services.data_agent.sql import fresh, identifier, identifiers

# A table needs a column even where the data has none (no rows, or only empty objects); the name is of no language.
PLACEHOLDER = "\ue000 no columns"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    # DuckDB's own type object, whose parts can be asked for; its text is what people read.
    kind: Any

    @property
    def type(self) -> str:
        text = str(self.kind)
        return "NULL" if text == '"NULL"' else text

    @property
    def family(self) -> str:
        """The type without its parameters, in lower case: ``bigint``, ``decimal``, ``struct``, ``json``."""
        return "json" if str(self.kind) == "JSON" else str(self.kind.id)


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    rows: int

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def select_list(self) -> str:
        return identifiers(self.names) or identifier(PLACEHOLDER)

    def position_name(self) -> str:
        """A column name that is free for the position of a row."""
        return fresh("row position", self.names)

    def numbered(self, position: str) -> str:
        """The table with each row's position, from 1, as one more column."""
        columns = self.select_list
        return f"(SELECT {columns}, row_number() OVER () AS {identifier(position)} FROM {identifier(self.name)})"


def columns_of(session: Session, select: str, parameters: Any = None) -> tuple[Column, ...]:
    """The columns that a SELECT gives, without running it to any row."""
    described = session.execute(f"SELECT * FROM (\n{select}\n) AS described LIMIT 0", parameters).description
    return tuple(Column(name, kind) for name, kind, *_ in described)


def table_named(session: Session, name: str) -> Table:
    columns = columns_of(session, f"SELECT * FROM {identifier(name)}")
    rows = session.value(f"SELECT count(*) FROM {identifier(name)}")
    return Table(name, tuple(column for column in columns if column.name != PLACEHOLDER), rows)
