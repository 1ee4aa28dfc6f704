"""What the capabilities take and give. Sources, operations and rules have modules of their own."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from services.data_agent.operations import Name, Operation
from services.data_agent.rules import ColumnRules, RowCheck
from services.data_agent.sources import ColumnInfo, DataSource, Record

_MAX_OPERATIONS = 100
_MAX_SQL = 20_000
_TABLE_NAME = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]

MaxRows = Annotated[int | None, Field(ge=1, description="Lowers the agent's own limit of rows in an answer")]
Timeout = Annotated[float | None, Field(gt=0, description="Lowers the agent's own time limit, in seconds")]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class RowsOutput(BaseModel):
    """Rows, and what must be known about them. It is a ``data_source`` itself."""

    records: list[Record] = Field(description="One object a row, its keys in the order of the columns")
    columns: list[ColumnInfo] = Field(description="Every column with its DuckDB type")
    row_count: int = Field(description="How many records there are here")
    truncated: bool = Field(default=False, description="Whether rows were left out because of a limit")
    notes: list[str] = Field(default=[], description="What was read or given otherwise than it was, in plain words")


class ProcessDataInput(_Request):
    """Data, and the operations to apply to it, one after the other."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "data_source": "orders",
                    "operations": [
                        {"op": "filter", "where": "status = 'paid'"},
                        {"op": "derive", "columns": {"total": "price * quantity"}},
                        {
                            "op": "aggregate",
                            "group_by": ["country"],
                            "aggregates": {"revenue": {"function": "sum", "column": "total"}},
                        },
                        {"op": "sort", "by": [{"column": "revenue", "descending": True}]},
                        {"op": "limit", "count": 10},
                    ],
                }
            ]
        }
    )

    data_source: DataSource
    operations: list[Operation] = Field(default=[], max_length=_MAX_OPERATIONS)
    max_rows: MaxRows = None
    timeout_seconds: Timeout = None


class AppliedOperation(BaseModel):
    """An operation of the request and what it did to the number of rows."""

    index: int = Field(description="Its place in the request, from 0")
    op: str
    rows_before: int
    rows_after: int


class ProcessDataOutput(RowsOutput):
    """The rows after the last operation, and the row counts along the way."""

    total_rows: int = Field(description="Rows after the last operation, those left out of the answer included")
    operations: list[AppliedOperation]


class QueryInput(_Request):
    """One SELECT over data. ``data_source`` is the table ``data``; ``tables`` adds others by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sql": "SELECT country, avg(amount) AS mean FROM data WHERE year = $year GROUP BY 1 ORDER BY 2",
                    "data_source": "orders",
                    "parameters": {"year": 2024},
                }
            ]
        }
    )

    sql: str = Field(min_length=1, max_length=_MAX_SQL)
    data_source: DataSource | None = None
    tables: dict[_TABLE_NAME, DataSource] = Field(default={}, max_length=20)
    parameters: list[JsonValue] | dict[str, JsonValue] = Field(
        default=[], description="Values for $1, $2 ... (a list) or $name (an object)"
    )
    max_rows: MaxRows = None
    timeout_seconds: Timeout = None

    @model_validator(mode="after")
    def _distinct_tables(self) -> "QueryInput":
        names = [name.lower() for name in self.tables] + (["data"] if self.data_source is not None else [])
        if len(set(names)) < len(names):
            raise ValueError("two tables have the same name ('data' is the data_source; case is ignored)")
        return self


class QueryOutput(RowsOutput):
    """The rows that the SELECT gave, in its order."""


class ValidateDataInput(_Request):
    """Data and the rules that it should keep."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "data_source": "orders",
                    "rules": {
                        "id": {"not_null": True, "unique": True},
                        "amount": {"type": "number", "min": 0},
                        "country": {"regex": "[A-Z]{2}"},
                    },
                    "checks": [{"name": "shipped after ordered", "expression": "shipped >= ordered"}],
                }
            ]
        }
    )

    data_source: DataSource
    rules: dict[Name, ColumnRules] = Field(default={}, description="Column -> its rules")
    checks: list[RowCheck] = Field(default=[], max_length=100, description="Expressions across columns")
    max_failures: int = Field(default=100, ge=0, le=10_000, description="How many failures are listed; all are counted")
    timeout_seconds: Timeout = None

    @model_validator(mode="after")
    def _something_to_check(self) -> "ValidateDataInput":
        if not self.rules and not self.checks:
            raise ValueError("there is nothing to check: give 'rules' or 'checks'")
        return self


class Failure(BaseModel):
    """One value, or one row for a check, that breaks a rule."""

    row: int | None = Field(description="From 1, in the source's order; null when the whole column is at fault")
    column: str | None = Field(description="Null for a check across columns")
    rule: str = Field(description="The rule's name, the check's name, or 'present' for a column that is not there")
    value: JsonValue = Field(default=None, description="The value at fault, or the row for a check")
    message: str


class RuleResult(BaseModel):
    """How often one rule was broken."""

    column: str | None
    rule: str
    failures: int


class ValidateDataOutput(BaseModel):
    """Whether the data keeps the rules, and where it does not."""

    valid: bool
    checked_rows: int
    failure_count: int = Field(description="All failures, listed or not")
    results: list[RuleResult] = Field(description="Every rule with its number of failures, 0 included")
    failures: list[Failure] = Field(description="The first failures, rule by rule and row by row")
    truncated: bool = Field(default=False, description="Whether there are more failures than are listed")
    notes: list[str] = []


class ProfileInput(_Request):
    """Data to describe, column by column."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"data_source": "orders", "columns": ["amount"]}]})

    data_source: DataSource
    columns: list[Name] | None = Field(default=None, min_length=1, description="All columns without it")
    quantiles: list[Annotated[float, Field(ge=0, le=1)]] = Field(default=[0.25, 0.5, 0.75], max_length=99)
    top_values: int = Field(default=5, ge=0, le=100, description="How many of the commonest values are listed")
    timeout_seconds: Timeout = None


class TopValue(BaseModel):
    """A value and how often it occurs."""

    value: JsonValue
    count: int


class ColumnProfile(BaseModel):
    """What one column holds. Figures that the column's type has not are null."""

    name: str
    type: str
    count: int = Field(description="Values that are not null")
    nulls: int
    distinct: int = Field(description="Different values that are not null, counted exactly")
    min: JsonValue = None
    max: JsonValue = None
    mean: float | None = Field(default=None, description="Of the finite numbers, as the next three")
    std: float | None = Field(default=None, description="Of the sample (n - 1); null for fewer than two numbers")
    quantiles: dict[str, float] = Field(default={}, description="Quantile -> value, interpolated linearly")
    infinite: int = Field(default=0, description="Infinite numbers, left out of the figures above")
    min_length: int | None = Field(default=None, description="Characters of the shortest text")
    max_length: int | None = None
    top_values: list[TopValue] = Field(default=[], description="The commonest values; of equals the lesser")


class ProfileOutput(BaseModel):
    """A description of the data, column by column."""

    row_count: int
    columns: list[ColumnProfile]
    notes: list[str] = []


Answer = ProcessDataOutput | QueryOutput | ValidateDataOutput | ProfileOutput
