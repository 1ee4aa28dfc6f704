"""Request bodies: JSON or YAML, and clear words about what cannot be read. ``access.body_limit`` limits their size."""

import asyncio
import math
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from services.edge.problems import Problem, invalid
from services.edge.yaml_values import YamlFault, load_yaml

B = TypeVar("B", bound=BaseModel)

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

# Above this size reading takes long enough to be worth a thread.
_INLINE_BYTES = 64 * 1024


async def read_body(request: Request) -> Any:
    """The body as plain JSON values; None where there is no body.

    The content type has to be given: a page in a browser can send a body without one, or as text or a form, to any
    address it likes, but not as JSON or YAML.

    Raises:
        Problem: too large, too slow, another content type, or a syntax error, with its line and column.
    """
    raw = await request.body()
    if not raw:
        return None
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in JSON_TYPES or content_type.endswith("+json"):
        read = _read_json
    elif content_type in YAML_TYPES or content_type.endswith("+yaml"):
        read = _read_yaml
    else:
        allowed = ", ".join((*JSON_TYPES, *YAML_TYPES))
        said = f"the content type {content_type!r} is not read here" if content_type else "the body has no content type"
        raise Problem("unsupported-media-type", f"{said}; send one of: {allowed}")
    return read(raw) if len(raw) <= _INLINE_BYTES else await asyncio.to_thread(read, raw)


async def read_object(request: Request) -> dict[str, Any]:
    """The body, which has to be an object."""
    body = await read_body(request)
    if not isinstance(body, dict):
        found = "nothing" if body is None else type(body).__name__
        message = f"the body must be an object, not {found}"
        raise Problem("invalid", message, errors=[{"path": "body", "code": "object_expected", "message": message}])
    return body


async def read_model(request: Request, model: type[B]) -> B:
    """The body as ``model``; no body is as good as an empty object."""
    body = await read_body(request)
    try:
        return model.model_validate({} if body is None else body)
    except ValidationError as error:
        raise invalid(error, below="body") from None


def _read_json(raw: bytes) -> Any:
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        fault = {"path": "body", "code": "json_syntax", "message": str(error)}
        raise Problem("malformed", f"not JSON: {error}", errors=[fault]) from None
    path = _not_finite(value)
    if path is not None:
        message = "a number too large to be kept exactly: as a floating point number it would be infinite"
        raise Problem(
            "invalid", f"{path}: {message}", errors=[{"path": path, "code": "not_finite", "message": message}]
        )
    return value


def _read_yaml(raw: bytes) -> Any:
    try:
        return load_yaml(raw)
    except YamlFault as error:
        where = {"path": "body", "code": "yaml_syntax", "message": str(error)}
        detail = f"not YAML that is read here: {error} (line {error.line}, column {error.column})"
        raise Problem("malformed", detail, errors=[{**where, "line": error.line, "column": error.column}]) from None


def _not_finite(value: Any, path: str = "body") -> str | None:
    """Where a number such as 1e999 stands, which the JSON reader makes infinite without a word."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    if isinstance(value, dict):
        return next((p for k, v in value.items() if (p := _not_finite(v, f"{path}.{k}"))), None)
    if isinstance(value, list):
        return next((p for i, v in enumerate(value) if (p := _not_finite(v, f"{path}[{i}]"))), None)
    return None
