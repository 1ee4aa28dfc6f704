"""DuckDB's errors under the names that this agent's callers know."""

import json
from typing import Any

import duckdb

from services.data_agent.faults import ENGINE_FAULT, out_of_memory
from services.runtime.agent import CapabilityError

_LONGEST = 600


def translate(error: duckdb.Error) -> CapabilityError:
    """The error of a statement run with ``errors_as_json``, as a capability's error."""
    info = _info(error)
    message = _shorten(info.get("exception_message", str(error)))
    match error:
        case duckdb.OutOfMemoryException():
            return out_of_memory()
        case duckdb.PermissionException():
            return CapabilityError(f"not allowed: {message}", code="ForbiddenSql")
        case duckdb.InternalException() | duckdb.FatalException():
            return CapabilityError(f"DuckDB failed: {message}", code=ENGINE_FAULT, retryable=True)
        case duckdb.ConversionException() | duckdb.OutOfRangeException():
            return CapabilityError(message, code="InvalidValue")
        case duckdb.CatalogException() if info.get("type") == "Table":
            return CapabilityError(f"there is no table {info.get('name')!r}", code="UnknownTable")
    if info.get("error_subtype") == "COLUMN_NOT_FOUND":
        return CapabilityError(f"there is no column {info.get('name')!r}", code="UnknownColumn")
    if isinstance(error, duckdb.TypeMismatchException) or "No function matches" in message:
        return CapabilityError(message, code="TypeMismatch")
    return CapabilityError(message, code="BadSql")


def _info(error: duckdb.Error) -> dict[str, Any]:
    _, brace, rest = str(error).partition("{")
    try:
        found = json.loads(brace + rest)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _shorten(message: str) -> str:
    # What follows advises on settings and extensions, which a caller cannot change, or lists every overload.
    message = " ".join(message.split("\n\n")[0].split("You might need to add explicit type casts")[0].split())
    return message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
