"""JSON values on their way into CEL and back: how much they weigh, and what has no place on the other side."""

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

CHARACTERS_A_UNIT = 16
MAX_DEPTH = 100  # the library's conversion works on the stack
_INT64 = (-(2**63), 2**63 - 1)
_UINT64_MAX = 2**64 - 1


class ValueFault(ValueError):
    """A value that cannot go into an expression, or come out of it."""


def weigh(value: Any, limit: int) -> int:
    """How much work a value is: one unit for each value and key in it, and for every 16 characters of text.

    Counting stops once ``limit`` is passed.

    Raises:
        ValueFault: nested deeper than 100 levels, or an integer that CEL would silently turn into a rounded double.
    """
    units, depth, level = 0, 0, [value]
    while level and units <= limit:
        if depth > MAX_DEPTH:
            raise ValueFault(f"a value nests deeper than {MAX_DEPTH} levels")
        units += len(level)
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                units += len(each) // CHARACTERS_A_UNIT
            elif isinstance(each, dict):
                units += len(each)
                below.extend(each.values())
            elif isinstance(each, list):
                below.extend(each)
            elif isinstance(each, int) and not _INT64[0] <= each <= _UINT64_MAX:
                raise ValueFault(f"the integer {each} has more than 64 bits")
        depth, level = depth + 1, below
    return units


def to_json(value: Any, depth: int = 0) -> Any:
    """A value that an expression gave, as JSON: maps in the order of their keys, the types that JSON lacks by the
    conversion of the CEL specification (bytes in base64, timestamps as RFC 3339, durations as seconds with an ``s``).

    Raises:
        ValueFault: a number that is not finite or has more than 64 bits, keys that become the same text.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not _INT64[0] <= value <= _INT64[1]:
            raise ValueFault(f"the integer {value} has more than 64 bits")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueFault(f"the result holds {value}, which is no JSON number")
        return value
    if depth > MAX_DEPTH:
        raise ValueFault(f"the result nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [to_json(each, depth + 1) for each in value]
    if isinstance(value, Mapping):
        return _object(value, depth)
    return _scalar(value)


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    by_text = {_key(key): each for key, each in value.items()}
    if len(by_text) != len(value):
        raise ValueFault("two keys of a map in the result become the same text")
    return {key: to_json(by_text[key], depth + 1) for key in sorted(by_text)}


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _scalar(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return _seconds(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise ValueFault(f"the result holds a {type(value).__name__}, which JSON does not have")


def _seconds(duration: timedelta) -> str:
    micros = duration // timedelta(microseconds=1)
    whole, fraction = divmod(abs(micros), 1_000_000)
    tail = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{'-' if micros < 0 else ''}{whole}{tail}s"
