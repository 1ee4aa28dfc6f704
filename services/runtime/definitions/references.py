"""References in a step's inputs (``step1.output.path``, ``inputs.x``, ``${ CEL }``): found once, resolved often."""

import json
import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from contracts.workflow import MAX_INPUT_DEPTH, STEP_ID_PATTERN
from services.runtime.definitions.budget import Budget
from services.runtime.definitions.cel_evaluation import keys_of
from services.runtime.definitions.cel_syntax import BadExpression, closing_brace
from services.runtime.definitions.expressions import Expression, ExpressionError, shortened
from services.runtime.definitions.input_paths import Key, render_path

__all__ = ["BadReference", "CompiledInputs", "Location", "UnresolvedReference", "compile_inputs"]

Kind = Literal["reference", "expression", "text"]

_NAME = re.compile(STEP_ID_PATTERN)
_STEP = re.compile(r"([\w-]+)\.output((?:\.[\w-]+)*)")
_INPUTS = re.compile(r"inputs((?:\.[\w-]+)+)")
_ALMOST_STEP = re.compile(r"(?:steps\.)?([\w-]+)\.output(?:[.\[]\S*)?")
_ALMOST_INPUTS = re.compile(r"inputs(?:\.[\w-]+)+\[\S*")
_INDEX = re.compile(r"[0-9]{1,9}")
_MAX_EXPRESSIONS = 100  # in one text
_SKIPPED = "skipped"


class BadReference(ValueError):
    """A text that has the form of a reference and is none."""


class UnresolvedReference(Exception):
    """A reference leads to nothing at run time: the message names the input, the reference, and what is there."""


class _Source(Protocol):
    """Something in an input that has a value only at run time."""

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget) -> Any: ...


@dataclass(frozen=True, slots=True)
class Location:
    """One place in the inputs whose value is known at run time only, or that was meant to be such a place.

    ``kind`` is ``reference``, ``expression`` (its value keeps its type) or ``text`` (a text with expressions in it);
    ``source`` is the whole string; ``problem`` says what is wrong with it, in which case the rest is empty.
    """

    path: tuple[Key, ...]
    kind: Kind
    source: str
    step_ids: tuple[str, ...] = ()
    unknown_variables: tuple[str, ...] = ()
    constant: bool = False
    problem: BadReference | BadExpression | None = None
    _resolver: _Source | None = field(default=None, repr=False, compare=False)

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """What stands here at run time.

        Raises:
            BadReference, BadExpression: the problem, if there is one.
            UnresolvedReference, ExpressionError: there is no value; the message begins with the input's name.
        """
        if self._resolver is None:
            raise self.problem or BadReference(f"{self.source!r} was not compiled")
        try:
            return self._resolver.value(steps, inputs, budget or Budget())
        except (UnresolvedReference, ExpressionError) as error:
            raise type(error)(f"input {render_path(self.path)}: {error}") from None


@dataclass(frozen=True, slots=True)
class CompiledInputs:
    """A step's inputs, and where in them values are filled in at run time."""

    inputs: Mapping[str, Any]
    locations: tuple[Location, ...]

    @property
    def evaluates(self) -> bool:
        """Whether there are expressions among them."""
        return any(location.kind != "reference" for location in self.locations)

    @property
    def step_ids(self) -> frozenset[str]:
        """Every step referred to."""
        return frozenset(step_id for location in self.locations for step_id in location.step_ids)

    def resolve(
        self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget | None = None
    ) -> dict[str, Any]:
        """The inputs with every reference and expression replaced by its value: a copy that shares nothing.

        Parameters:
            steps: step id -> ``{"output": value, "status": "succeeded" | "skipped" | ...}``. A skipped step's output is
                null, and so is every path below it.
            inputs: the execution's inputs.
            budget: what all expressions together may take of; without one, as much as a step may.

        Raises:
            UnresolvedReference: a path leads to nothing, or the result would nest deeper than 64 levels.
            ExpressionError: an expression gave no value.
            BadReference, BadExpression: the definition was never validated.
        """
        budget = budget or Budget()
        resolved: dict[str, Any] = _shallow_enough(self.inputs, MAX_INPUT_DEPTH, "the inputs")
        for location in self.locations:
            where = f"input {render_path(location.path)}: {shortened(location.source)!r}"
            value = _shallow_enough(location.value(steps, inputs, budget), MAX_INPUT_DEPTH - len(location.path), where)
            parent: Any = resolved
            for key in location.path[:-1]:
                parent = parent[key]
            parent[location.path[-1]] = value
        return resolved


