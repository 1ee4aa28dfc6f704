"""What ``make_decision`` answers, the same shape for every method."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Outcome = Literal["accept", "reject"]


class _Answer(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class RankedAlternative(_Answer):
    """A place in the ranking. Ties share a rank, and the next rank is left out (1, 1, 3)."""

    alternative: str
    rank: int
    score: float
    outcome: Outcome | None = Field(default=None, description="threshold only")


class CriterionUsed(_Answer):
    name: str
    column: str
    direction: Literal["benefit", "cost"]
    weight: float


class WeightRange(_Answer):
    """How far one weight can move, the others rescaled in proportion, while no alternative beats the winner."""

    weight: float
    lowest: float
    highest: float
    below: str | None = Field(default=None, description="who wins just below 'lowest'")
    above: str | None = Field(default=None, description="who wins just above 'highest'")
    note: str = ""


class InputRange(_Answer):
    """How far one input of one alternative can move, all else as it is, before its outcome changes.
    No bound means that it can move without end."""

    value: float
    lowest: float | None = None
    lowest_included: bool = True
    below: JsonValue = Field(default=None, description="the outcome just below")
    highest: float | None = None
    highest_included: bool = True
    above: JsonValue = Field(default=None, description="the outcome just above")


class Because(_Answer):
    """A condition that held, and the value it held for."""

    input: str
    value: JsonValue
    condition: JsonValue


class FiredRule(_Answer):
    """A rule that held for one alternative; ``decided`` unless the hit policy preferred another."""

    rule: str
    index: int | None = Field(default=None, description="row in its table, from 0")
    node: str | None = Field(default=None, description="graph only: the node it belongs to")
    description: str = ""
    because: list[Because] = Field(default_factory=list)
    outputs: JsonValue = None
    decided: bool = True


class RulesTrace(_Answer):
    alternative: str
    fired: list[FiredRule]
    note: str = ""


class RulesOutput(_Answer):
    alternative: str
    output: JsonValue = Field(description="null where no rule held and no default was given")


class Decision(_Answer):
    """A decision, its figures, and what was assumed to reach it."""

    method: str
    winner: str | None = Field(description="the first of the ranking; null where nothing can be chosen")
    reason: str = Field(default="", description="why there is no winner")
    tied: list[str] = Field(default_factory=list, description="all who share the first rank, if several")
    alternatives_count: int
    criteria: list[CriterionUsed] = Field(default_factory=list)
    weights: dict[str, float] = Field(default_factory=dict, description="as used: they sum to 1")
    ranking: list[RankedAlternative] = Field(default_factory=list)
    scores: dict[str, float] = Field(default_factory=dict)
    contributions: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="alternative, criterion, figure; conventions.contributions says which"
    )
    sensitivity: dict[str, WeightRange] = Field(default_factory=dict)
    sensitivity_note: str = ""
    margins: dict[str, InputRange] = Field(default_factory=dict, description="threshold and rules")
    margins_of: str | None = Field(default=None, description="the alternative whose inputs 'margins' speaks of")
    margins_note: str = ""
    outcomes: dict[str, Outcome] = Field(default_factory=dict, description="threshold only")
    outputs: list[RulesOutput] = Field(default_factory=list, description="rules only")
    trace: list[RulesTrace] = Field(default_factory=list, description="rules only")
    details: dict[str, Any] = Field(default_factory=dict, description="the method's intermediate figures")
    rationale: str
    conventions: dict[str, JsonValue] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
