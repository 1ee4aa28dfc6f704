"""The operations of ``process_data``: what each is called and takes. Their SQL is in ``operation_sql.py``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.data_agent.sources import DataSource

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Names = Annotated[list[Name], Field(min_length=1)]
Expression = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4000,
        description="One SQL expression over the row's columns, as DuckDB writes them; odd names in double quotes",
        examples=["price * quantity", "country = 'NO' AND amount >= 100", 'upper("full name")'],
    ),
]


class _Operation(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Filter(_Operation):
    """Keep the rows for which ``where`` is true; rows for which it is null go."""

    op: Literal["filter"]
    where: Expression


class Select(_Operation):
    """Keep ``columns`` in that order (all without it), leave out ``exclude``, and give new names by ``rename``."""

    op: Literal["select"]
    columns: Names | None = None
    exclude: list[Name] = []
    rename: dict[Name, Name] = Field(default={}, description="Old name -> new name")


class Derive(_Operation):
    """Add or replace columns. Every expression sees the row as it was before this operation."""

    op: Literal["derive"]
    columns: dict[Name, Expression] = Field(min_length=1, description="Column -> its expression")


AggregateFunction = Literal[
    "count", "count_distinct", "sum", "mean", "median", "min", "max", "stddev", "variance", "quantile",
    "first", "last", "list", "any", "all",
]  # fmt: skip


class Aggregate(_Operation):
    """One row for each distinct combination of ``group_by``, in its order; without ``group_by`` one row for all.

    Nulls in ``group_by`` are one group. Functions skip nulls, except first, last and list; ``count`` without a column
    counts rows; ``stddev`` and ``variance`` are of the sample (n - 1); ``quantile`` interpolates.
    """

    class Measure(_Operation):
        function: AggregateFunction
        column: Name | None = Field(default=None, description="Needed by every function but count")
        quantile: float | None = Field(default=None, ge=0, le=1, description="For quantile: 0.5 is the median")

        @model_validator(mode="after")
        def _complete(self) -> "Aggregate.Measure":
            if self.column is None and self.function != "count":
                raise ValueError(f"{self.function} needs a column")
            if (self.quantile is not None) != (self.function == "quantile"):
                raise ValueError("'quantile' is given with the function quantile, and only there")
            return self

    op: Literal["aggregate"]
    group_by: list[Name] = []
    aggregates: dict[Name, Measure] = Field(min_length=1, description="New column -> what it measures")


class Join(_Operation):
    """Join with another source on equal columns; nulls equal nothing.

    Rows keep the order of the data, then of ``with``. A column of ``with`` whose name is taken gets ``suffix``. The
    key columns appear once. ``semi`` keeps the rows that have a match, ``anti`` those that have none.
    """

    op: Literal["join"]
    other: DataSource = Field(alias="with")
    on: Names | Annotated[dict[Name, Name], Field(min_length=1)] = Field(
        description="Columns of the same name in both, or column of the data -> column of 'with'"
    )
    how: Literal["inner", "left", "right", "full", "semi", "anti"] = "inner"
    suffix: str = Field(default="_right", min_length=1, max_length=100)

    @property
    def keys(self) -> dict[str, str]:
        return self.on if isinstance(self.on, dict) else {name: name for name in self.on}


class Sort(_Operation):
    """Order the rows; rows that compare equal keep their order. Text is compared by code point."""

    class Key(_Operation):
        column: Name
        descending: bool = False
        nulls: Literal["first", "last"] = "last"

    op: Literal["sort"]
    by: Annotated[list[Name | Key], Field(min_length=1)]

    @property
    def keys(self) -> list[Key]:
        return [Sort.Key(column=key) if isinstance(key, str) else key for key in self.by]


class Limit(_Operation):
    """Keep ``count`` rows, after leaving out the first ``offset``."""

    op: Literal["limit"]
    count: int = Field(ge=0, le=2**53)
    offset: int = Field(default=0, ge=0, le=2**53)


class Deduplicate(_Operation):
    """Keep one row of those that are equal in ``columns`` (in all columns without it). Nulls count as equal."""

    op: Literal["deduplicate"]
    columns: Names | None = None
    keep: Literal["first", "last"] = "first"


class Fill(_Operation):
    """Replace nulls in ``columns``: by ``value``, by a figure of the column's other values, or by the nearest value
    above (``previous``) or below (``next``)."""

    op: Literal["fill"]
    columns: Names
    method: Literal["value", "mean", "median", "min", "max", "previous", "next"] = "value"
    value: str | bool | int | float | None = Field(default=None, description="For the method 'value'")
    within: list[Name] = Field(default=[], description="Fill from rows that are equal in these columns only")

    @model_validator(mode="before")
    @classmethod
    def _value_where_needed(cls, given: Any) -> Any:
        if isinstance(given, dict):
            method = given.get("method", "value")
            if (given.get("value") is not None) != (method == "value"):
                raise ValueError("'value' is given with the method value, and only there")
        return given


Operation = Annotated[
    Filter | Select | Derive | Aggregate | Join | Sort | Limit | Deduplicate | Fill, Field(discriminator="op")
]
