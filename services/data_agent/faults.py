"""Failures that several modules raise, and the place in a request that they are told with."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from services.runtime.agent import CapabilityError

MEMORY_LIMIT = "MemoryLimit"
ENGINE_FAULT = "EngineFault"


def timed_out(seconds: float) -> CapabilityError:
    return CapabilityError(f"the work took longer than its time limit of {seconds:g} s", code="QueryTimeout")


def out_of_memory() -> CapabilityError:
    return CapabilityError("the work needs more memory than the agent may use", code=MEMORY_LIMIT)


@contextlib.contextmanager
def where(place: str, columns: Sequence[str], **details: Any) -> Iterator[None]:
    """Name the place in errors raised inside, and the columns that may be used there."""
    try:
        yield
    except CapabilityError as error:
        code = "BadExpression" if error.code == "BadSql" else error.code
        known = error.details or {}
        lists_them = code == "UnknownColumn" and "columns" not in known
        hint = f"; the columns are: {', '.join(columns) or 'none'}" if lists_them else ""
        raise CapabilityError(
            f"{place}: {error}{hint}",
            code=code,
            retryable=error.retryable,
            details={**details, "columns": list(columns), **known},
        ) from error


def unknown_column(name: str) -> CapabilityError:
    return CapabilityError(f"there is no column {name!r}", code="UnknownColumn")


def require_columns(wanted: Sequence[str], available: Sequence[str]) -> None:
    for name in wanted:
        if name not in available:
            raise unknown_column(name)
