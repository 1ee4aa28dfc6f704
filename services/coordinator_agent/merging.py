"""Objects into one, field by field, with every disagreement on record."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from services.coordinator_agent.aggregate_models import Conflict, ConflictingValue

Claim = tuple[str, Any]


@dataclass(slots=True)
class Merger:
    """Merges objects under one conflict policy and collects the conflicts.

    Two values agree if they are the same JSON: 1 and 1.0 are, 1 and true are not, objects are whatever the order of
    their fields. With ``deep``, objects about the same field are merged in turn; lists, and null within an object,
    are values like any other.
    """

    keep: Literal["error", "first", "last"]
    deep: bool
    conflicts: list[Conflict] = field(default_factory=list)

    def merge(self, claims: Sequence[Claim], at: tuple[str, ...] = ()) -> dict[str, Any]:
        """``claims`` are (item name, object) in order of precedence; fields keep the order of first appearance."""
        fields: dict[str, list[Claim]] = {}
        for item, obj in claims:
            for name, value in obj.items():
                fields.setdefault(name, []).append((item, value))
        return {name: self._settle(values, (*at, name)) for name, values in fields.items()}

    def _settle(self, claims: Sequence[Claim], at: tuple[str, ...]) -> Any:
        if all(same(claims[0][1], value) for _, value in claims[1:]):
            return claims[0][1]
        if self.deep and all(isinstance(value, dict) for _, value in claims):
            return self.merge(claims, at)
        kept, value = claims[-1] if self.keep == "last" else claims[0]
        self.conflicts.append(
            Conflict(
                path=pointer(at),
                values=[ConflictingValue(item=item, value=value) for item, value in claims],
                kept=None if self.keep == "error" else kept,
            )
        )
        return value


def same(a: Any, b: Any) -> bool:
    """Equal as JSON. Python's ``==`` would take 1 for true."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def pointer(parts: Sequence[str]) -> str:
    """JSON Pointer (RFC 6901)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