def compile_inputs(inputs: Mapping[str, Any], step_ids: Collection[str]) -> CompiledInputs:
    """Find every reference and expression in the values of ``inputs`` (keys are never references).

    Never raises for what a user wrote: a fault is the ``problem`` of its location. ``step_ids`` are the steps of the
    workflow: what is a reference depends on them.
    """
    known = step_ids if isinstance(step_ids, Set | Mapping) else frozenset(step_ids)
    found: list[Location] = []
    to_visit: list[tuple[tuple[Key, ...], Any]] = [((), inputs)]
    while to_visit:
        path, value = to_visit.pop()
        if isinstance(value, str):
            if location := _location(path, value, known):
                found.append(location)
        elif isinstance(value, Mapping):
            to_visit.extend(((*path, key), below) for key, below in reversed(list(value.items())))
        elif isinstance(value, list | tuple):
            to_visit.extend(((*path, i), value[i]) for i in range(len(value) - 1, -1, -1))
    return CompiledInputs(inputs, tuple(found))


def _location(path: tuple[Key, ...], text: str, known: Collection[str]) -> Location | None:
    if "${" in text:
        return _with_expressions(path, text)
    if text.startswith("inputs."):
        if found := _INPUTS.fullmatch(text):
            reference = _InputReference(text, tuple(found[1].split(".")[1:]))
            return Location(path, "reference", text, _resolver=reference)
        problem = _almost("inputs", text) if _ALMOST_INPUTS.fullmatch(text) else None
    elif ".output" in text:
        found = _STEP.fullmatch(text)
        if found and found[1] in known:
            reference_to = _StepReference(text, found[1], tuple(found[2].split(".")[1:]))
            return Location(path, "reference", text, step_ids=(found[1],), _resolver=reference_to)
        problem = _misspelt(text, known)
    else:
        return None
    return Location(path, "reference", text, problem=BadReference(problem)) if problem else None


def _misspelt(text: str, known: Collection[str]) -> str | None:
    found = _STEP.fullmatch(text)
    if found and _NAME.fullmatch(found[1]):
        return f"{found[1]!r} is no step of this workflow; {_as_text(text)}"
    almost = _ALMOST_STEP.fullmatch(text)
    return _almost(f"{almost[1]}.output", text) if almost and almost[1] in known else None


def _almost(start: str, text: str) -> str:
    how = f"{start}.key.0.key (for keys that are no plain words: an expression, ${{ ... }})"
    return f"{shortened(text)!r} is no reference; one is written {how}; {_as_text(text)}"


def _as_text(text: str) -> str:
    """How to mean the text and no reference: as a CEL string literal."""
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"to mean the text itself, write ${{'{shortened(literal)}'}}"


def _with_expressions(path: tuple[Key, ...], text: str) -> Location:
    try:
        parts = _parts(text)
    except BadExpression as problem:
        return Location(path, "expression", text, problem=problem)
    expressions = [part for part in parts if isinstance(part, Expression)]
    # A YAML block (|) ends in a line break that nobody means.
    alone = len(expressions) == 1 and isinstance(parts[0], Expression) and not "".join(_plain(parts)).strip("\n")
    return Location(
        path,
        "expression" if alone else "text",
        text,
        step_ids=tuple(dict.fromkeys(step_id for each in expressions for step_id in sorted(each.step_ids))),
        unknown_variables=tuple(dict.fromkeys(name for each in expressions for name in each.unknown_variables)),
        constant=not any(each.variables for each in expressions),
        _resolver=_Alone(expressions[0]) if alone else _Text(tuple(parts)),
    )


