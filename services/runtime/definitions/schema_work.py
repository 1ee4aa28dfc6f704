"""What checking inputs against an agent's schema may take, and its regular expressions.

A schema comes from an agent, inputs from a user. Twenty definitions that refer to each other twice make a million ways
through a schema of a kilobyte, and Python's regular expressions take exponential time where both sides like them to. So
keywords are counted, and patterns are matched as the agents' own models match them: by Rust's regex, in linear time.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from services.runtime.definitions.cel_analysis import regex_states

# A keyword that is applied to a value is a unit: 2 to 5 us.
STEP_UNITS = 100_000
DEFINITION_UNITS = 2_000_000
REFERENCE_UNITS = 10  # a $ref has to be looked up
VALUES_A_UNIT = 100  # that an enum has
# Characters of a text times the states of the pattern.
MATCHES_A_UNIT = 500
MAX_MATCH = 10_000_000
MAX_PATTERN = 2_000  # characters


class TooMuchWork(Exception):
    """The schema takes too long on these inputs: whether they fit is left to the agent's own model."""


class _Left:
    """Units that are left, of those of a definition that are left."""

    __slots__ = ("of", "units")

    def __init__(self, units: int, of: "_Left | None" = None) -> None:
        self.units = units
        self.of = of

    def spend(self, units: int) -> None:
        self.units -= units
        if self.units < 0:
            raise TooMuchWork
        if self.of is not None:
            self.of.spend(units)


_LEFT: ContextVar[_Left | None] = ContextVar("schema work left", default=None)


@contextmanager
def one_definition() -> Iterator[None]:
    """What is checked within counts together."""
    with _counting(_Left(DEFINITION_UNITS)):
        yield


@contextmanager
def one_step() -> Iterator[None]:
    with _counting(_Left(STEP_UNITS, _LEFT.get())):
        yield


@contextmanager
def _counting(left: _Left) -> Iterator[None]:
    token = _LEFT.set(left)
    try:
        yield
    finally:
        _LEFT.reset(token)


def spend(units: int = 1) -> None:
    """
    Raises:
        TooMuchWork: there are not as many left, of the step's or of the definition's.
    """
    left = _LEFT.get()
    if left is not None:
        left.spend(units)


def matches(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text. None where that cannot be told: it is one of another dialect, or would
    take too long: the agent's model decides."""
    work = regex_states(pattern) * len(text)
    if len(pattern) > MAX_PATTERN or work > MAX_MATCH:
        return None
    spend(1 + work // MATCHES_A_UNIT)
    validator = _compiled(pattern)
    if validator is None:
        return None
    try:
        validator.validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


def has_repeated(values: list[Any]) -> bool:
    """Whether two of them are equal as JSON, where 1 is 1.0 and not true; in time linear in their size."""
    seen: set[Any] = set()
    for value in values:
        identity = _identity(value)
        if identity in seen:
            return True
        seen.add(identity)
    return False


def _identity(value: Any) -> Any:
    """Equal for equal values, of exactly the kinds that JSON tells apart."""
    spend()
    if isinstance(value, Mapping):
        return ("object", frozenset((key, _identity(below)) for key, below in value.items()))
    if isinstance(value, list | tuple):
        return ("list", tuple(map(_identity, value)))
    return (isinstance(value, bool), value)
