"""What ``aggregate`` takes and gives."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(min_length=1, max_length=500)]
Strategy = Literal["by_name", "list", "merge", "by_key", "numeric"]
Statistic = Literal["mean", "median", "min", "max", "sum"]

MAX_ITEMS = 10_000


class AggregateInputs(BaseModel):
    """Items, and how they become one value.

    Fields:
        items: name -> item, or a list of items, which are then called ``#1``, ``#2``, ... Their order counts where a
            policy says first or last.
        strategy: ``by_name``: an object, name -> item. ``list``: the items in order. ``merge``: objects into one.
            ``by_key``: lists of records into one list, records with the same value of ``key`` merged. ``numeric``:
            one statistic over the items' numbers.
        path: what to take of every item, ``result.scores.0``: names of fields and positions in lists.
        nulls: what to do with an item that is null, such as the output of a skipped step, or is null at ``path``:
            ``skip`` leaves it out and names it under ``skipped``, ``keep`` takes the null as a value (only ``by_name``
            and ``list``), ``error`` refuses.
        on_conflict: for ``merge`` and ``by_key``: what to do where items differ about a field.
        deep: for ``merge`` and ``by_key``: merge objects within objects field by field, instead of as one value.
        key: for ``by_key``: the field that identifies a record; its values are strings, whole numbers or booleans.
        statistic: for ``numeric``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: dict[Name, Any] | list[Any] = Field(max_length=MAX_ITEMS)
    strategy: Strategy
    path: str | None = Field(default=None, min_length=1, max_length=1_000)
    nulls: Literal["skip", "keep", "error"] = "skip"
    on_conflict: Literal["error", "first", "last"] = "error"
    deep: bool = True
    key: Name | None = None
    statistic: Statistic | None = None

    @model_validator(mode="after")
    def _options_belong_to_the_strategy(self) -> Self:
        belongs = {
            "on_conflict": ("merge", "by_key"),
            "deep": ("merge", "by_key"),
            "key": ("by_key",),
            "statistic": ("numeric",),
        }
        for option, strategies in belongs.items():
            if option in self.model_fields_set and self.strategy not in strategies:
                raise ValueError(f"{option!r} belongs to {' and '.join(strategies)}, not to {self.strategy}")
        if self.strategy == "by_key" and self.key is None:
            raise ValueError("the strategy 'by_key' needs 'key', the field that identifies a record")
        if self.strategy == "numeric" and self.statistic is None:
            raise ValueError("the strategy 'numeric' needs 'statistic': mean, median, min, max or sum")
        if self.nulls == "keep" and self.strategy not in ("by_name", "list"):
            raise ValueError(f"nulls can be kept by by_name and list, not by {self.strategy}: choose skip or error")
        return self


class ConflictingValue(BaseModel):
    item: str
    value: Any


class Conflict(BaseModel):
    """Items that differ about one place. ``path`` is JSON Pointer (RFC 6901) into the result; for ``by_key`` its first
    part is the record's key. ``kept`` is the item whose value stands."""

    path: str
    values: list[ConflictingValue]
    kept: str | None


class Missing(BaseModel):
    """A key that some items have no record of."""

    key: str | int | bool
    items: list[str]


class AggregateAnswer(BaseModel):
    """``value`` is the result. ``used`` and ``skipped`` name the items that are in it and the null ones that are not;
    ``conflicts`` and ``missing`` say where items disagreed or were silent."""

    strategy: Strategy
    value: Any
    used: list[str]
    skipped: list[str]
    conflicts: list[Conflict]
    missing: list[Missing]
    rationale: str
