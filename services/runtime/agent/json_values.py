"""What an agent gives, as plain JSON."""

from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from services.runtime.agent.capability import CapabilityError


def as_json(answer: BaseModel | dict[str, Any]) -> dict[str, Any]:
    """A model or a dict as plain JSON values; NaN stays what it is, for whoever sends it to refuse.

    Raises:
        CapabilityError: ``InvalidOutput``, where it holds what JSON cannot.
    """
    try:
        plain = answer.model_dump() if isinstance(answer, BaseModel) else answer
        # Not model_dump's own JSON mode: it makes null of NaN, and nobody would see.
        return cast(dict[str, Any], to_jsonable_python(plain, inf_nan_mode="constants"))
    except ValueError as error:
        raise CapabilityError(f"the output is no JSON: {error}", code="InvalidOutput") from error
