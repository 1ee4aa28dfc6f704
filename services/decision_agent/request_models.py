"""What ``make_decision`` takes.

One model for all methods rather than a union by method: a union reports a fault in one field as a fault of the
whole, and at submit time some fields still hold references. Which options belong to which method is checked when
the request is resolved (``options.py``).
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.decision_agent.table_models import DecisionTable

Method = Literal["weighted_sum", "topsis", "vikor", "promethee_ii", "threshold", "rules"]
Direction = Literal["benefit", "cost"]
Normalisation = Literal["minmax", "max", "sum", "vector", "linear", "none"]
PreferenceShape = Literal["usual", "u_shape", "v_shape", "level", "linear", "gaussian"]
Record = dict[str, JsonValue]


class Preference(BaseModel):
    """A PROMETHEE preference function, with thresholds in the units of the criterion.

    usual takes none; u_shape takes q; v_shape takes p; level and linear take q and p; gaussian takes s.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    function: PreferenceShape = "usual"
    q: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="indifference threshold")
    p: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="threshold of full preference")
    s: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="gaussian: the inflection point")


class CriterionSpec(BaseModel):
    """A criterion: the column it reads, whether more is better, and its weight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="the column, unless 'column' says otherwise")
    column: str | None = None
    direction: Direction = "benefit"
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    preference: Preference | None = Field(default=None, description="promethee_ii only")


class Bounds(BaseModel):
    """What a column must lie within; both ends belong to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: float | None = Field(default=None, allow_inf_nan=False)
    max: float | None = Field(default=None, allow_inf_nan=False)


class DataTable(BaseModel):
    """An object with ``records``, such as the output of ``process_data``. ``columns`` (``{name, type}``) tells numbers
    that came as text from text, ``truncated`` whether there were more records; what else it has is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    records: list[Record]
    columns: JsonValue = None
    truncated: bool = False
    total_rows: int | None = None


class MakeDecision(BaseModel):
    """A decision to make. Only ``data`` is needed: every other field has a default or comes from the agent's
    configuration, and the answer says which assumption was made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"anyOf": [{"required": ["data"]}, {"required": ["facts"]}]}
    )

    data: DataTable | list[Record] | None = Field(
        default=None, description="the alternatives: a list of records, or an object with 'records'"
    )
    method: Method | None = Field(
        default=None,
        description="unless given: rules with a table or graph, threshold with thresholds, else weighted_sum",
    )
    alternatives: str | None = Field(default=None, description="the column that names the alternatives")
    top: int | None = Field(default=None, ge=1, description="report only this many of the best")

    criteria: list[str | CriterionSpec] | None = Field(
        default=None, min_length=1, description="unless given: the columns that have weights, or every numeric column"
    )
    costs: list[str] | None = Field(default=None, description="criteria of which less is better")
    weights: dict[str, float] | Literal["equal", "entropy", "critic"] | None = Field(
        default=None, description="by criterion, in any proportion; or how to find them (equal unless given)"
    )
    missing: Literal["refuse", "drop", "worst", "mean"] | None = Field(
        default=None, description="a missing value: refuse the request, drop the alternative, or fill it in"
    )
    normalisation: Normalisation | None = Field(
        default=None, description="weighted_sum and threshold: minmax unless given; topsis: vector unless given"
    )
    v: float | None = Field(
        default=None, ge=0, le=1, description="vikor: the weight of group utility, 0.5 unless given"
    )
    preference: Preference | None = Field(default=None, description="promethee_ii: for criteria without their own")

    thresholds: dict[str, Bounds] | None = Field(default=None, min_length=1, description="threshold: by column")
    require: Literal["all", "any"] | None = Field(default=None, description="threshold: which bounds must hold")
    score_threshold: float | None = Field(
        default=None, allow_inf_nan=False, description="threshold: the least weighted-sum score that is accepted"
    )

    table: DecisionTable | None = Field(default=None, description="rules: a decision table")
    graph: dict[str, Any] | None = Field(default=None, description="rules: a JDM graph, with nodes and edges")
    facts: dict[str, JsonValue] | None = Field(default=None, description="rules: one case to judge, instead of data")
    rank_by: str | None = Field(default=None, description="rules: the numeric output to rank the records by")
    rank_order: Literal["highest", "lowest"] | None = Field(default=None, description="rules: which is best")
