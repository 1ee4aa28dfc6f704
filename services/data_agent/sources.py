"""Where data comes from: the forms that ``data_source`` may take in a request."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

Record = dict[str, JsonValue]

_SCALAR_TYPE = (
    r"^(BOOLEAN|U?TINYINT|U?SMALLINT|U?INTEGER|U?BIGINT|U?HUGEINT|FLOAT|DOUBLE|DECIMAL\([0-9]{1,2}, ?[0-9]{1,2}\)"
    r"|VARCHAR|DATE|TIME|TIMESTAMP|TIMESTAMP WITH TIME ZONE|TIMESTAMPTZ|INTERVAL|UUID|JSON|BLOB)$"
)
ColumnType = Annotated[
    str,
    Field(
        pattern=_SCALAR_TYPE,
        description="A scalar DuckDB type in capitals, such as VARCHAR, BIGINT, DOUBLE, DATE, TIMESTAMPTZ",
    ),
]
ColumnTypes = Annotated[
    dict[str, ColumnType],
    Field(description="Column -> type, for columns whose type must not be guessed; a value that does not fit fails"),
]
FilePath = Annotated[
    str,
    Field(min_length=1, max_length=1000, description="A path inside the agent's data folder, with or without suffix"),
]


class ColumnInfo(BaseModel):
    """A column and its DuckDB type."""

    name: str
    type: str


class RecordsSource(BaseModel):
    """Rows given in the request, or the output of an earlier step, whose ``columns`` restore dates and decimals.

    A key that a record lacks counts as null. Other fields are ignored, since an earlier output has more of them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    records: list[Record]
    columns: list[ColumnInfo] = []
    types: ColumnTypes = {}
    truncated: bool = False


class _FileSource(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvSource(_FileSource):
    """A CSV file. Every line has as many fields as the first; an empty field is null."""

    csv: FilePath
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Without it, the commonest of , ; tab | in the first line"
    )
    header: bool = Field(default=True, description="Whether the first line names the columns (else column0 and on)")
    decimal_separator: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"
    types: ColumnTypes = {}


class JsonLinesSource(_FileSource):
    """A file with one JSON object a line."""

    jsonl: FilePath
    types: ColumnTypes = {}


class JsonSource(_FileSource):
    """A file with one JSON array of objects."""

    json_file: FilePath = Field(alias="json")
    types: ColumnTypes = {}


class ParquetSource(_FileSource):
    """A Parquet file."""

    parquet: FilePath
    types: ColumnTypes = {}


SourceModel = RecordsSource | CsvSource | JsonLinesSource | JsonSource | ParquetSource
_KINDS = ("records", "csv", "jsonl", "json", "parquet")


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "name"
    if isinstance(value, list):
        return "list"
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True)
    if not isinstance(value, dict):
        return None
    found = [kind for kind in _KINDS if kind in value]
    return found[0] if len(found) == 1 else None


DataSource = Annotated[
    Annotated[FilePath, Tag("name")]
    | Annotated[list[Record], Tag("list")]
    | Annotated[RecordsSource, Tag("records")]
    | Annotated[CsvSource, Tag("csv")]
    | Annotated[JsonLinesSource, Tag("jsonl")]
    | Annotated[JsonSource, Tag("json")]
    | Annotated[ParquetSource, Tag("parquet")],
    Discriminator(
        _kind,
        custom_error_type="data_source",
        custom_error_message=(
            "a data source is the name of a file in the data folder, a list of records, or an object with exactly "
            "one of: records, csv, jsonl, json, parquet"
        ),
    ),
    Field(
        description=(
            "The name of a file in the data folder (with or without .csv, .tsv, .jsonl, .ndjson, .json or .parquet), "
            "a list of records, the output of an earlier step, or an object that says how to read a file"
        )
    ),
]


def is_scalar_type(name: str) -> bool:
    """Whether ``name`` is a type that a column may be cast to; nested types of an earlier output are not."""
    return re.match(_SCALAR_TYPE, name) is not None


def reads_file(source: str | list[Record] | SourceModel) -> bool:
    return not isinstance(source, list | RecordsSource)
