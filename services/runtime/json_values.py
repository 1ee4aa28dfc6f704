"""What a user sent, as plain JSON values: a copy without what JSON, the store or the wire cannot hold, and its
faults."""

import math
from collections.abc import Mapping
from typing import Any

from contracts.workflow import MAX_INPUT_DEPTH, Fault
from services.runtime.expressions import shortened
from services.runtime.input_paths import Key, render_path

MAX_VALUES = 1_000_000
LEVELS_ABOVE_INPUTS = 3  # the definition, its steps, the step
_INT64 = range(-(2**63), 2**63)
_UNREADABLE = object()

Path = tuple[Key, ...]


class JsonCopy:
    """A copy of a document. ``faults`` say what is not in it; in a list, null stands for what was left out.

    ``left_out`` are the paths of the faults. Iterative, so that no nesting is too deep to be refused, and bounded, so
    that a document that holds itself (YAML can build one) comes to an end.
    """

    def __init__(self, raw: Mapping[Any, Any]) -> None:
        self.value: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.left_out: list[Path] = []
        self._count = 0
        to_visit: list[tuple[Any, Any, Path]] = [(raw, self.value, ())]
        while to_visit and self._count <= MAX_VALUES:
            source, target, path = to_visit.pop()
            below = self._object(source, target, path) if isinstance(target, dict) else self._list(source, target, path)
            to_visit.extend(reversed(below))
        if self._count > MAX_VALUES:
            self.value = {}
            self.faults = [_fault((), "too_large", f"a definition may hold {MAX_VALUES:,} values, this one holds more")]

    def _object(self, source: Mapping[Any, Any], target: dict[str, Any], path: Path) -> list[tuple[Any, Any, Path]]:
        below = []
        for key, value in source.items():
            where = (*path, key if isinstance(key, str) else str(key))
            if problem := _key_problem(key):
                self._leave_out(where, "bad_key", problem)
                continue
            copied = self._copied(value, where)
            if copied is not _UNREADABLE:
                target[key] = copied
                if isinstance(copied, dict | list):
                    below.append((value, copied, where))
        return below

    def _list(self, source: Any, target: list[Any], path: Path) -> list[tuple[Any, Any, Path]]:
        below = []
        for i, value in enumerate(source):
            where = (*path, i)
            copied = self._copied(value, where)
            target.append(None if copied is _UNREADABLE else copied)
            if isinstance(copied, dict | list):
                below.append((value, copied, where))
        return below

    def _copied(self, value: Any, path: Path) -> Any:
        """A scalar as it is, an empty container for one that is visited later."""
        self._count += 1
        if isinstance(value, Mapping | list | tuple):
            if len(path) < LEVELS_ABOVE_INPUTS + MAX_INPUT_DEPTH:
                return {} if isinstance(value, Mapping) else []
            return self._leave_out(
                path, "too_deep", f"inputs may nest {MAX_INPUT_DEPTH} levels deep, these nest deeper"
            )
        problem = _scalar_problem(value)
        return self._leave_out(path, *problem) if problem else value

    def _leave_out(self, path: Path, code: str, message: str) -> Any:
        self.faults.append(_fault(path, code, message))
        self.left_out.append(path)
        return _UNREADABLE


def _fault(path: Path, code: str, message: str) -> Fault:
    return Fault(path=render_path(path), code=code, message=message)


def _key_problem(key: Any) -> str | None:
    if isinstance(key, bool):
        return f"the key {key} is no text; YAML reads on, off, yes and no as true and false: put the key in quotes"
    if not isinstance(key, str):
        return f"the key {shortened(repr(key))} is no text; put it in quotes"
    if not _is_unicode(key):
        return "the key holds half of a surrogate pair, which is no character"
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
