"""Several outputs into one: take what is asked for of every item, deal with nulls, then one function a strategy."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.coordinator_agent.aggregate_models import AggregateAnswer, AggregateInputs, Conflict, Missing
from services.coordinator_agent.merging import Claim, Merger
from services.runtime.agent import CapabilityError

Key = str | int | bool


@dataclass(slots=True)
class Result:
    value: Any
    conflicts: list[Conflict] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def aggregate(request: AggregateInputs) -> AggregateAnswer:
    """Join the items by the strategy.

    Raises:
        CapabilityError: ``MissingPath``, ``NullItem``, ``WrongType``, ``DuplicateKey``, ``MergeConflict`` (the
            conflicts are its details), ``NothingToAggregate`` or ``NotFinite``, naming the items concerned.
    """
    claims = [(name, value_at(name, item, request.path)) for name, item in _named(request)]
    nulls = [name for name, value in claims if value is None]
    if nulls and request.nulls == "error":
        raise CapabilityError(
            f"null where a value is needed: {', '.join(nulls)}{_of_path(request)}", code="NullItem", details=nulls
        )
    if request.nulls != "keep":
        claims = [(name, value) for name, value in claims if value is not None]
    result = _STRATEGIES[request.strategy](request, claims)
    if result.conflicts and request.on_conflict == "error":
        raise CapabilityError(
            f"items disagree about {_count(len(result.conflicts), 'field')}: {_conflicts(result.conflicts)}; "
            "on_conflict 'first' or 'last' would choose",
            code="MergeConflict",
            details=[conflict.model_dump(mode="json") for conflict in result.conflicts],
        )
    skipped = nulls if request.nulls == "skip" else []
    used = [name for name, _ in claims]
    return AggregateAnswer(
        strategy=request.strategy,
        value=result.value,
        used=used,
        skipped=skipped,
        conflicts=result.conflicts,
        missing=result.missing,
        rationale=_rationale(request, used, skipped, result),
    )


def value_at(name: str, item: Any, path: str | None) -> Any:
    """What lies at a dotted path of an item: names of fields, positions in lists from 0. A null on the way is null."""
    value, walked = item, []
    for part in path.split(".") if path else ():
        if value is None:
            return None
        walked.append(part)
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise CapabilityError(
                f"item {name} has nothing at {'.'.join(walked)}; {_offers(value)}",
                code="MissingPath",
                details={"item": name, "path": ".".join(walked)},
            )
    return value


# ---- one function a strategy


def _by_name(request: AggregateInputs, claims: Sequence[Claim]) -> Result:
    return Result(dict(claims))


def _list(request: AggregateInputs, claims: Sequence[Claim]) -> Result:
    return Result([value for _, value in claims])


def _merge(request: AggregateInputs, claims: Sequence[Claim]) -> Result:
    for name, value in claims:
        _need(name, value, dict, "an object")
    merger = Merger(request.on_conflict, request.deep)
    return Result(merger.merge(claims), merger.conflicts)


def _by_key(request: AggregateInputs, claims: Sequence[Claim]) -> Result:
    key_field = request.key or ""
    # The type is part of the identity: to Python 1, 1.0 and True are one dictionary key.
    groups: dict[tuple[type, Key], list[Claim]] = {}
    for name, records in claims:
        for key, record in _records(name, records, key_field).items():
            groups.setdefault(key, []).append((name, record))
    merger = Merger(request.on_conflict, request.deep)
    value = [merger.merge(records, (str(key),)) for (_, key), records in groups.items()]
    return Result(value, merger.conflicts, _missing(claims, groups))


def _missing(claims: Sequence[Claim], groups: Mapping[tuple[type, Key], Sequence[Claim]]) -> list[Missing]:
    found = []
    for (_, key), records in groups.items():
        present = {name for name, _ in records}
        silent = [name for name, _ in claims if name not in present]
        if silent:
            found.append(Missing(key=key, items=silent))
    return found


def _records(name: str, records: Any, key_field: str) -> dict[tuple[type, Key], dict[str, Any]]:
    _need(name, records, list, "a list of records")
    found: dict[tuple[type, Key], dict[str, Any]] = {}
    for i, record in enumerate(records):
        where = f"{name}[{i}]"
        _need(where, record, dict, "an object")
        key = record.get(key_field)
        if not isinstance(key, str | int):
            raise CapabilityError(
                f"{where} has {_shown(key)} as its key {key_field!r}; a string, whole number or boolean is needed",
                code="WrongType",
                details={"item": name, "record": i},
            )
        if (type(key), key) in found:
            raise CapabilityError(
                f"{where} repeats the key {key!r}; a key has one record in an item",
                code="DuplicateKey",
                details={"item": name, "record": i, "key": key},
            )
        found[type(key), key] = record
    return found


def _numeric(request: AggregateInputs, claims: Sequence[Claim]) -> Result:
    if not claims:
        raise CapabilityError(
            f"there is no number to take the {request.statistic} of: every item is null", code="NothingToAggregate"
        )
    for name, value in claims:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(name, value, "a number")
        if not _finite(value):
            raise CapabilityError(f"item {name} is {value}, not a finite number", code="NotFinite")
    numbers = [value for _, value in claims]
    try:
        value = _STATISTICS[request.statistic or "mean"](numbers)
    except OverflowError:
        value = math.inf
    if not _finite(value):
        raise CapabilityError(f"the {request.statistic} of the items is too large a number", code="NotFinite")
    return Result(value)


def _finite(number: float) -> bool:
    """Whole numbers are finite however large; asking ``math.isfinite`` of a very large one would overflow."""
    return isinstance(number, int) or math.isfinite(number)


def _sum(numbers: Sequence[float]) -> float:
    """Exact for whole numbers, and rounded once for others."""
    return sum(numbers) if all(isinstance(n, int) for n in numbers) else math.fsum(numbers)


_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
    "sum": _sum,
}
_STRATEGIES: dict[str, Callable[[AggregateInputs, Sequence[Claim]], Result]] = {
    "by_name": _by_name,
    "list": _list,
    "merge": _merge,
    "by_key": _by_key,
    "numeric": _numeric,
}


# ---- names and words


def _named(request: AggregateInputs) -> list[Claim]:
    if isinstance(request.items, dict):
        return list(request.items.items())
    return [(f"#{i}", item) for i, item in enumerate(request.items, start=1)]


def _need(name: str, value: Any, kind: type, called: str) -> None:
    if not isinstance(value, kind):
        raise _wrong_type(name, value, called)


def _wrong_type(name: str, value: Any, called: str) -> CapabilityError:
    return CapabilityError(
        f"item {name} is {_shown(value)}, and {called} is needed", code="WrongType", details={"item": name}
    )


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return f"{text[:60]}…" if len(text) > 60 else text


def _offers(value: Any) -> str:
    if isinstance(value, dict):
        return f"there are: {', '.join(list(value)[:20]) or 'no fields'}"
    if isinstance(value, list):
        return f"there is a list of {len(value)}"
    return f"there is {_shown(value)}"


def _of_path(request: AggregateInputs) -> str:
    return f" (at {request.path})" if request.path else ""


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _conflicts(conflicts: Sequence[Conflict]) -> str:
    shown = "; ".join(
        f"{c.path} ({', '.join(f'{v.item}: {_shown(v.value)}' for v in c.values[:5])})" for c in conflicts[:5]
    )
    return shown + (f"; and {len(conflicts) - 5} more" if len(conflicts) > 5 else "")


def _rationale(request: AggregateInputs, used: Sequence[str], skipped: Sequence[str], result: Result) -> str:
    said = [f"{_count(len(used), 'item')}{_of_path(request)}: {_how(request)}."]
    if skipped:
        said.append(f"Left out because null: {', '.join(skipped)}.")
    if result.conflicts:
        said.append(
            f"The {request.on_conflict} item's value stands where items disagree about "
            f"{_count(len(result.conflicts), 'field')}: {_conflicts(result.conflicts)}."
        )
    if result.missing:
        said.append(f"{_count(len(result.missing), 'key')} not in every item.")
    return " ".join(said)


def _how(request: AggregateInputs) -> str:
    return {
        "by_name": "one object, each under its name",
        "list": "one list, in their order",
        "merge": "merged into one object",
        "by_key": f"records joined by {request.key!r}",
        "numeric": f"their {request.statistic}",
    }[request.strategy]
