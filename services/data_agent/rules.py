"""The rules of ``validate_data``. Their SQL is in ``validation.py``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from services.data_agent.operations import Expression, Name

Scalar = str | bool | int | float
Bound = StrictInt | StrictFloat | str
TypeName = Literal["text", "integer", "number", "boolean", "date", "timestamp", "uuid", "list", "object"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class ColumnRules(_Rule):
    """What holds for every value of a column. Only ``not_null`` speaks of nulls; the other rules skip them.

    ``type`` is about what a value says: the text ``5`` is an ``integer``, as CSV knows no other kind. ``min`` and
    ``max`` are inclusive and may be dates as ISO text. ``regex`` is RE2 and must match the whole value.
    """

    type_name: TypeName | None = Field(default=None, alias="type")
    not_null: bool = False
    unique: bool = Field(default=False, description="No value occurs twice; each repetition is a failure")
    min: Bound | None = None
    max: Bound | None = None
    allowed: Annotated[list[Scalar], Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, alias="in", description="The values that may occur"
    )
    regex: str | None = Field(default=None, min_length=1, max_length=1000)
    min_length: int | None = Field(default=None, ge=0, description="Characters of a text")
    max_length: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _says_something(self) -> "ColumnRules":
        if not self.model_dump(exclude_defaults=True):
            raise ValueError("a column's rules are empty")
        if self.min_length is not None and self.max_length is not None and self.min_length > self.max_length:
            raise ValueError("min_length is greater than max_length")
        return self


class RowCheck(_Rule):
    """An expression over several columns. As in SQL's CHECK, a row fails where it is false, not where it is null."""

    name: Name
    expression: Expression
