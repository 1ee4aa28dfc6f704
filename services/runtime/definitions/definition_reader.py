"""A definition as a user sent it: read, or, where parts of it cannot be read, the rest of it, so that one answer can
list the faults of all of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contracts.workflow import (
    ID_PATTERN,
    MAX_STEPS,
    STEP_ID_PATTERN,
    CachePolicy,
    Fault,
    RetryPolicy,
    StepDefinition,
    WorkflowDefinition,
)
from services.runtime.definitions.expressions import shortened
from services.runtime.definitions.input_paths import Key, render_path
from services.runtime.definitions.json_values import JsonCopy

_MODELS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): WorkflowDefinition,
    ("steps",): StepDefinition,
    ("steps", "retry"): RetryPolicy,
    ("steps", "cache"): CachePolicy,
}
_IDS = {
    pattern: f"letters, digits, '_' and '-', at most {most} of them, the first a letter or '_'"
    for pattern, most in ((ID_PATTERN, 64), (STEP_ID_PATTERN, 128))
}
_STAND_IN = "unreadable"
MAX_EXPRESSIONS = 20_000
MAX_EXPRESSION_CHARACTERS = 1_000_000  # parsing takes some 6 us for each of an expression's
MAX_DEPENDENCIES = 200_000
MAX_WORDED = 5_001  # one more than an answer lists
_MUST_BE = {"model_type": "must be an object", "dict_type": "must be an object", "tuple_type": "must be a list"}


@dataclass(frozen=True, slots=True)
class Reading:
    """``definition`` is what could be read: whole where there are no ``faults``, else with stand-ins for what has one.
    It is None where there is nothing to look at. ``left_out`` are paths below a step's inputs, by the step's index."""

    definition: WorkflowDefinition | None
    faults: list[Fault]
    left_out: Mapping[int, Sequence[tuple[Key, ...]]] = field(default_factory=dict)


def read_definition(raw: Any) -> Reading:
    """Read a definition. Never raises for what a user sent."""
    if not isinstance(raw, Mapping):
        message = f"a workflow definition is an object with a name and steps, not {_described(raw)}"
        return Reading(None, [Fault(path="", code="not_an_object", message=message)])
    copy = JsonCopy(raw)
    if copy.too_large:
        return Reading(None, copy.faults)
    if crowd := _crowd(copy):
        return Reading(None, [crowd])
    try:
        definition = WorkflowDefinition.model_validate(copy.value)
    except ValidationError as error:
        errors = [each for each in error.errors(include_url=False) if not _counts_the_faulty(each)]
        # Words for each of a million would take a minute, and nobody is shown as many.
        faults = [*copy.faults, *_without(copy.faults, map(_fault, errors[:MAX_WORDED]))]
        return Reading(_salvaged(copy.value, errors), faults, _in_inputs(copy.left_out))
    return Reading(definition, copy.faults, _in_inputs(copy.left_out))


def _crowd(copy: JsonCopy) -> Fault | None:
    """More of something than is read: each takes time to parse, or to follow."""
    if copy.expressions > MAX_EXPRESSIONS:
        message = f"a definition may hold {MAX_EXPRESSIONS:,} expressions, this one holds {copy.expressions:,}"
        return Fault(path="steps", code="too_many", message=message)
    steps, at_the_top = copy.value.get("steps"), copy.value.get("dependencies")
    read = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    conditions = [step["when"] for step in read if isinstance(step.get("when"), str)]
    characters = copy.expression_characters + sum(map(len, conditions))
    if characters > MAX_EXPRESSION_CHARACTERS:
        message = (
            f"the conditions of a definition and its texts with expressions may have {MAX_EXPRESSION_CHARACTERS:,}"
            f" characters together, these have {characters:,}"
        )
        return Fault(path="steps", code="too_many", message=message)
    lists = [step.get("depends_on") for step in read]
    lists += at_the_top.values() if isinstance(at_the_top, dict) else ()
    count = sum(len(needs) for needs in lists if isinstance(needs, list))
    if count > MAX_DEPENDENCIES:
        message = f"a definition may hold {MAX_DEPENDENCIES:,} dependencies, this one holds {count:,}"
        return Fault(path="dependencies", code="too_many", message=message)
    return None


def _counts_the_faulty(error: ErrorDetails) -> bool:
    """Pydantic says that there are no steps where there are, each with a fault."""
    return error["type"] == "too_short" and error["loc"] == ("steps",) and bool(error["input"])


def _in_inputs(paths: Iterable[tuple[Key, ...]]) -> dict[int, list[tuple[Key, ...]]]:
    found: dict[int, list[tuple[Key, ...]]] = {}
    for path in paths:
        match path:
            # Inputs that are a list have a stand-in, in which none of their places exists: only names go on.
            case ("steps", int(index), "inputs", str(), *_):
                found.setdefault(index, []).append(path[3:])
    return found


def _without(known: Iterable[Fault], faults: Iterable[Fault]) -> list[Fault]:
    paths = {fault.path for fault in known}
    return [fault for fault in faults if fault.path not in paths]


# ---- faults in words


def _fault(error: ErrorDetails) -> Fault:
    path, name = render_path(error["loc"]), shortened(str(error["loc"][-1])) if error["loc"] else ""
    match error["type"]:
        case "missing":
            return Fault(path=path, code="missing_field", message=f"{name!r} is missing")
        case "extra_forbidden":
            return Fault(path=path, code="unknown_field", message=_unknown_field(error["loc"], name))
        case "string_pattern_mismatch" if (allowed := _IDS.get(error.get("ctx", {}).get("pattern", ""))) is not None:
            message = f"{shortened(repr(error['input']))} cannot be used here: {allowed}"
        case _:
            said = _MUST_BE.get(error["type"]) or error["msg"].replace("Tuple", "list").replace("tuple", "list")
            message = f"{_described(error['input'])} cannot be used here: {said[:1].lower()}{said[1:]}"
    return Fault(path=path, code="invalid_value", message=message)


def _unknown_field(loc: tuple[Key, ...], name: str) -> str:
    model = _MODELS.get(tuple(key for key in loc[:-1] if isinstance(key, str)))
    allowed = list(model.model_fields) if model else []
    close = get_close_matches(name, allowed, 1)
    meant = f"; {close[0]!r} is meant, perhaps" if close else ""
    return f"{name!r} is unknown here{meant}; the fields are {', '.join(allowed)}"


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return "null" if value is None else shortened(repr(value))


# ---- the rest of a definition


def _salvaged(raw: Mapping[str, Any], errors: Iterable[ErrorDetails]) -> WorkflowDefinition | None:
    """The definition with stand-ins for what has a fault; not validated."""
    steps = raw.get("steps")
    if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
        return None
    faulty: dict[int, set[str]] = {}
    for error in errors:
        loc = error["loc"]
        if len(loc) >= 2 and loc[0] == "steps":
            faulty.setdefault(int(loc[1]), set()).add(str(loc[2]) if len(loc) > 2 else "")
    agents = raw.get("agents")
    return WorkflowDefinition.model_construct(
        name=_STAND_IN,
        steps=tuple(_salvaged_step(step, i, faulty.get(i, set())) for i, step in enumerate(steps)),
        agents=_texts(agents) if isinstance(agents, list) else None,
        dependencies=_salvaged_dependencies(raw.get("dependencies")),
    )


def _salvaged_step(raw: Any, index: int, faulty: set[str]) -> StepDefinition:
    step = raw if isinstance(raw, dict) else {}
    needed = {"id", "agent_type", "action"}
    readable = {key: value for key, value in step.items() if key not in faulty}
    stand_ins = {key: _STAND_IN for key in needed if key not in readable}
    read = StepDefinition.model_validate({**readable, **stand_ins})
    # Others may refer to a step whose id breaks a rule; one without an id is told by its place.
    as_written: dict[str, Any] = {key: step[key] for key in stand_ins if isinstance(step.get(key), str)}
    if "id" in stand_ins:
        as_written.setdefault("id", f"(steps[{index}])")
    if "depends_on" in faulty and isinstance(step.get("depends_on"), list):
        as_written["depends_on"] = _texts(step["depends_on"])
    return read.model_copy(update=as_written)


def _salvaged_dependencies(raw: Any) -> dict[str, tuple[str, ...]]:
    listed = raw.items() if isinstance(raw, dict) else ()
    return {step_id: _texts(needs) for step_id, needs in listed if isinstance(needs, list)}


def _texts(values: list[Any]) -> tuple[str, ...]:
    """Positions stay, for the paths of faults: what is no text is an empty one."""
    return tuple(value if isinstance(value, str) else "" for value in values)
