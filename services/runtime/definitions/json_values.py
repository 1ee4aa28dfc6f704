"""What a user sent, as plain JSON values: a copy without what JSON, the store or the wire cannot hold, and its
faults."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from contracts.workflow import MAX_INPUT_DEPTH, Fault
from services.runtime.definitions.expressions import shortened
from services.runtime.definitions.input_paths import Key, render_path

MAX_VALUES = 1_000_000
MAX_KEY = 10_000  # characters
MAX_FAULTS = 10_000  # that are put into words: one is enough to refuse it
LEVELS_ABOVE_INPUTS = 3  # the definition, its steps, the step
_INT64 = range(-(2**63), 2**63)
_UNREADABLE = object()


class _Place(NamedTuple):
    """Where a container stands: cheaper to make than a path for each."""

    above: "_Place | None"
    key: Key
    level: int

    def path(self) -> tuple[Key, ...]:
        keys: list[Key] = []
        place: _Place | None = self
        while place is not None:
            keys.append(place.key)
            place = place.above
        return tuple(reversed(keys))


_Visit = tuple[Any, Any, _Place | None]  # what is copied, where to, and where it stands


class JsonCopy:
    """A copy of a document. ``faults`` say what is not in it; in a list, null stands for what was left out.

    ``left_out`` are the paths of what is missing or changed. Iterative, so that no nesting is too deep to be refused,
    and bounded, so that a document that holds itself (YAML can build one) comes to an end: one that is ``too_large``
    has no value.
    """

    def __init__(self, raw: Mapping[Any, Any], *, levels_above_inputs: int = LEVELS_ABOVE_INPUTS) -> None:
        self._above = levels_above_inputs
        self.value: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.left_out: list[tuple[Key, ...]] = []
        self.expressions = 0
        """How many ``${`` stand in its texts."""
        self.expression_characters = 0
        """Of the texts in which they stand."""
        self._too_deep: set[tuple[Key, ...]] = set()
        count = 1
        to_visit: list[_Visit] = [(raw, self.value, None)]
        while to_visit:
            source, target, place = to_visit.pop()
            count += len(source)
            if count > MAX_VALUES:
                break
            fill = self._fill_object if isinstance(target, dict) else self._fill_list
            to_visit.extend(reversed(fill(source, target, place)))
        self.too_large = count > MAX_VALUES
        if self.too_large:
            message = f"a definition may hold {MAX_VALUES:,} values, this one holds more"
            self.faults = [Fault(path="", code="too_large", message=message)]

    def _fill_object(self, source: Mapping[Any, Any], target: dict[str, Any], place: _Place | None) -> list[_Visit]:
        below: list[_Visit] = []
        for key, value in source.items():
            here = _below(place, key if isinstance(key, str) else str(key))
            if problem := _key_problem(key):
                self._leave_out(here.path(), "bad_key", problem)
                continue
            copied = self._copied(value, here)
            if copied is not _UNREADABLE:
                target[key] = copied
                if isinstance(copied, dict | list):
                    below.append((value, copied, here))
        return below

    def _fill_list(self, source: Any, target: list[Any], place: _Place | None) -> list[_Visit]:
        below: list[_Visit] = []
        for i, value in enumerate(source):
            here = _below(place, i)
            copied = self._copied(value, here)
            target.append(None if copied is _UNREADABLE else copied)
            if isinstance(copied, dict | list):
                below.append((value, copied, here))
        return below

    def _copied(self, value: Any, place: _Place) -> Any:
        """A scalar as it is, an empty container for one that is visited later."""
        if isinstance(value, Mapping | list | tuple):
            if place.level <= self._above + MAX_INPUT_DEPTH - 1:
                return {} if isinstance(value, Mapping) else []
            self._refuse_depth(place.path())
            return _UNREADABLE
        if problem := _scalar_problem(value):
            self._leave_out(place.path(), *problem)
            return _UNREADABLE
        if isinstance(value, str) and "${" in value:
            self.expressions += value.count("${")
            self.expression_characters += len(value)
        return value

    def _refuse_depth(self, path: tuple[Key, ...]) -> None:
        """Once for each input: what is too deep often is so in very many places."""
        input_path = path[: self._above + 1]
        if input_path not in self._too_deep:
            self._too_deep.add(input_path)
            message = f"inputs may nest {MAX_INPUT_DEPTH} levels deep, these nest deeper"
            self._leave_out(path, "too_deep", message)
            self.left_out.append(input_path)

    def _leave_out(self, path: tuple[Key, ...], code: str, message: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(path=render_path(path), code=code, message=message))
        self.left_out.append(path)


def _below(place: _Place | None, key: Key) -> _Place:
    return _Place(place, key, 1 if place is None else place.level + 1)


def _key_problem(key: Any) -> str | None:
    if isinstance(key, bool):
        return f"the key {key} is no text; YAML reads on, off, yes and no as true and false: put the key in quotes"
    if not isinstance(key, str):
        return f"the key {shortened(repr(key))} is no text; put it in quotes"
    if not _is_unicode(key):
        return "the key holds half of a surrogate pair, which is no character"
    if len(key) > MAX_KEY:
        return f"a key may have {MAX_KEY:,} characters, this one has {len(key):,}"
    return "a key may not hold the character U+0000" if "\0" in key else None


def _scalar_problem(value: Any) -> tuple[str, str] | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if _is_unicode(value) else ("not_json", "a text holds half of a surrogate pair: no character")
    if isinstance(value, int):
        return None if value in _INT64 else ("too_large", "an integer may have 64 bits; write a larger one as a text")
    if isinstance(value, float):
        return None if math.isfinite(value) else ("not_json", f"{value} is no JSON number")
    return "not_json", f"a {type(value).__name__} ({shortened(str(value))}) is no JSON value; put it in quotes"


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