def _plain(parts: list[str | Expression]) -> list[str]:
    return [part for part in parts if isinstance(part, str)]


def _parts(text: str) -> list[str | Expression]:
    """The text split at its expressions: never an empty text.

    Raises:
        BadExpression: with every bad expression in it.
    """
    parts: list[str | Expression] = []
    problems: list[str] = []
    at = count = 0
    while (start := text.find("${", at)) >= 0:
        count += 1
        if count > _MAX_EXPRESSIONS:
            problems.append(f"a text may hold {_MAX_EXPRESSIONS} expressions, here are more")
            break
        if start > at:
            parts.append(text[at:start])
        try:
            at = closing_brace(text, start + 2) + 1
        except BadExpression as problem:
            problems.append(str(problem))
            break
        try:
            parts.append(Expression.parse(text[start + 2 : at - 1].strip()))
        except BadExpression as problem:
            problems.append(f"{shortened(text[start:at])!r}: {problem}")
    if problems:
        raise BadExpression("; ".join(problems))
    if at < len(text):
        parts.append(text[at:])
    return parts


# ---- what gives a value


@dataclass(frozen=True, slots=True)
class _StepReference:
    text: str
    step_id: str
    path: tuple[str, ...]

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget) -> Any:
        try:
            step = steps[self.step_id]
        except KeyError:
            raise UnresolvedReference(f"{self.text!r}: step {self.step_id!r} has no output yet") from None
        if step.get("status") == _SKIPPED:
            return None
        return _follow(self.text, f"{self.step_id}.output", step["output"], self.path)


@dataclass(frozen=True, slots=True)
class _InputReference:
    text: str
    path: tuple[str, ...]

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget) -> Any:
        try:
            return _follow(self.text, "inputs", inputs, self.path)
        except UnresolvedReference as error:
            raise UnresolvedReference(f"{error}; {_as_text(self.text)}") from None


@dataclass(frozen=True, slots=True)
class _Alone:
    expression: Expression

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget) -> Any:
        return self.expression.evaluate(steps, inputs, budget)


@dataclass(frozen=True, slots=True)
class _Text:
    parts: tuple[str | Expression, ...]

    def value(self, steps: Mapping[str, Any], inputs: Mapping[str, Any], budget: Budget) -> str:
        return "".join(
            part if isinstance(part, str) else _shown(part.evaluate(steps, inputs, budget)) for part in self.parts
        )


def _shown(value: Any) -> str:
    """A value inside a text: a text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _follow(text: str, start: str, value: Any, path: tuple[str, ...]) -> Any:
    for at, key in enumerate(path):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and _INDEX.fullmatch(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            where = ".".join((start, *path[:at]))
            raise UnresolvedReference(f"{shortened(text)!r}: {where} has no {key!r}; {_there(value)}")
    return value


def _there(value: Any) -> str:
    if value is None:
        return "it is null"
    if isinstance(value, Mapping):
        return keys_of(value)
    if isinstance(value, list):
        return f"it is a list of {len(value)}, counted from 0"
    return f"it is {shortened(json.dumps(value, ensure_ascii=False))}"


class _TooDeep(Exception):
    pass


def _shallow_enough(value: Any, levels: int, where: str) -> Any:
    try:
        return _copy(value, levels)
    except _TooDeep:
        message = f"{where}: with this value the inputs would nest deeper than {MAX_INPUT_DEPTH} levels"
        raise UnresolvedReference(message) from None


def _copy(value: Any, levels: int) -> Any:
    """A deep copy of JSON, at most so many levels of objects and lists."""
    # By exact type first: asking an abstract class costs more than the copy.
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value
    is_mapping = kind is dict or isinstance(value, Mapping)
    if not is_mapping and not isinstance(value, list | tuple):
        return value
    if levels <= 0:
        raise _TooDeep
    if is_mapping:
        return {key: _copy(below, levels - 1) for key, below in value.items()}
    return [_copy(below, levels - 1) for below in value]
