"""A decision table as a request carries it. What a cell may hold is written here, in one place."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

HitPolicy = Literal["first", "collect", "unique", "any", "priority"]
Scalar = bool | int | float | str


class Equals(BaseModel):
    """A cell that holds for exactly this value, whatever characters it has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    equals: Scalar | None


Cell = None | bool | int | float | str | list[Scalar | None] | Equals


class TableInput(BaseModel):
    """An input column: a field of the record (``customer.age`` reaches inside), or a ZEN expression over it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    expression: str | None = Field(default=None, description="a ZEN expression, e.g. 'debt / income'")


class TableOutput(BaseModel):
    """An output column. ``values`` lists its values from the highest priority down (hit policy ``priority``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    values: list[Scalar | None] = Field(default_factory=list)


class Rule(BaseModel):
    """One row: when every cell of ``when`` holds, ``then`` is the outcome.

    A cell is a ZEN condition as text (``> 700``, ``[18..65)``, ``'gold', 'silver'``), a number or a boolean
    (equals), a list (any of these values), ``{"equals": ...}`` (exactly this, for text with quotes in it), or
    null, ``""`` or ``"-"`` (anything). A value of ``then`` is taken as it is; ``{"expression": "..."}`` is computed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = Field(default=None, description="how the trace names the rule; 'rule N' unless given")
    description: str = ""
    when: dict[str, Cell] = Field(default_factory=dict)
    then: dict[str, Any]
    priority: float | None = Field(default=None, description="hit policy 'priority': the highest wins")


class DecisionTable(BaseModel):
    """Rules with a hit policy.

    first: the first rule that holds. collect: all that hold, in order. unique: at most one may hold. any: several
    may hold if they say the same. priority: the one of the highest ``priority``, or of the output value listed
    first in an output's ``values``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: list[str | TableInput] = Field(default_factory=list, description="if given, 'when' may name only these")
    outputs: list[str | TableOutput] = Field(default_factory=list, description="if given, 'then' may name only these")
    rules: list[Rule] = Field(min_length=1, max_length=5000)
    hit_policy: HitPolicy = "first"
    default: dict[str, Any] | None = Field(default=None, description="the outcome where no rule holds")
